"""A run on the real engine, ended from another thread; files that are not written over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localllm import session
from localllm.benching.loaded import Loader
from localllm.benching.planned import plan_all
from localllm.benching.rules import rules_of
from localllm.benching.run import Run
from localllm.benching.saving import bench_file, check_save_target, write_whole
from localllm.core.bench.activity import Answering, Loading, Progress, Repeating
from localllm.core.bench.sweep import Axes
from localllm.core.bench.tests import bench_tests
from localllm.core.generation import BenchTest
from localllm.core.policy import Policy
from localllm.errors import UsageError


class Bench:
    """A run that keeps what it is told."""

    def __init__(self, whole: session.Session, path: Path, tests: tuple[BenchTest, ...]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.seen: list[Progress] = []
        self.on_progress = self.seen.append
        rules = rules_of("standard", repetitions=tests[0].repetitions, delay_s=None, chat=True)
        planned = plan_all(
            whole,
            [session.resolve_model(str(path))],
            Policy(n_threads=1),
            Axes(n_threads=(1,)),
            tests,
            chat=True,
            on_progress=self.seen.append,
        )
        self.run = Run(
            planned=planned,
            tests=tests,
            rules=rules,
            loader=Loader(whole, session.engine_info(), "standard"),
            on_row=lambda row, running, one: self.rows.append(row),
            on_note=self.notes.append,
            on_progress=lambda progress: self.on_progress(progress),
        )


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[session.Session]:
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"LOCALLLM_{kind}_DIR", str(tmp_path / kind.lower()))
    with session.Session(basis="formula") as one:
        yield one


def shapes(*, prompt: int, gen: int, repetitions: int) -> tuple[BenchTest, ...]:
    return bench_tests(
        prompts=(prompt,), gens=(gen,), pairs=(), depths=(0,), repetitions=repetitions
    )


def test_it_tells_what_it_does_in_its_order(whole: session.Session, toy_model: Path) -> None:
    bench = Bench(whole, toy_model, shapes(prompt=16, gen=8, repetitions=2))
    bench.run.run()
    assert [row["kind"] for row in bench.rows] == ["test", "test", "chat"]
    assert not bench.run.stopped and not bench.notes
    kinds = list(dict.fromkeys(type(one.step).__name__ for one in bench.seen))
    assert kinds == ["Planning", "Loading", "Repeating", "Answering"]
    wheres = [one.where for one in bench.seen if isinstance(one.step, Repeating)]
    assert {where.n_tests for where in wheres if where is not None} == {2}


@pytest.mark.parametrize("at", [Loading, Repeating, Answering])
def test_a_stop_from_another_thread_keeps_what_was_measured(
    whole: session.Session, toy_model: Path, at: type
) -> None:
    bench = Bench(whole, toy_model, shapes(prompt=16, gen=400, repetitions=300))
    reached, asked = threading.Event(), threading.Event()

    def notice(progress: Progress) -> None:
        step = progress.step
        where = progress.where
        in_second = where is not None and where.number == 2
        far_enough = isinstance(step, Repeating) and in_second and step.repetition >= 2
        if isinstance(step, at) and (at is not Repeating or far_enough):
            reached.set()
            asked.wait(10)

    def ask() -> None:
        reached.wait(30)
        bench.run.stop()
        asked.set()

    if at is Answering:
        bench = Bench(whole, toy_model, shapes(prompt=16, gen=0, repetitions=2))
    bench.on_progress = notice
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    bench.run.run()
    asking.join(10)
    assert bench.run.stopped
    kept = [(row["n_gen"], row["complete"]) for row in bench.rows]
    assert (
        kept
        == {
            Loading: [],
            Repeating: [(0, True), (400, False)],
            Answering: [(0, True)],
        }[at]
    )


def test_a_stop_before_the_beginning_measures_nothing(
    whole: session.Session, toy_model: Path
) -> None:
    bench = Bench(whole, toy_model, shapes(prompt=16, gen=0, repetitions=2))
    bench.run.stop()
    bench.run.run()
    assert (bench.rows, bench.run.stopped) == ([], True)


def test_a_file_is_written_over_only_on_purpose(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "1", replaces=False)
    with pytest.raises(UsageError, match=r"run\.json is there already"):
        write_whole(path, "2", replaces=False)
    assert path.read_text() == "1"
    write_whole(path, "3")
    assert path.read_text() == "3"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(UsageError, match="is a folder"):
        check_save_target(tmp_path)
    with pytest.raises(Exception, match="holds no list"):
        bench_file(path)
