"""llama.cpp's allocator, asked without a GPU and without weights.

The figures were measured with llama.cpp's own dry runs and compared with public load logs
(llama-cpp-python 0.3.36); MiB, rounded to two decimals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.core.hardware import Backend
from localllm.engine.children import child_environment
from localllm.engine.dryrun import (
    ContextMemory,
    DryRun,
    DryRunContext,
    DryRunRefused,
    DryRunRequest,
    ExactUnavailable,
)
from localllm.units import MiB
from tests.engine.support import gpu
from tests.support import shapes
from tests.support.amx import AMX
from tests.support.gguf_maker import make_model
from tests.support.processes import gone

EXPERTS = r"ffn_(up|down|gate_up|gate)_(ch|)exps"

Header = Callable[[str], Path]


def context(n_ctx: int = 8192, **changes: object) -> DryRunContext:
    return DryRunContext(n_ctx=n_ctx, **changes)  # type: ignore[arg-type]


def measure(dry: DryRun, path: Path, *contexts: DryRunContext, **changes: object) -> ContextMemory:
    """Ask about one placement; with several contexts, return the last one's memory."""
    request = DryRunRequest(paths=(path,), contexts=contexts or (context(),), **changes)  # type: ignore[arg-type]
    return dry.measure(request).contexts[-1]


def mib(*sizes: int) -> tuple[float, ...]:
    return tuple(round(size / MiB, 2) for size in sizes)


@pytest.mark.parametrize(
    ("name", "n_gpu_layers", "wanted", "device", "host"),
    [
        # every output, as llama-bench asks; one output; longer; larger micro-batches; no FA; q8_0
        ("llama-3-8b", 99, context(n_outputs_max=0), 258.5, 24.01),
        ("llama-3-8b", 99, context(), 116.01, 24.01),
        ("llama-3-8b", 99, context(32768), 140.01, 48.01),
        ("llama-3-8b", 99, context(n_ubatch=2048), 464.04, 96.05),
        ("llama-3-8b", 99, context(n_outputs_max=0, flash_attn="off"), 564.01, 36.01),
        ("llama-3-8b", 99, context(type_k="q8_0", type_v="q8_0"), 108.09, 24.09),
        ("llama-3-8b", 16, context(n_outputs_max=0), 258.5, 124.01),
        ("llama-3-8b", 16, context(), 108.01, 124.01),
        ("llama-3-8b", 16, context(n_outputs_max=0, flash_attn="off"), 564.01, 572.01),
        ("llama-3-8b", 0, context(n_outputs_max=0), 0, 266.5),
        ("llama-3-70b", 99, context(n_outputs_max=0), 266.5, 40.01),
        ("llama-3-70b", 99, context(), 224.01, 40.01),
        ("llama-3-70b", 99, context(n_outputs_max=0, flash_attn="off"), 1108.01, 52.01),
        ("llama-3-70b", 40, context(), 208.01, 240.01),
        ("llama-3-70b", 40, context(n_ubatch=2048), 832.04, 960.05),
        ("llama-3-70b", 0, context(n_outputs_max=0), 0, 282.5),
    ],
)
def test_compute_buffers_of_a_device_that_pulls_no_weights(
    dry: DryRun,
    header: Header,
    name: str,
    n_gpu_layers: int,
    wanted: DryRunContext,
    device: float,
    host: float,
) -> None:
    memory = measure(
        dry, header(name), wanted, devices=(gpu(backend="other"),), n_gpu_layers=n_gpu_layers
    )
    assert mib(*(row.compute_bytes for row in memory.devices)) == (device, host)


@pytest.mark.parametrize(
    ("name", "n_gpu_layers", "overrides", "n_outputs_max", "device", "host"),
    [
        ("llama-3-8b", 16, (), 0, 258.5, 24.01),
        ("llama-3-8b", 16, (), 1, 129.5, 24.01),
        ("llama-3-8b", 0, (), 0, 669.48, 24.01),  # the output matrix itself is pulled
        ("llama-3-8b", 0, (), 1, 129.5, 24.01),
        ("llama-3-70b", 40, (), 1, 315.75, 40.01),
        ("llama-3-70b", 0, (), 0, 1088.45, 40.01),
        ("llama-3-70b", 0, (), 1, 315.75, 40.01),
        ("mixtral-8x22b", 99, ((EXPERTS, "CPU"),), 0, 762.02, 32.01),  # one tensor of experts
        ("mixtral-8x22b", 99, ((EXPERTS, "CPU"),), 1, 762.01, 32.01),
    ],
)
def test_weights_that_prompt_batches_pull_from_ram_take_room_on_the_gpu(
    dry: DryRun,
    header: Header,
    name: str,
    n_gpu_layers: int,
    overrides: tuple[tuple[str, str], ...],
    n_outputs_max: int,
    device: float,
    host: float,
) -> None:
    memory = measure(
        dry,
        header(name),
        context(n_outputs_max=n_outputs_max),
        devices=(gpu(),),
        n_gpu_layers=n_gpu_layers,
        tensor_overrides=overrides,
    )
    assert mib(*(row.compute_bytes for row in memory.devices)) == (device, host)


