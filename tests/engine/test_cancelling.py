"""Answers that are stopped, or that come to the end of the context."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from localllm.core.generation import (
    ChatRequest,
    Finished,
    Message,
    PromptProgress,
    Sampling,
)
from localllm.engine.client import EngineClient
from tests.engine.support import (
    ENDLESS,
    ask,
    complete,
    failure,
    finish,
    load,
    text_of,
)


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
