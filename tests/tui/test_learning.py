"""What is measured while the UI is open: the list of Models and Plan go by it, both alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localllm.core.kept import Inventory
from localllm.core.policy import Policy
from localllm.records.keeping import keep_runs
from localllm.records.measured import TimedRun
from localllm.tui.desk import Desk
from localllm.tui.home.collection import Collection
from localllm.tui.home.rows import Verdict
from localllm.tui.home.weigher import Ask, Setup
from localllm.tui.home.weighing import Weighing
from localllm.tui.subject import Subject


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Desk]:
    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_MEASUREMENTS", "on")
    desk = Desk(exact=False)
    yield desk
    desk.close()


def test_after_a_measurement_the_list_and_plan_have_one_new_figure(desk: Desk) -> None:
    subject = Subject(name="demo")
    first, learnt = desk.plan(subject), desk.learnt()
    assert first.plan.speed is not None
    run = TimedRun(
        source="chat",
        phase="tg",
        n_tokens=200,
        depth=20,
        tok_s=5 * first.plan.speed.tg_tok_s,
    )
    assert keep_runs(first.plan, [run], now=datetime.now(UTC), environ=os.environ) == 1

    after = desk.plan(subject, decided=first.decided).plan.speed
    assert after is not None and after.tg_tok_s > 2 * first.plan.speed.tg_tok_s
    assert desk.learnt() != learnt

    weighing = Weighing(Setup(hardware=desk.hardware(), wishes=Policy()))
    weighing.want([Ask(key="demo:demo", name="demo")])
    ((_, verdict),) = weighing.verdicts()
    assert verdict.tok_s == pytest.approx(after.tg_tok_s, rel=0.01)  # its evidence ages by seconds


def test_verdicts_are_shown_until_there_are_newer_ones() -> None:
    subject, models = Subject(), Collection()
    models.put_here(Inventory(models=()), ())
    (demo,) = (row.key for row in models.shelf.rows())
    old, new = (Verdict(words=words, fits=True) for words in ("old", "new"))
    models.put_verdicts(subject, {demo: old})
    assert not models.asks(subject, ())
    models.weigh_anew()
    assert [ask.key for ask in models.asks(subject, ())] == [demo]
    assert models.verdicts(subject)[demo] == old
    models.put_verdicts(subject, {demo: new})
    assert not models.asks(subject, ()) and models.verdicts(subject)[demo] == new