def test_weights_and_cache_are_those_of_public_load_logs(dry: DryRun, header: Header) -> None:
    one = measure(dry, header("llama-3-8b"), devices=(gpu(),), n_gpu_layers=99)
    assert mib(*(row.model_bytes for row in one.devices)) == (4403.49, 281.81)
    assert mib(*(row.context_bytes for row in one.devices)) == (1024, 0)
    two = measure(
        dry,
        header("llama-3-8b"),
        devices=(gpu("SIM0"), gpu("SIM1")),
        n_gpu_layers=99,
        tensor_split=(17, 16),
    )
    assert mib(*(row.model_bytes for row in two.devices)) == (2113.28, 2290.21, 281.81)
    assert mib(*(row.context_bytes for row in two.devices)) == (544, 480, 0)


def test_without_a_gpu_the_cpu_rearranges_most_weights(dry: DryRun, header: Header) -> None:
    if "avx2" not in dry.isa or AMX:
        pytest.skip("other processors rearrange other types")
    plain, memory = (measure(dry, header("llama-3-8b"), repack=repack) for repack in (False, True))
    assert mib(memory.repacked_bytes, memory.host.model_bytes) == (3204, 4685.30)
    assert plain.repacked_bytes == 0
    assert plain.host.model_bytes == memory.host.model_bytes
    assert plain.host.compute_bytes == memory.host.compute_bytes


