"""The proof run: a filled context, progress on the way, and every way it can end."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from localllm.core.generation import Died, PromptProgress, Proved
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from localllm.engine.refusals import OutOfMemory, undecoded
from localllm.errors import EngineError
from tests.engine.support import ask, complete, failure, finish, load, only


def test_a_proof_fills_the_context_shows_how_far_it_is_and_forgets_it(
    engine: EngineClient,
) -> None:
    finish(engine.chat(ask("Hello")))
    began_s = time.monotonic()
    events = list(engine.prove())
    took_s = time.monotonic() - began_s
    proved = events[-1]
    assert isinstance(proved, Proved), proved
    assert proved.n_tokens == 1023 and 0 < proved.seconds < took_s  # of 1,024: one for a token
    progress = only(PromptProgress, events)
    assert len(progress) == len(events) - 1 > 4
    assert (progress[0].n_done, progress[-1].n_done) == (0, 1023)
    assert all(a.n_done < b.n_done for a, b in itertools.pairwise(progress))
    assert {(p.n_total, p.n_cached) for p in progress} == {(1023, 0)}
    assert finish(engine.chat(ask("Hello"))).stats.n_cached == 0


@pytest.mark.parametrize("fixture", ["toy_gemma3_model", "toy_gpt_oss_model"])
def test_windows_and_mixtures_are_proven_like_others(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    with EngineClient() as engine:
        load(engine, request.getfixturevalue(fixture), n_ctx=2048)
        proved = list(engine.prove())[-1]
    assert isinstance(proved, Proved) and proved.n_tokens == 2047


def test_a_proof_is_cancelled_at_once_and_costs_no_reload(llama_32_1b: Path) -> None:
    with EngineClient() as engine:
        load(engine, llama_32_1b, n_ctx=4096, n_batch=512, n_ubatch=512)
        events = engine.prove()
        next(events)
        time.sleep(0.3)
        began_s = time.monotonic()
        engine.cancel()
        assert failure(events).code == "cancelled"
        assert time.monotonic() - began_s < 1.0
        assert finish(engine.complete(complete("a", max_tokens=1))).stats.n_cached == 0


def test_a_death_during_the_proof_is_an_event_with_its_phase(endless_model: Path) -> None:
    with EngineClient() as engine:
        load(engine, endless_model, n_ctx=4096)
        for event in (events := engine.prove()):
            if isinstance(event, PromptProgress) and event.n_done:
                assert engine.pid is not None
                os.kill(engine.pid, signal.SIGKILL)
                break
        died = list(events)[-1]
        assert isinstance(died, Died)
        assert (died.phase, died.signal) == ("prompt", "SIGKILL")


def test_memory_that_ends_during_the_proof_is_told_from_other_deaths(llama_32_1b: Path) -> None:
    """A long prompt takes working memory that no load and no first token has asked for."""
    with EngineClient() as engine:
        load(engine, llama_32_1b, n_ubatch=512)
        list(engine.inject_fault(FaultRequest(fault="exhaust_memory")))
        died = list(engine.prove())[-1]
        assert isinstance(died, Died)
        assert (died.phase, died.out_of_memory) == ("prompt", True), died


def test_without_a_model_there_is_nothing_to_prove() -> None:
    with EngineClient() as engine:
        assert failure(engine.prove()).message == "No model is loaded."


def test_what_could_not_be_allocated_is_out_of_memory_and_the_rest_is_not() -> None:
    assert isinstance(undecoded(-2), OutOfMemory)
    for code in (1, -1, -3):
        error = undecoded(code)
        assert isinstance(error, EngineError) and not isinstance(error, OutOfMemory)
