"""What the engine answers, with real llama.cpp on real files."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import struct
import threading
import time
from pathlib import Path

import pytest

import localllm
from localllm.core.generation import (
    BenchDone,
    BenchSample,
    BenchTest,
    ChatRequest,
    CompletionRequest,
    Finished,
    Loaded,
    LoadProgress,
    Message,
    PromptProgress,
    Sampling,
    TextDelta,
)
from localllm.core.plan import TensorOverride
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from tests.engine.support import (
    GREEDY,
    ask,
    cpu_plan,
    device,
    failure,
    finish,
    load,
    long_answer,
    only,
    text_of,
)
from tests.support import shapes
from tests.support.gguf_maker import make_model, make_split_model
from tests.support.gguf_vocab import byte_characters, vocabulary
from tests.support.gguf_writer import I32, Value, array, string

DEMO = Path(localllm.__file__).parent / "_demo" / "demo.gguf"


def complete(prompt: str, **changes: object) -> CompletionRequest:
    values: dict[str, object] = {"sampling": GREEDY, "max_tokens": 32, **changes}
    return CompletionRequest(prompt=prompt, **values)  # type: ignore[arg-type]


ENDLESS = complete("Hello", max_tokens=None)


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
    ({"tensor_split": (0.0, 0.0)}, "UsageError", "tensor-split"),
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


class TestAnswering:
    def test_an_answer_is_progress_then_text_then_the_end(self, engine: EngineClient) -> None:
        events = list(engine.chat(ask("What is the plan?")))
        kinds = [type(event) for event in events]
        assert kinds == sorted(kinds, key=[PromptProgress, TextDelta, Finished].index)
        done = only(PromptProgress, events)
        assert done[-1].n_done == done[-1].n_total
        end = finish(events)
        assert end.reason == "length" and end.stats.n_gen == 16
        assert end.stats.n_prompt == done[-1].n_total
        assert end.stats.ttft_s >= end.stats.prompt_s > 0 < end.stats.tg_s
        assert end.stats.n_ctx_used == end.stats.n_prompt + end.stats.n_gen - 1

    def test_the_counter_of_tokens_rises_and_time_does_not_run_back(
        self, engine: EngineClient
    ) -> None:
        deltas = only(TextDelta, engine.chat(ask("Hello", max_tokens=64)))
        assert all(a.n_tokens < b.n_tokens for a, b in itertools.pairwise(deltas))
        assert all(a.tg_s <= b.tg_s for a, b in itertools.pairwise(deltas))

    def test_the_next_turn_reuses_the_prefix_and_says_the_same(self) -> None:
        """With trained weights: the next token of a random model is often a near tie."""
        turns = [Message(role="user", content="Which command shows the plan?")]
        request = ChatRequest(messages=tuple(turns), sampling=GREEDY, max_tokens=40)
        with EngineClient() as engine:
            load(engine, DEMO)
            first = list(engine.chat(request))
            turns.append(Message(role="assistant", content=text_of(first)))
            turns.append(Message(role="user", content="Hello! What is your name?"))
            request = ChatRequest(messages=tuple(turns), sampling=GREEDY, max_tokens=40)
            reused = list(engine.chat(request))
        with EngineClient() as engine:
            load(engine, DEMO)
            fresh = list(engine.chat(request))
        assert finish(reused).stats.n_cached > 10
        assert finish(fresh).stats.n_cached == 0
        assert text_of(reused) == text_of(fresh)

    def test_asking_the_same_again_evaluates_one_token(self, engine: EngineClient) -> None:
        request = ask("Once more, with feeling.")
        first = list(engine.chat(request))
        again = list(engine.chat(request))
        stats = finish(again).stats
        assert stats.n_prompt - stats.n_cached == 1
        assert text_of(again) == text_of(first)

    def test_a_seed_makes_an_answer_repeatable_and_is_reported(self, engine: EngineClient) -> None:
        def answer(seed: int | None) -> tuple[str, int]:
            sampling = Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0, seed=seed)
            events = list(engine.chat(ask("Hello", sampling=sampling, max_tokens=40)))
            return text_of(events), finish(events).stats.seed

        free, seed = answer(None)
        assert answer(seed) == (free, seed)
        assert answer(7) == answer(7) != answer(8)

    def test_a_repeat_penalty_makes_a_difference(self, engine: EngineClient) -> None:
        plain = text_of(engine.complete(complete("one")))
        penalised = Sampling(temperature=0, repeat_penalty=1.8)
        assert text_of(engine.complete(complete("one", sampling=penalised))) != plain

    @pytest.mark.parametrize(
        "sampling",
        [
            Sampling(temperature=-1),
            Sampling(top_p=2),
            Sampling(min_p=-0.1),
            Sampling(repeat_penalty=0),
            Sampling(seed=2**32),
            Sampling(temperature=float("nan")),
        ],
    )
    def test_senseless_sampling_is_a_usage_error(
        self, engine: EngineClient, sampling: Sampling
    ) -> None:
        assert failure(engine.chat(ask("Hello", sampling=sampling))).error == "UsageError"

    def test_no_tokens_asked_for_none_given(self, engine: EngineClient) -> None:
        events = list(engine.chat(ask("Hello", max_tokens=0)))
        assert (text_of(events), finish(events).reason) == ("", "length")

    def test_an_empty_completion_starts_from_bos(self, engine: EngineClient) -> None:
        assert finish(engine.complete(complete(""))).stats.n_prompt == 1

    def test_a_model_ends_its_turn_with_its_own_token(self, engine: EngineClient) -> None:
        """A random model draws one of its two end tokens within a few thousand draws of 1,024."""
        sampling = Sampling(temperature=5, top_k=0, top_p=1, min_p=0, seed=1)
        for seed in range(20):
            sampling = Sampling(temperature=5, top_k=0, top_p=1, min_p=0, seed=seed)
            end = finish(engine.chat(ask("Hello", sampling=sampling, max_tokens=900)))
            if end.reason == "stop":
                return
        pytest.fail("no end of turn in 18,000 tokens")


class TestStopStrings:
    def test_a_stop_string_across_token_borders_ends_the_answer_and_is_not_shown(
        self, engine: EngineClient
    ) -> None:
        request = complete("Hello", max_tokens=60)
        deltas = [delta.text for delta in only(TextDelta, engine.complete(request))]
        whole = "".join(deltas)
        border = len("".join(deltas[:20]))
        stop = whole[border - 2 : border + 2]
        first = whole.index(stop)
        events = list(engine.complete(complete("Hello", max_tokens=60, stop=(stop, "never"))))
        assert text_of(events) == whole[:first]
        end = finish(events)
        assert (end.reason, end.stop_string) == ("stop_string", stop)

    def test_a_stop_string_that_never_comes_swallows_nothing(self, engine: EngineClient) -> None:
        plain = text_of(engine.complete(complete("Hello")))
        stops = (plain[-3:] + "\0", "zzzzzz")
        events = list(engine.complete(complete("Hello", stop=stops)))
        assert text_of(events) == plain
        assert finish(events).reason == "length"


class TestText:
    def test_bytes_that_never_form_a_character_do_not_stall_the_stream(
        self, engine: EngineClient
    ) -> None:
        request = long_answer(engine, 600)
        times = [time.monotonic()]
        events = []
        for event in engine.complete(request):
            times.append(time.monotonic())
            events.append(event)
        assert finish(events).stats.n_gen == 600
        assert "\ufffd" in text_of(events)
        assert max(b - a for a, b in itertools.pairwise(times)) < 1

    def test_no_token_of_a_128k_vocabulary_is_lost(self, toy_128k_model: Path) -> None:
        keys = vocabulary("llama-3", 128_256)
        tokens = strings_of(keys["tokenizer.ggml.tokens"])
        types = numbers_of(keys["tokenizer.ggml.token_type"])
        byte_of = {character: byte for byte, character in enumerate(byte_characters())}
        expected = b"".join(
            bytes(byte_of[character] for character in token)
            for token, kind in zip(tokens, types, strict=True)
            if kind == 1
        )
        with EngineClient() as engine:
            assert load(engine, toy_128k_model).n_vocab == len(tokens) == 128_256
            echo = FaultRequest(fault="echo", tokens=tuple(range(128_256)))
            text = text_of(engine.inject_fault(echo))
        assert text == expected.decode("utf-8", "replace")

    def test_a_token_costs_at_the_end_of_a_long_answer_what_it_cost_at_its_start(
        self, endless: EngineClient
    ) -> None:
        """40,000 tokens on their way from the vocabulary to the consumer, without llama.cpp's part.

        Anything that looks at the whole answer for each token is 40 times slower at the end.
        """
        echo = FaultRequest(fault="echo", tokens=(300,) * 40_000)
        times = [time.monotonic() for _ in endless.inject_fault(echo)]
        quarter = len(times) // 4
        first, last = times[quarter] - times[0], times[-1] - times[-quarter]
        assert last < 4 * first

    def test_control_tokens_are_not_printed(self, engine: EngineClient) -> None:
        n_control = 40  # at the end of the toy's vocabulary
        echo = FaultRequest(fault="echo", tokens=tuple(range(1024 - n_control, 1024)))
        assert "<|" not in text_of(engine.inject_fault(echo))


def token_ids(style: str, n_tokens: int, *parts: str) -> tuple[int, ...]:
    """Ids of a text given in parts: a special token each, or spelled out in single characters."""
    tokens = strings_of(vocabulary(style, n_tokens)["tokenizer.ggml.tokens"])
    index = {token: number for number, token in enumerate(tokens)}
    ids: list[int] = []
    for part in parts:
        ids += [index[part]] if part in index else [index[character] for character in part]
    return tuple(ids)


class TestReasoning:
    def test_template_arguments_reach_the_template(self, toy_qwen3_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_qwen3_model)
            off = ask("Hello", template_kwargs={"enable_thinking": False}, max_tokens=1)
            n_without = finish(engine.chat(ask("Hello", max_tokens=1))).stats.n_prompt
            assert finish(engine.chat(off)).stats.n_prompt > n_without  # <think>\n\n</think>

    def test_think_tokens_keep_reasoning_apart(self, toy_qwen3_model: Path) -> None:
        ids = token_ids("chatml", 1024, "<think>", "hm", "</think>", "Yes", "<|im_start|>", "!")
        with EngineClient() as engine:
            load(engine, toy_qwen3_model)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
        assert text_of(events, "reasoning") == "hm"
        assert text_of(events, "answer") == "Yes!"  # other control tokens have no text

    def test_think_tokens_of_control_type_are_seen_too(self, tmp_path: Path) -> None:
        keys = vocabulary("chatml", 1024)
        types = numbers_of(keys["tokenizer.ggml.token_type"])
        tokens = strings_of(keys["tokenizer.ggml.tokens"])
        for marker in ("<think>", "</think>"):
            types[tokens.index(marker)] = 3
        path = make_model(
            tmp_path / "control.gguf",
            shapes.TOY_QWEN3,
            quant="F16",
            sparse=False,
            extra={"tokenizer.ggml.token_type": array(I32, types)},
        )
        ids = token_ids("chatml", 1024, "<think>", "hm", "</think>", "Yes")
        with EngineClient() as engine:
            load(engine, path)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
        assert (text_of(events, "reasoning"), text_of(events, "answer")) == ("hm", "Yes")

    def test_channels_of_gpt_oss(self, toy_gpt_oss_model: Path) -> None:
        parts = (
            *("<|channel|>", "analysis", "<|message|>", "hm", "<|end|>"),
            *("<|start|>", "assistant", "<|channel|>", "final", "<|message|>", "Yes"),
        )
        ids = token_ids("harmony", 1024, *parts)
        with EngineClient() as engine:
            load(engine, toy_gpt_oss_model)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
            assert (text_of(events, "reasoning"), text_of(events, "answer")) == ("hm", "Yes")
            finish(engine.chat(ask("Hello")))


class TestOrder:
    def test_text_sent_after_the_next_decode_is_the_same_text(self, toy_model: Path) -> None:
        """On GPUs a token is sent when the next one is being computed."""
        with EngineClient() as engine:
            load(engine, toy_model)
            request = long_answer(engine, 60)
            on_cpu = list(engine.complete(request))
            list(engine.inject_fault(FaultRequest(fault="act_like_a_gpu")))
            as_on_gpu = list(engine.complete(request))
            assert text_of(as_on_gpu) == text_of(on_cpu)
            assert finish(as_on_gpu).stats.n_gen == finish(on_cpu).stats.n_gen == 60
            stop = text_of(on_cpu)[-4:-1]
            stopped = list(engine.complete(dataclasses.replace(request, stop=(stop,))))
            assert finish(stopped).stop_string == stop
            assert text_of(on_cpu).startswith(text_of(stopped) + stop)
            finish(engine.complete(request))


class TestContext:
    def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(
        self, engine: EngineClient
    ) -> None:
        refused = failure(engine.chat(ask("word " * 3000)))
        assert refused.error == "UsageError" and refused.code == "prompt_too_long"
        assert "1,024" in refused.message and refused.hint
        finish(engine.chat(ask("Hello")))

    def test_a_full_context_ends_the_answer_and_says_so(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_model, n_ctx=256)
            end = finish(engine.complete(complete("Hello", max_tokens=None)))
            assert end.reason == "context_full"
            assert end.stats.n_ctx_used == end.stats.n_ctx == 256
            finish(engine.complete(complete("Hello")))

    def test_with_context_shift_the_answer_goes_on(self, toy_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_model, n_ctx=256)
            request = ChatRequest(
                messages=(
                    Message(role="system", content="You are brief."),
                    Message(role="user", content="Hello"),
                ),
                sampling=Sampling(seed=5),
                max_tokens=1000,
                context_shift=True,
            )
            end = finish(engine.chat(request))
            assert end.reason in ("length", "stop")
            assert end.stats.n_gen > 256 or end.reason == "stop"
            assert end.stats.n_ctx_used <= 256
            again = finish(engine.chat(request))
            assert again.stats.n_cached >= 10  # the system message survived the shifts

    def test_a_sliding_window_forgets_and_the_answer_is_still_right(
        self, toy_gemma3_model: Path
    ) -> None:
        """After a long answer the window has lost the prompt: it has to be evaluated again."""
        with EngineClient() as engine:
            load(engine, toy_gemma3_model, n_ctx=2048)
            short = ask("Hello there", max_tokens=24)
            expected = text_of(engine.chat(short))
            long = ask("Hello there", max_tokens=1500, sampling=Sampling(seed=1))
            assert finish(engine.chat(long)).stats.n_gen > 1200
            events = list(engine.chat(short))
            assert text_of(events) == expected


class TestCancelling:
    def test_a_cancelled_answer_keeps_its_text_and_costs_no_reload(
        self, endless: EngineClient
    ) -> None:
        events = []
        for event in endless.complete(ENDLESS):
            events.append(event)
            if len(events) == 20:
                endless.cancel()
        end = finish(events)
        assert end.reason == "cancelled" and end.stats.n_gen < 4000
        assert text_of(events) == "!" * end.stats.n_gen
        again = finish(endless.complete(complete("Hello", max_tokens=5)))
        assert again.stats.n_gen == 5
        assert again.stats.n_cached == again.stats.n_prompt - 1

    def test_closing_the_iterator_cancels(self, endless: EngineClient) -> None:
        events = endless.complete(ENDLESS)
        next(events)
        events.close()  # type: ignore[attr-defined]
        assert finish(endless.complete(complete("Hello", max_tokens=5))).reason == "length"

    def test_cancel_between_requests_does_nothing(self, endless: EngineClient) -> None:
        endless.cancel()
        assert finish(endless.complete(complete("Hello", max_tokens=5))).reason == "length"

    def test_cancel_from_many_threads_hits_only_the_running_request(
        self, endless: EngineClient
    ) -> None:
        stop = threading.Event()

        def hammer() -> None:
            while not stop.wait(0.001):
                endless.cancel()

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            reasons = [finish(endless.complete(ENDLESS)).reason for _ in range(10)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert reasons == ["cancelled"] * 10
        assert finish(endless.complete(complete("a"))).reason == "length"

    def test_cancel_from_a_signal_handler(self, endless: EngineClient) -> None:
        before = signal.signal(signal.SIGALRM, lambda *_: endless.cancel())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert finish(endless.complete(ENDLESS)).reason == "cancelled"
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_an_interrupt_in_the_consumer_leaves_a_ready_engine(
        self, endless: EngineClient
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                list(endless.complete(ENDLESS))
        finally:
            signal.signal(signal.SIGALRM, before)
        assert finish(endless.complete(complete("Hello", max_tokens=5))).reason == "length"

    def test_a_long_prompt_is_cancelled_within_one_chunk(self, llama_32_1b: Path) -> None:
        """Half a minute of prompt on a full-size model, stopped in mid-chunk."""
        with EngineClient() as engine:
            load(engine, llama_32_1b, n_ctx=2048, n_batch=2048, n_ubatch=2048)
            events = engine.chat(ask("word " * 1500))
            assert isinstance(next(events), PromptProgress)
            time.sleep(0.3)
            began = time.monotonic()
            engine.cancel()
            end = finish(events)
            assert end.reason == "cancelled" and end.stats.n_gen == 0
            assert time.monotonic() - began < 1.0
            # What was evaluated before counts: the memory is in a known state.
            again = finish(engine.chat(ask("word", max_tokens=1)))
            assert again.reason == "length" and again.stats.n_ctx_used == again.stats.n_prompt

    def test_requests_from_two_threads_take_turns(self, endless: EngineClient) -> None:
        results: list[Finished] = []

        def one() -> None:
            results.append(finish(endless.complete(complete("Hello", max_tokens=200))))

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.reason for result in results] == ["length"] * 4

    def test_a_second_request_inside_the_first_is_a_bug_of_the_caller(
        self, endless: EngineClient
    ) -> None:
        events = endless.complete(ENDLESS)
        next(events)
        with pytest.raises(RuntimeError):
            next(endless.complete(complete("Hello")))
        events.close()  # type: ignore[attr-defined]


class TestBench:
    def test_samples_are_a_warm_up_and_the_repetitions(self, engine: EngineClient) -> None:
        tests = (
            BenchTest(n_prompt=64, n_gen=0, repetitions=2),
            BenchTest(n_prompt=0, n_gen=16, repetitions=3),
            BenchTest(n_prompt=32, n_gen=8, n_depth=128, repetitions=2),
        )
        events = list(engine.bench(tests))
        assert isinstance(events[-1], BenchDone)
        samples = only(BenchSample, events)
        assert [(s.test.label, s.repetition) for s in samples] == [
            (test.label, n) for test in tests for n in range(test.repetitions + 1)
        ]
        assert all(sample.ns > 0 for sample in samples)
        finish(engine.chat(ask("Hello")))

    def test_a_test_larger_than_the_context_is_refused(self, engine: EngineClient) -> None:
        refused = failure(engine.bench((BenchTest(n_prompt=1000, n_gen=128),)))
        assert refused.error == "UsageError" and "1,128" in refused.message

    def test_a_bench_can_be_cancelled(self, engine: EngineClient) -> None:
        events = engine.bench((BenchTest(n_prompt=0, n_gen=900, repetitions=100),))
        next(events)
        engine.cancel()
        assert failure(events).code == "cancelled"
        finish(engine.chat(ask("Hello")))


def strings_of(value: Value) -> list[str]:
    """Read back an array of strings as the file holds it."""
    (count,) = struct.unpack_from("<Q", value.payload, 4)
    found, at = [], 12
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", value.payload, at)
        found.append(value.payload[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return found


def numbers_of(value: Value) -> list[int]:
    """Read back an array of 32-bit integers."""
    (count,) = struct.unpack_from("<Q", value.payload, 4)
    return list(struct.unpack_from(f"<{count}i", value.payload, 12))
