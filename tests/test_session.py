"""The session over the real engine: what a suspended machine, a death and a bad load come to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from localllm.core.generation import ChatRequest, Died, Event, Finished, Loaded, Message, Sampling
from localllm.core.policy import Policy
from localllm.engine.client import EngineClient
from localllm.session import Session, resolve_model
from localllm.system.suspend import SuspendWatch
from tests.support.processes import gone

QUESTION = ChatRequest(
    messages=(Message(role="user", content="hello"),),
    sampling=Sampling(temperature=0),
    max_tokens=4,
)


class Bed:
    """A machine that a test puts to sleep."""

    def __init__(self) -> None:
        self.slept_s = 0.0
        self.watch = SuspendWatch(boottime=lambda: time.monotonic() + self.slept_s)


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.fixture
def engine() -> Iterator[EngineClient]:
    with EngineClient() as client:
        yield client


@pytest.fixture
def session(bed: Bed, engine: EngineClient) -> Iterator[Session]:
    """The demo, loaded."""
    with Session(basis="formula", engine=engine, suspends=bed.watch) as loaded:
        assert isinstance(load(loaded)[-1], Loaded)
        yield loaded


def load(session: Session) -> list[object]:
    model, policy = resolve_model("demo"), Policy(n_ctx=256, n_threads=1)
    return list(session.load(model, session.make_plan(model, policy), policy))


def ask(session: Session) -> Event:
    *_, last = session.chat(QUESTION)
    return last


def test_after_a_suspend_an_engine_that_is_well_answers(session: Session, bed: Bed) -> None:
    bed.slept_s = 3600.0
    assert isinstance(ask(session), Finished)


def test_after_a_suspend_an_engine_that_was_lost_is_said_to_be_before_the_question_is_put(
    session: Session, bed: Bed, engine: EngineClient
) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    bed.slept_s = 3600.0
    died = ask(session)
    assert isinstance(died, Died) and died.phase == "idle"
    assert isinstance(load(session)[-1], Loaded)
    assert isinstance(ask(session), Finished)


def test_what_was_loaded_is_compared_with_its_plan(session: Session) -> None:
    assert session.plan is not None
    (compared,) = session.memory_comparison()
    assert compared.device == "host"
    assert compared.measured_bytes == compared.planned_bytes


def test_an_answer_is_reconciled_with_a_reason_where_no_meter_is(session: Session) -> None:
    finished = ask(session)
    assert isinstance(finished, Finished) and finished.timeline is not None
    energy = session.measuring.keep_answer(finished)
    assert energy is not None
    assert session.measuring.problem() is None
