"""What is loaded, what is refused, and what is said about it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from localllm.core.generation import (
    Died,
    Loaded,
    LoadProgress,
)
from localllm.core.plan import TensorOverride
from localllm.engine.client import EngineClient
from tests.engine.support import (
    ask,
    complete,
    cpu_plan,
    device,
    failure,
    finish,
    load,
    only,
)
from tests.support import shapes
from tests.support.gguf_maker import make_model, make_split_model
from tests.support.gguf_writer import string


class TestLoading:
    def test_progress_ends_at_one_and_loaded_says_what_was_loaded(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            events = list(engine.load(cpu_plan(n_ctx=500), (str(toy_model),)))
        fractions = [event.fraction for event in only(LoadProgress, events)]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
        loaded = events[-1]
        assert isinstance(loaded, Loaded)
        assert loaded.n_ctx == 512  # padded to 256, as llama.cpp does
        assert loaded.n_vocab == 1024
        assert loaded.template == "model" and loaded.can_shift
        assert loaded.rss_bytes is not None and loaded.rss_bytes > 2**20

    def test_a_process_started_ahead_is_the_one_that_loads(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            engine.start()
            pid = engine.pid
            engine.start()
            load(engine, toy_model)
            assert engine.pid == pid is not None
            engine.start()  # too late to matter
            assert engine.pid == pid
            load(engine, toy_model)
            assert engine.pid not in (None, pid)  # a second load has its own, as ever

    def test_what_killed_a_process_started_ahead_is_told_at_the_load(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            engine.start()
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            [died] = list(engine.load(cpu_plan(), (str(toy_model),)))
            assert isinstance(died, Died) and died.phase == "start"
            load(engine, toy_model)

    def test_memory_is_llama_cpps_own_breakdown(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            loaded = load(engine, toy_model, n_ctx=2048, type_k="f16", type_v="f16")
        assert loaded.memory_unknown is None
        [host] = loaded.memory
        assert host.name == "host"
        # 4 layers, K and V rows of 2 heads x 16 in F16
        assert host.context_bytes == 2048 * 4 * 2 * 32 * 2
        assert 0 < host.mapped_bytes <= host.model_bytes < toy_model.stat().st_size + 2**20
        assert host.compute_bytes > 0

    def test_without_mmap_nothing_is_mapped(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            [host] = load(engine, toy_model, use_mmap=False).memory
        assert host.mapped_bytes == 0 and host.model_bytes > 0

    def test_a_load_replaces_the_loaded_model(self, toy_model: Path, toy_qwen3_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_model)
            first = engine.pid
            loaded = load(engine, toy_qwen3_model)
            assert loaded.description.startswith("qwen3")
            assert engine.pid != first
            finish(engine.chat(ask("Hello")))

    def test_a_split_model_loads_from_its_parts(self, tmp_path: Path) -> None:
        parts = make_split_model(tmp_path, shapes.TOY, n_parts=3, quant="F16", sparse=False)
        with EngineClient() as engine:
            load(engine, *parts)
            finish(engine.chat(ask("Hello")))

    def test_a_load_is_cancelled_at_once_and_the_next_one_works(
        self, llama_32_1b: Path, toy_model: Path
    ) -> None:
        with EngineClient() as engine:
            events = engine.load(cpu_plan(use_mmap=False), (str(llama_32_1b),))
            for event in events:
                if isinstance(event, LoadProgress) and event.fraction > 0:
                    break
            began = time.monotonic()
            engine.cancel()
            assert failure(events).code == "cancelled"
            assert time.monotonic() - began < 5
            load(engine, toy_model)

    def test_a_file_without_a_template_is_addressed_in_chatml(self, tmp_path: Path) -> None:
        path = make_model(
            tmp_path / "plain.gguf",
            shapes.TOY,
            quant="F16",
            sparse=False,
            extra={"tokenizer.chat_template": None},
        )
        with EngineClient() as engine:
            assert load(engine, path).template == "built-in"
            assert finish(engine.chat(ask("Hello"))).stats.n_gen > 0


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"n_ctx": 0}, "UsageError", "context"),
    ({"n_ctx": 2_000_000_000}, "UsageError", "context"),
    ({"n_ctx": 2**27}, "DoesNotFitError", "GiB"),
    ({"n_batch": 0, "n_ubatch": 0}, "UsageError", "batch"),
    ({"n_batch": 64, "n_ubatch": 128}, "UsageError", "batch"),
    ({"n_threads": 0}, "UsageError", "threads"),
    ({"n_seq": 4, "n_outputs_max": 1}, "UsageError", "outputs"),
    ({"type_k": "q3_K"}, "UsageError", "q3_K"),
    ({"type_v": "q8_0", "flash_attn": "off"}, "UsageError", "flash attention"),
    ({"n_seq": 1, "n_outputs_max": 2**32}, "UsageError", "outputs"),  # C would read 0
    ({"n_gpu_layers": 2**32 + 1}, "UsageError", "layers"),  # C would read 1
    ({"tensor_split": (0.0, 0.0)}, "UsageError", "tensor-split"),
    ({"tensor_split": (1.0, float("inf"))}, "UsageError", "tensor-split"),
    ({"tensor_split": (float("nan"),)}, "UsageError", "tensor-split"),
    (
        {"devices": (device("CPU"), device("host")), "tensor_split": (0.0, 1.0)},
        "UsageError",
        "tensor-split",
    ),
    (
        {"tensor_overrides": (TensorOverride(pattern="(", buffer_type="CPU"),)},
        "EngineError",
        "regular expression",
    ),
    (
        {"tensor_overrides": (TensorOverride(pattern="exps", buffer_type="CUDA7"),)},
        "UsageError",
        "CUDA7",
    ),
    ({"devices": (device("CUDA0"), device("host"))}, "EngineError", "CUDA0"),
]


class TestRefusals:
    """Wrong arguments end in typed errors, where llama.cpp would abort or swap."""

    @pytest.mark.parametrize(("changes", "error", "part"), REFUSED, ids=lambda v: str(v)[:30])
    def test_what_llama_cpp_must_not_see(
        self, toy_model: Path, changes: dict[str, object], error: str, part: str
    ) -> None:
        with EngineClient() as engine:
            refused = failure(engine.load(cpu_plan(**changes), (str(toy_model),)))
        assert (refused.error, part in refused.message) == (error, True), refused

    def test_files_that_are_no_models(self, tmp_path: Path) -> None:
        html, cut, closed = tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf"
        html.write_text("<!doctype html>")
        cut.write_bytes(b"GGUF\3\0\0\0")
        closed.write_bytes(b"GGUF")
        closed.chmod(0)
        cases = {
            str(tmp_path / "missing.gguf"): "NotFoundError",
            str(tmp_path): "UsageError",
            "/dev/null": "UsageError",
            str(html): "IntegrityError",
            str(cut): "IntegrityError",
        }
        if os.geteuid() != 0:
            cases[str(closed)] = "LocalLLMError"
        with EngineClient() as engine:
            for path, error in cases.items():
                refused = failure(engine.load(cpu_plan(), (path,)))
                assert refused.error == error, refused
                assert refused.hint or path == "/dev/null"

    def test_a_model_of_an_unknown_architecture_says_what_to_do(self, tmp_path: Path) -> None:
        path = make_model(
            tmp_path / "new.gguf",
            shapes.TOY,
            quant="F16",
            extra={"general.architecture": string("llama9")},
        )
        with EngineClient() as engine:
            refused = failure(engine.load(cpu_plan(), (str(path),)))
        assert "does not know this model" in refused.message and "Update" in str(refused.hint)

    def test_a_template_that_loops_costs_two_seconds_and_the_engine_lives_on(
        self, tmp_path: Path
    ) -> None:
        loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        path = make_model(
            tmp_path / "loops.gguf",
            shapes.TOY,
            quant="F16",
            extra={"tokenizer.chat_template": string(loops)},
        )
        with EngineClient() as engine:
            load(engine, path)
            began = time.monotonic()
            refused = failure(engine.chat(ask("Hello")))
            assert time.monotonic() - began < 10
            assert (refused.error, refused.code) == ("EngineError", "template")
            finish(engine.complete(complete("Hello", max_tokens=3)))

    def test_a_context_longer_than_the_training_is_a_warning(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            assert load(engine, toy_model, n_ctx=4096).warnings == ()
            [warning] = load(engine, toy_model, n_ctx=8192).warnings
        assert "8,192" in warning and "4,096" in warning