@pytest.mark.parametrize("split", [(27, 27, 27), (1, 79, 1), (0, 81, 0), (40, 0, 41), (13, 31, 37)])
def test_whole_layers_as_shares_are_the_layers_that_a_device_gets(
    dry: DryRun, header: Header, split: tuple[int, ...]
) -> None:
    memory = measure(
        dry,
        header("llama-3-70b"),
        devices=tuple(gpu(f"SIM{i}") for i in range(3)),
        n_gpu_layers=81,
        tensor_split=split,
    )
    per_block = 32 * MiB
    blocks = [row.context_bytes // per_block for row in memory.devices[:3]]
    last = max(i for i, count in enumerate(split) if count)
    assert blocks == [count - (i == last) for i, count in enumerate(split)]


def test_an_f16_copy_of_a_quantised_cache_is_counted_on_cuda_alone(
    dry: DryRun, header: Header
) -> None:
    def compute(backend: Backend, type_kv: str) -> int:
        wanted = context(32768, type_k=type_kv, type_v=type_kv)
        devices = (gpu(backend=backend),)
        memory = measure(
            dry, header("llama-3-8b"), wanted, devices=devices, n_gpu_layers=99, repack=False
        )
        return memory.devices[0].compute_bytes

    assert compute("cuda", "f16") == compute("other", "f16")
    assert mib(compute("cuda", "q8_0") - compute("other", "q8_0")) == (60,)


def test_flash_attention_switches_itself_off_where_cuda_has_no_kernel(
    dry: DryRun, models_dir: Path
) -> None:
    path = make_model(models_dir / "heads-of-16.gguf", shapes.TOY.without_vocabulary(), quant="F16")

    def compute(backend: Backend, flash_attn: str) -> int:
        wanted = context(4096, flash_attn=flash_attn)
        memory = measure(dry, path, wanted, devices=(gpu(backend=backend),), n_gpu_layers=5)
        return memory.devices[0].compute_bytes

    scores = 4 * 4 * 4096 * 512  # heads x positions x tokens
    assert compute("vulkan", "auto") < scores < compute("vulkan", "off")
    assert scores < compute("cuda", "auto")


def test_metal_keeps_an_f16_copy_whatever_the_cache_holds(dry: DryRun, header: Header) -> None:
    def compute(n_ctx: int, backend: Backend) -> int:
        memory = measure(
            dry,
            header("llama-3-8b"),
            context(n_ctx),
            devices=(gpu(backend=backend),),
            n_gpu_layers=99,
        )
        return memory.devices[0].compute_bytes

    grows = [compute(131_072, backend) - compute(65_536, backend) for backend in ("metal", "other")]
    copy = 2 * 65_536 * (1024 + 1024)
    assert copy < grows[0] - grows[1] < 1.02 * copy


def test_states_of_recurrent_models_are_counted_and_not_allocated(
    dry: DryRun, header: Header
) -> None:
    wanted = (context(n_seq=1), context(n_seq=256, n_outputs_max=256))
    one = measure(dry, header("mamba-130m"), wanted[0])
    many = measure(dry, header("mamba-130m"), wanted[1])
    assert many.host.context_bytes == 256 * one.host.context_bytes > 500 * MiB
    assert dry.pid is not None
    pages = int(Path(f"/proc/{dry.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") < 400 * MiB


def test_a_further_context_needs_no_further_load(dry: DryRun, models_dir: Path) -> None:
    path = make_model(models_dir / "vanishing.gguf", shapes.TOY.without_vocabulary(), quant="F16")
    measure(dry, path)
    path.unlink()
    assert measure(dry, path, context(4096)).host.context_bytes == 2 * MiB
    with pytest.raises(DryRunRefused):
        measure(dry, path, devices=(gpu(),), n_gpu_layers=1)


def test_the_child_sees_no_gpu(dry: DryRun) -> None:
    dry.check()
    environment = Path(f"/proc/{dry.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=" in environment
    assert b"GGML_NO_BACKTRACE=1" in environment


# -- refusals ----------------------------------------------------------------------------------


def test_what_llama_cpp_refuses_is_refused_with_its_reason(
    dry: DryRun, header: Header, tmp_path: Path
) -> None:
    corrupt = tmp_path / "corrupt.gguf"
    corrupt.write_bytes(b"GGUF" + bytes(100))
    for path in (corrupt, tmp_path / "missing.gguf"):
        with pytest.raises(DryRunRefused, match=r"refused the model: .+"):
            measure(dry, path)
    with pytest.raises(DryRunRefused, match="no device has a buffer type CUDA9; there are SIM0"):
        measure(dry, header("llama-3-8b"), devices=(gpu(),), tensor_overrides=(("x", "CUDA9"),))
    odd = context(type_v="q8_0", flash_attn="off")
    memory = measure(dry, header("llama-3-8b"), odd)
    assert memory.refused is not None and "requires flash_attn" in memory.refused
    memory = measure(dry, header("llama-3-8b"), context(type_k="q9_9"))
    assert memory.refused == "llama.cpp has no KV cache of type q9_9"


def test_one_refused_context_leaves_the_others_their_figures(dry: DryRun, header: Header) -> None:
    request = DryRunRequest(
        paths=(header("llama-3-8b"),),
        contexts=(context(), context(type_v="q8_0", flash_attn="off"), context()),
    )
    first, refused, last = dry.measure(request).contexts
    assert refused.refused is not None and not refused.devices
    assert first == last and first.host.compute_bytes > 0


# -- children that die -------------------------------------------------------------------------


def test_an_abort_in_the_child_is_an_answer_and_the_next_question_is_answered(
    header: Header,
) -> None:
    fatal = context(n_seq=4, n_outputs_max=1)  # GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max)
    with DryRun() as dry:
        with pytest.raises(DryRunRefused, match=r"SIGABRT.*n_outputs_max"):
            measure(dry, header("llama-3-8b"), fatal)
        assert measure(dry, header("llama-3-8b")).host.compute_bytes > 0


def test_a_child_killed_between_two_questions_is_replaced(header: Header) -> None:
    with DryRun() as dry:
        before = measure(dry, header("llama-3-8b"))
        assert dry.pid is not None
        os.kill(dry.pid, signal.SIGKILL)
        assert measure(dry, header("llama-3-8b")) == before


def test_a_child_that_hangs_is_replaced(header: Header) -> None:
    with DryRun(answer_s=2) as dry:
        before = measure(dry, header("llama-3-8b"))
        assert dry.pid is not None
        stopped = dry.pid
        os.kill(stopped, signal.SIGSTOP)
        assert measure(dry, header("llama-3-8b")) == before
        assert gone(stopped)


def test_closing_ends_the_child_and_refuses_further_questions(header: Header) -> None:
    dry = DryRun().start()
    dry.check()
    pid = dry.pid
    dry.close()
    dry.close()
    assert pid is not None and gone(pid)
    with pytest.raises(ExactUnavailable, match="closed"):
        measure(dry, header("llama-3-8b"))


def test_closing_at_once_leaves_nothing_behind() -> None:
    for _ in range(3):
        DryRun().start().close()


def test_a_parent_that_is_killed_leaves_no_child() -> None:
    code = """
    from localllm.engine.dryrun import DryRun
    dry = DryRun()
    dry.check()
    print(dry.pid, flush=True)
    input()
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert gone(child)


# -- no exact basis ----------------------------------------------------------------------------


def test_an_unknown_version_of_llama_cpp_switches_the_exact_basis_off(
    monkeypatch: pytest.MonkeyPatch, header: Header
) -> None:
    monkeypatch.setenv("LOCALLLM_DRYRUN_TEST", "unknown-version")
    with DryRun() as dry:
        with pytest.raises(ExactUnavailable, match=r"llama-cpp-python .+ has not been tested"):
            measure(dry, header("llama-3-8b"))
        with pytest.raises(ExactUnavailable, match="has not been tested"):
            measure(dry, header("llama-3-8b"))


def test_a_llama_cpp_that_cannot_be_loaded_switches_the_exact_basis_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "llama_cpp"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "llama_cpp.py").write_text('raise RuntimeError("libllama.so is for another CPU")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with DryRun() as dry, pytest.raises(ExactUnavailable, match=r"libllama\.so is for another CPU"):
        dry.check()


def test_elsewhere_than_on_linux_there_is_no_child_and_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("localllm.engine.dryrun._IS_LINUX", False)
    with DryRun() as dry:
        with pytest.raises(ExactUnavailable, match="on Linux only"):
            dry.check()
        assert dry.pid is None
