"""A whole run of one model: a value that grows, is stopped, saved, and found again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm import session
from localllm.benching.earlier import kept_runs, saved_runs
from localllm.benching.saving import save_bench
from localllm.benching.wanted import Wanted
from localllm.benching.whole import Measured, WholeRun
from localllm.core.bench.activity import Planning, Repeating
from localllm.core.bench.compare import compare
from localllm.core.policy import Policy
from localllm.errors import DoesNotFitError, EngineError, UsageError
from localllm.units import MiB

ONE = Policy(n_threads=1)
SHORT = Wanted(prompts=(16,), gens=(8,), repetitions=2, chat=False)
LONG = replace(SHORT, gens=(400,), repetitions=300)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[session.Session]:
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"LOCALLLM_{kind}_DIR", str(tmp_path / kind.lower()))
    with session.Session(basis="formula") as one:
        yield one


def in_second_test(measured: Measured) -> bool:
    """Whether it is in the middle of it."""
    progress = measured.progress
    if progress is None or progress.where is None or not isinstance(progress.step, Repeating):
        return False
    return progress.where.number == 2 and progress.step.repetition > 2


def test_it_grows_to_a_document_that_can_be_compared_later(
    whole: session.Session, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_MEASUREMENTS", "on")
    seen: list[Measured] = []
    local = session.resolve_model(str(toy_model))
    measured = WholeRun(on_change=seen.append).measure(whole, local, ONE, SHORT)
    assert measured == seen[-1]
    assert (measured.ended, measured.error, measured.progress) == ("complete", None, None)
    assert [len(one.rows) for one in seen] == sorted(len(one.rows) for one in seen)
    steps = [one.progress.step for one in seen if one.progress is not None]
    assert isinstance(steps[0], Planning) and isinstance(steps[-1], Repeating)
    assert measured.plan is not None and measured.plan.verdict == "fits"
    assert measured.memory and measured.began

    (tmp_path / "saved").mkdir()
    save_bench(tmp_path / "saved" / "run.json", measured.document(), replaces=False)
    (found,) = saved_runs(tmp_path / "saved")
    file = found.read()
    assert (found.kind, found.name) == ("file", "run.json")
    same = compare(file.rows, measured.rows)
    assert [pair.speed.change for pair in same.pairs] == [0.0, 0.0]
    assert not same.differences

    (kept,) = kept_runs(measured.plan.model.name)
    compared = compare(kept.read().rows, measured.rows)
    assert [pair.label for pair in compared.pairs] == ["pp16", "tg8"]
    for pair in compared.pairs:
        assert pair.speed.change == pytest.approx(0.0)
        assert pair.speed.a_deviation == pytest.approx(pair.speed.b_deviation)
        assert pair.speed.reason == "A was kept without its repetitions"
    assert kept_runs("another model") == () == saved_runs(tmp_path / "nowhere")


def test_a_stop_keeps_what_was_measured(whole: session.Session, toy_model: Path) -> None:
    going = threading.Event()

    def notice(measured: Measured) -> None:
        if in_second_test(measured):
            going.set()

    run = WholeRun(on_change=notice)

    def ask() -> None:
        going.wait(30)
        run.stop()

    threading.Thread(target=ask, daemon=True).start()
    measured = run.measure(whole, session.resolve_model(str(toy_model)), ONE, LONG)
    assert (measured.ended, measured.error) == ("interrupted", None)
    assert [(row["n_gen"], row["complete"]) for row in measured.rows] == [(0, True), (400, False)]


def test_a_stop_before_it_is_planned_ends_it_without_a_load(
    whole: session.Session, toy_model: Path
) -> None:
    run = WholeRun(on_change=lambda measured: None)
    run.stop()
    measured = run.measure(whole, session.resolve_model(str(toy_model)), ONE, SHORT)
    assert (measured.ended, measured.rows, whole.loaded) == ("interrupted", (), None)


def test_a_death_of_the_engine_is_told_beside_what_was_measured(
    whole: session.Session, toy_model: Path
) -> None:
    def kill(measured: Measured) -> None:
        engine = whole._engine
        if in_second_test(measured) and engine is not None and engine.pid is not None:
            os.kill(engine.pid, signal.SIGKILL)

    measured = WholeRun(on_change=kill).measure(
        whole, session.resolve_model(str(toy_model)), ONE, LONG
    )
    assert isinstance(measured.error, EngineError) and measured.error.hint
    assert measured.ended == measured.error.message
    assert measured.rows[0]["complete"]


def test_what_others_load_meanwhile_is_not_measured(
    whole: session.Session, toy_model: Path
) -> None:
    local = session.resolve_model(str(toy_model))

    def load(measured: Measured) -> None:
        if len(measured.rows) == 1 and whole.plan is not None:
            for _ in whole.load(local, whole.plan):
                pass

    measured = WholeRun(on_change=load).measure(whole, local, ONE, SHORT)
    assert isinstance(measured.error, EngineError)
    assert [row["n_prompt"] for row in measured.rows] == [16]


def test_wishes_that_cannot_be_met_are_its_error(whole: session.Session, toy_model: Path) -> None:
    local = session.resolve_model(str(toy_model))

    def tried(policy: Policy, wanted: Wanted) -> Measured:
        return WholeRun(on_change=lambda measured: None).measure(whole, local, policy, wanted)

    assert isinstance(tried(replace(ONE, ram_budget_bytes=MiB), SHORT).error, DoesNotFitError)
    assert isinstance(tried(replace(ONE, n_ctx=4), SHORT).error, UsageError)
    none = tried(ONE, replace(SHORT, prompts=(0,), gens=(0,)))
    assert (none.ended, none.rows) == ("Nothing to measure.", ())
