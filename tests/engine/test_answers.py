"""What the engine answers, with real llama.cpp on real files."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path

import pytest

from localllm.core.generation import (
    BenchDone,
    BenchSample,
    BenchTest,
    ChatRequest,
    Finished,
    Message,
    PromptProgress,
    Sampling,
    TextDelta,
)
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from tests.engine.support import (
    DEMO,
    GREEDY,
    ask,
    complete,
    failure,
    finish,
    load,
    long_answer,
    only,
    text_of,
)


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

    def test_the_phases_of_an_answer_are_told_by_a_clock_that_all_processes_share(
        self, engine: EngineClient
    ) -> None:
        asked_s = time.monotonic()
        end = finish(engine.chat(ask("When is it?")))
        ended_s = time.monotonic()
        assert end.timeline is not None
        stamps = dataclasses.astuple(end.timeline)
        assert [asked_s, *stamps, ended_s] == sorted([asked_s, *stamps, ended_s])
        began_s, read_s, first_s, last_s = stamps
        assert read_s - began_s == pytest.approx(end.stats.prompt_s, abs=1e-6)
        assert last_s - first_s == pytest.approx(end.stats.tg_s, abs=1e-6)
        none = finish(engine.chat(ask("When is it?", max_tokens=0))).timeline
        assert none is not None
        assert none.first_token_s == none.last_token_s == none.prompt_ended_s > last_s

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
        assert all(a.began_s + a.ns / 1e9 <= b.began_s for a, b in itertools.pairwise(samples))
        assert samples[-1].began_s < time.monotonic() < samples[0].began_s + 60
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
