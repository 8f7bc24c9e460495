"""What the engine answers, with real llama.cpp on real files."""

from __future__ import annotations

import itertools
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
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from tests.engine.support import (
    GREEDY,
    ask,
    cpu_plan,
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
from tests.support.gguf_writer import Value

DEMO = Path(localllm.__file__).parent / "_demo" / "demo.gguf"


def complete(prompt: str, **changes: object) -> CompletionRequest:
    values: dict[str, object] = {"sampling": GREEDY, "max_tokens": 32, **changes}
    return CompletionRequest(prompt=prompt, **values)  # type: ignore[arg-type]


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
        self, llama_3_8b: Path, toy_model: Path
    ) -> None:
        with EngineClient() as engine:
            events = engine.load(cpu_plan(use_mmap=False), (str(llama_3_8b),))
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

    def test_control_tokens_are_not_printed(self, engine: EngineClient) -> None:
        n_control = 40  # at the end of the toy's vocabulary
        echo = FaultRequest(fault="echo", tokens=tuple(range(1024 - n_control, 1024)))
        assert "<|" not in text_of(engine.inject_fault(echo))


class TestReasoning:
    def test_think_tokens_open_and_close_the_reasoning(self, toy_qwen3_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_qwen3_model)
            request = ask("Hello", template_kwargs={"enable_thinking": False}, max_tokens=8)
            with_flag = finish(engine.chat(request)).stats.n_prompt
            without = finish(engine.chat(ask("Hello", max_tokens=8))).stats.n_prompt
            assert with_flag > without  # the template wrote <think>\n\n</think>


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
        self, engine: EngineClient
    ) -> None:
        pid = engine.pid
        events = []
        for event in engine.complete(complete("Hello", max_tokens=900)):
            events.append(event)
            if len(events) == 20:
                engine.cancel()
        assert finish(events).reason == "cancelled"
        assert text_of(events) and finish(events).stats.n_gen < 900
        finish(engine.chat(ask("Hello")))
        assert engine.pid == pid

    def test_closing_the_iterator_cancels(self, engine: EngineClient) -> None:
        pid = engine.pid
        events = engine.complete(complete("Hello", max_tokens=900))
        next(events)
        events.close()  # type: ignore[attr-defined]
        assert finish(engine.chat(ask("Hello"))).reason == "length"
        assert engine.pid == pid

    def test_cancel_between_requests_does_nothing(self, engine: EngineClient) -> None:
        engine.cancel()
        assert finish(engine.chat(ask("Hello"))).reason == "length"

    def test_cancel_from_many_threads_hits_only_the_running_request(
        self, engine: EngineClient
    ) -> None:
        stop = threading.Event()

        def hammer() -> None:
            while not stop.wait(0.001):
                engine.cancel()

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            reasons = {
                finish(engine.complete(complete("a", max_tokens=900))).reason for _ in "12345"
            }
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert reasons == {"cancelled"}
        assert finish(engine.complete(complete("a"))).reason != "cancelled"

    def test_a_long_prompt_is_cancelled_within_one_chunk(self, llama_32_1b: Path) -> None:
        """Half a minute of prompt on a full-size model, stopped in mid-chunk."""
        with EngineClient() as engine:
            load(engine, llama_32_1b, n_ctx=2048, n_batch=2048, n_ubatch=2048)
            events = engine.chat(ask("word " * 1500))
            assert isinstance(next(events), PromptProgress)
            time.sleep(0.3)
            began = time.monotonic()
            engine.cancel()
            assert finish(events).reason == "cancelled"
            assert time.monotonic() - began < 1.0
            again = finish(engine.chat(ask("word", max_tokens=1)))
            assert again.reason == "length"

    def test_requests_from_two_threads_take_turns(self, engine: EngineClient) -> None:
        results: list[Finished] = []

        def one() -> None:
            results.append(finish(engine.complete(complete("Hello", max_tokens=200))))

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.reason for result in results] == ["length"] * 4

    def test_a_second_request_inside_the_first_is_a_bug_of_the_caller(
        self, engine: EngineClient
    ) -> None:
        events = engine.complete(complete("Hello", max_tokens=900))
        next(events)
        with pytest.raises(RuntimeError):
            next(engine.complete(complete("Hello")))
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
