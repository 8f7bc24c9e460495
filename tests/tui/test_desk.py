"""The way to the machine: lanes that do not wait for each other, and no process that is left."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from localllm.core.generation import Died, Failed, Loaded
from localllm.core.hardware import THIS_MACHINE
from localllm.core.policy import Policy
from localllm.errors import EngineError
from localllm.session import LocalModel
from localllm.tui.desk import Desk
from localllm.tui.subject import Planned, Subject
from tests.support.processes import gone

T = TypeVar("T")
PATIENCE_S = 30.0


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Begin something in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def children(of: str) -> set[int]:
    """Return the processes of a module that this process started and that have not ended."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for pid in map(int, (task / "children").read_text().split()):
                if of in Path(f"/proc/{pid}/cmdline").read_text() and not gone(pid, within_s=0.01):
                    found.add(pid)
    return found


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def planned(desk: Desk, toy_model: Path) -> Planned:
    return desk.plan(Subject(name=str(toy_model), wishes=Policy(n_ctx=256)))


def loaded_model(planned: Planned) -> LocalModel:
    assert isinstance(planned.decided.model, LocalModel)
    return planned.decided.model


def test_a_proof_is_llama_cpps_own_and_ends_with_the_desk(desk: Desk, planned: Planned) -> None:
    before = children("dryrun_child")
    proven = desk.prove(planned, wanted=lambda: True)
    assert planned.plan.basis == "formula"
    assert proven is not None and proven.basis == "exact"
    (child,) = children("dryrun_child") - before
    desk.close()
    assert gone(child)
    assert desk.prove(planned, wanted=lambda: True) is None


def test_what_nobody_waits_for_is_not_done(desk: Desk, planned: Planned) -> None:
    before = children("dryrun_child")
    assert desk.prove(planned, wanted=lambda: False) is None
    assert desk.find_if(planned.subject, wanted=lambda: False) is None
    assert children("dryrun_child") == before


def test_a_load_takes_the_memory_of_proofs_and_they_wait_for_its_end(
    desk: Desk, planned: Planned
) -> None:
    before = children("dryrun_child")
    assert desk.prove(planned, wanted=lambda: True) is not None
    assert children("dryrun_child") - before
    session = desk.run_session()
    events = session.load(loaded_model(planned), planned.plan)
    next(events)
    assert children("dryrun_child") == before
    wanted = threading.Event()
    wanted.set()
    waiting = in_thread(lambda: desk.prove(planned, wanted=wanted.is_set))
    given_up = in_thread(lambda: desk.prove(planned, wanted=lambda: False))
    assert given_up.result(PATIENCE_S) is None
    assert not waiting.done()
    assert any(isinstance(event, Loaded) for event in events)
    proven = waiting.result(PATIENCE_S)
    assert proven is not None and proven.basis == "exact"


def test_sessions_are_kept_for_a_few_machines_and_forgotten_with_what_was_detected(
    desk: Desk,
) -> None:
    here, named = desk.formula_session(), desk.formula_session((THIS_MACHINE,))
    card = desk.formula_session(("rtx-4090",))
    desk.detect_again()
    assert desk.formula_session(("rtx-4090",)) is card
    assert desk.formula_session() is not here
    again = desk.formula_session((THIS_MACHINE,))
    assert again is not named and again.hardware is desk.hardware()
    for n in range(2, 8):
        desk.formula_session((f"{n}x rtx-4090",))
    assert desk.formula_session(("rtx-4090",)) is not card


def test_a_desk_that_was_closed_starts_nothing(desk: Desk) -> None:
    before = children("engine.worker")
    starting = [in_thread(desk.run_session) for _ in range(3)]
    desk.close()
    for each in starting:
        with suppress(EngineError):
            assert each.result(PATIENCE_S).closed
    with pytest.raises(EngineError, match="being left"):
        desk.run_session()
    assert all(map(gone, children("engine.worker") - before))


def test_a_session_is_the_same_until_somebody_closes_it(desk: Desk) -> None:
    assert desk.running is None
    first = desk.run_session()
    assert desk.running is first is desk.run_session()
    assert first.hardware is desk.hardware()
    first.close()
    assert desk.running is None
    second = desk.run_session()
    assert second is not first and not second.closed
    desk.release()
    assert second.closed and desk.running is None


def test_a_load_that_is_released_in_the_middle_is_over_and_another_may_begin(
    desk: Desk, planned: Planned
) -> None:
    session = desk.run_session()
    events = session.load(loaded_model(planned), planned.plan)
    next(events)
    desk.release()
    assert isinstance(list(events)[-1], Loaded | Failed | Died)
    again = desk.run_session()
    assert any(isinstance(e, Loaded) for e in again.load(loaded_model(planned), planned.plan))


def test_a_server_that_says_nothing_holds_no_other_name(
    desk: Desk, toy_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        slow = in_thread(lambda: desk.find(Subject(name="somebody/some-model-GGUF")))
        with closing(server.accept()[0]):
            found = in_thread(lambda: desk.plan(Subject(name=str(toy_model))))
            assert found.result(PATIENCE_S).plan.verdict == "fits"
            assert not slow.done()


def test_planning_does_not_wait_for_a_proof(desk: Desk, planned: Planned) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wanted() -> bool:
        asked.set()
        return go_on.wait(PATIENCE_S)

    proving = in_thread(lambda: desk.prove(planned, wanted=wanted))
    assert asked.wait(PATIENCE_S)
    assert desk.plan(planned.subject).plan.verdict == "fits"
    go_on.set()
    assert proving.result(PATIENCE_S) is not None
