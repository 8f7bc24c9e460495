"""What a session keeps of its runs: both stores, one run per load, estimates that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.generation import BenchTest
from localllm.core.metered.readings import Unmeasured
from localllm.core.plan import Plan
from localllm.lookups import forget, kept_files, past_runs
from localllm.own_runs import OwnRuns
from localllm.records.history import PastRun, Sought
from tests.records.test_history import energy, here, loaded, plan
from tests.records.test_measurements import TEXT, stats

TG128 = BenchTest(n_prompt=0, n_gen=128)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LOCALLLM_MEASUREMENTS", raising=False)
    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def used(made: Plan | None = None) -> OwnRuns:
    """A session that has loaded a model, answered once and run one bench test."""
    made, own = made or plan(), OwnRuns()
    own.keep_load(made, loaded(made), content_id="abc123")
    own.keep_answer(
        made,
        stats(),
        content_id="abc123",
        prefill=Unmeasured(reason="too short"),
        decode=energy(400.0, 2.0),
    )
    own.keep_bench(made, TG128, [10**9, 10**9], content_id="abc123")
    return own


def history(*words: str) -> tuple[PastRun, ...]:
    return past_runs(Sought(words=words))


def kinds(found: Sequence[PastRun]) -> list[list[str]]:
    return [[record.kind for record in run.records] for run in found]


def test_a_load_and_what_follows_are_one_run(state: Path) -> None:
    own, made = used(), plan()
    own.keep_load(made, loaded(made), content_id=None)
    assert kinds(history()) == [["load", "answer", "bench"]]  # a first answer does not wait for it
    own.close()
    own.close()
    assert kinds(history()) == [["load"], ["load", "answer", "bench"]]
    assert kinds(history("abc123")) == [["load", "answer", "bench"]]
    text = history()[1].records[1].phases[1]
    assert text.energy is not None and text.energy.joules == 400.0
    assert [(kept.path.name, kept.n) for kept in kept_files()] == [
        ("history.jsonl", 4),
        ("measurements.jsonl", 3),
    ]
    assert own.problem() is None


@pytest.mark.parametrize("planned_first", [True, False])
def test_estimates_stay_as_they_were_when_the_session_began(planned_first: bool) -> None:
    """Also in the first session on a machine, which has no store to read yet."""
    own = OwnRuns()
    if planned_first:
        assert own.calibration(here("CUDA0")) is None
    own.keep(plan(), (TEXT,), content_id=None)
    assert own.calibration(here("CUDA0")) is None
    assert OwnRuns().calibration(here("CUDA0")) is not None


def test_nothing_is_kept_where_it_is_not_wanted_or_not_of_this_machine(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(replace(plan(), hardware=replace(here("CUDA0"), source="profile rtx-4090")))
    monkeypatch.setenv("LOCALLLM_MEASUREMENTS", "off")
    used()
    assert not state.exists()
    assert history() == () and kept_files() == ()


def test_under_a_cap_the_history_is_kept_and_the_formula_is_not_told() -> None:
    used(plan(power_limit_w=250.0))
    (run,) = history()
    assert run.first.plan.power_limit_w == 250.0
    assert [kept.path.name for kept in kept_files()] == ["history.jsonl"]


def test_a_folder_that_cannot_be_written_is_one_sentence(state: Path) -> None:
    state.write_text("a file where the folder should be")
    own = used()
    problem = own.problem()
    assert problem is not None and problem.startswith("What was measured could not be kept: ")
    assert own.problem() is None


def test_what_is_forgotten_is_gone_and_keeping_goes_on() -> None:
    own = used()
    forget(kept_files())
    assert history() == () and kept_files() == ()
    own.keep_bench(plan(), TG128, [10**9], content_id=None)
    assert kinds(history()) == [["bench"]]
