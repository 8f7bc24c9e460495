"""Lists and ranges, and what happens to several configurations in one run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm import session
from localllm.cli.bench import lists, rules
from localllm.cli.bench.axes import one_split
from localllm.cli.bench.countdown import Countdown, Piece
from localllm.cli.bench.planned import plan_all
from localllm.cli.output import LiveLine
from localllm.core.bench.progress import Work, seconds_left, work_of_test
from localllm.core.bench.sweep import Axes
from localllm.core.bench.tests import bench_tests
from localllm.core.generation import BenchTest, Event, Failed
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.prediction import predicted, predicted_test
from localllm.errors import UsageError
from tests.cli.conftest import Command
from tests.core.test_documents import plan_8b
from tests.support.specs import gpu, machine


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("512", (512,)),
        ("512,1k", (512, 1024)),
        ("1-4", (1, 2, 3, 4)),
        ("0-32+8", (0, 8, 16, 24, 32)),
        ("1-64*4,100", (1, 4, 16, 64, 100)),
        ("5-9+3", (5, 8)),
    ],
)
def test_ranges_are_llama_benchs(text: str, values: tuple[int, ...]) -> None:
    assert lists.parse_wholes(text) == values


@pytest.mark.parametrize(
    "text", ["", "1,,2", "1-", "-1", "3-1", "1-9*1", "0-8*2", "1-9+0", "1-5000"]
)
def test_a_range_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is not) "):
        lists.parse_wholes(text)


def test_other_lists_have_their_own_words() -> None:
    assert lists.parse_layers("auto,-1,0-20+10,all") == (None, None, 0, 10, 20, 9999)
    assert lists.parse_splits("3/1,0,1/1/2") == ((3, 1), None, (1, 1, 2))
    assert lists.parse_mmaps("0,1") == ("none", "mmap")
    assert lists.parse_flash_attns("1,off,auto") == ("on", "off", "auto")
    cases: list[tuple[Callable[[str], object], str]] = [
        (lists.parse_split_modes, "tensor"),
        (lists.parse_load_modes, "mlock"),
        (lists.parse_splits, "3/-1"),
        (lists.parse_mmaps, "2"),
    ]
    for parse, text in cases:
        with pytest.raises(ValueError):
            parse(text)


def test_what_does_not_fit_is_left_out_and_the_others_are_measured(
    localllm: Command, toy_model: Path, tmp_path: Path
) -> None:
    """A larger batch takes more memory: the budget lies between the two."""

    def needed(n_ubatch: int) -> int:
        flags = ("-c", "4k", "-t", "1", "-ub", str(n_ubatch), "--json")
        host = json.loads(localllm("plan", str(toy_model), *flags).out)["devices"][-1]
        terms = ("model", "context", "compute", "overhead")
        return sum(int(host[f"{term}_bytes"]) for term in terms)

    budget = (needed(64) + needed(2048)) // 2
    saved = tmp_path / "run.json"
    outcome = localllm(
        *("bench", str(toy_model), "-c", "4k", "-t", "1", "-ub", "64,2048", "-p", "16", "-n", "0"),
        *("-r", "2", "--ram-budget", str(budget), "--no-chat", "--save", str(saved)),
    )
    assert outcome.code == 3
    assert [line for line in outcome.out.splitlines() if "pp16 |" in line and " 64 |" in line]
    assert "note: n_ubatch 2048: " in outcome.err
    assert "error: 1 of 2 configurations could not be measured." in outcome.err
    document = json.loads(saved.read_text())
    assert [one["label"] for one in document["not_measured"]] == ["n_ubatch 2048"]


def test_one_load_serves_configurations_that_come_to_the_same(
    localllm: Command, toy_model: Path, loads: list[int]
) -> None:
    outcome = localllm(
        *("bench", str(toy_model), "-t", "1", "-sm", "layer,none", "-p", "16", "-n", "0"),
        *("-r", "1", "--no-chat", "--json"),
    )
    assert [row["split_mode"] for row in json.loads(outcome.out)] == ["layer", "none"]
    assert len(loads) == 1


def test_a_model_that_runs_out_of_memory_leaves_the_others_alone(
    localllm: Command, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = session.Session.load

    def short(self: session.Session, model: Any, plan: Plan) -> Iterator[Any]:
        if plan.n_batch == 64:
            return iter([Failed(error="EngineError", message="No memory.", code="out_of_memory")])
        return load(self, model, plan)

    monkeypatch.setattr(session.Session, "load", short)
    outcome = localllm(
        *("bench", str(toy_model), "-t", "1", "-b", "64,128", "-p", "16", "-n", "0", "-r", "1"),
        *("--no-chat", "-o", "csv"),
    )
    assert outcome.code == 3
    assert len(outcome.out.splitlines()) == 2  # the head, and the one that was loaded
    assert outcome.err.startswith("note: n_batch 64: No memory.\nerror: 1 of 2 configurations")


def test_the_environments_split_is_one_split(
    localllm: Command, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it is written as for every other command; on the command line as llama-bench has it."""
    assert (one_split("3,1"), lists.parse_splits("3,1")) == (((3, 1),), ((3,), (1,)))
    monkeypatch.setenv("LOCALLLM_TENSOR_SPLIT", "3,-1")
    refused = localllm("bench", str(toy_model))
    assert refused.err.startswith("error: LOCALLLM_TENSOR_SPLIT: '3,-1' is not a list of shares")


def test_split_mode_none_plans_for_one_gpu(toy_model: Path) -> None:
    two = replace(machine(gpu(), gpu("CUDA1")), source="saved.json")
    local = session.resolve_model(str(toy_model))
    tests = bench_tests(prompts=(16,), gens=(), pairs=(), depths=(0,), repetitions=1)

    def planned(**axes: Any) -> list[tuple[str, ...]]:
        with session.Session(hardware=two, basis="formula") as whole, LiveLine() as live:
            found = plan_all(whole, [local], Policy(), Axes(**axes), tests, chat=False, live=live)
        return [one.plan.device_names for one in found]

    assert planned(split_mode=("none",), main_gpu=(0, 1)) == [("CUDA0",), ("CUDA1",)]
    assert planned(tensor_split=((1.0, 1.0),)) == [("CUDA0", "CUDA1")]
    with pytest.raises(UsageError, match="--main-gpu 2 names no GPU: there are 2"):
        planned(split_mode=("none",), main_gpu=(2,))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of every plan that is really loaded, in order."""
    seen: list[int] = []
    load = session.Session.load

    def noted(self: session.Session, model: Any, plan: Plan) -> Iterator[Any]:
        seen.append(plan.n_batch)
        return load(self, model, plan)

    monkeypatch.setattr(session.Session, "load", noted)
    return seen


def test_a_steady_run_goes_there_and_back(
    localllm: Command, toy_model: Path, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A B B A, with windows of 20 ms for 10 s, so that the test ends."""
    usual = rules.rules_of

    def shorter(mode: Any, **wishes: Any) -> rules.Rules:
        return replace(usual(mode, **wishes), window_s=0.02, warm_s=0.05, delay_s=0.01)

    monkeypatch.setattr(rules, "rules_of", shorter)
    outcome = localllm(
        *("bench", str(toy_model), "--steady", "-t", "1", "-b", "64,128", "-p", "16", "-n", "0"),
        *("--no-chat", "--json"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert loads == [64, 128, 64]  # the second B need not be loaded again
    rows = json.loads(outcome.out)
    assert [row["n_batch"] for row in rows] == [128, 64]
    for row in rows:
        assert row["mode"] == "steady"
        assert len(row["samples_ns"]) == row["repetitions"]
        assert row["repetitions"] == 5 * row["repetitions_per_window"]


def test_a_steady_run_has_five_windows_at_least() -> None:
    found = rules.rules_of("steady", repetitions=2, delay_s=None, chat=True)
    assert (found.repetitions, found.delay_s) == (5, 10.0)
    assert found.passes == (("forward", 3), ("backward", 2))
    assert found.per_window(0.3, period_s=0.1) == 37  # 10 s and a tenth
    assert found.per_window(0.3, period_s=1.0) == 184  # 50 periods and a tenth
    assert found.per_window(60.0, period_s=0.1) == 1  # one is long enough


def test_an_interrupted_run_keeps_what_was_measured(toy_model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    command = [sys.executable, "-m", "localllm", "bench", str(toy_model), "--save", str(saved)]
    with subprocess.Popen(
        [*command, "-p", "8", "-n", "400", "-r", "300", "-t", "1", "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        first = json.loads(running.stdout.readline())
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        rest, complaint = running.communicate(timeout=30)
    assert (running.returncode, complaint) == (130, "interrupted\n")
    assert (first["n_prompt"], first["complete"]) == (8, True)
    later = [json.loads(line) for line in rest.splitlines()]
    assert [(row["n_gen"], row["complete"]) for row in later] == [(400, False)] * len(later)
    document = json.loads(saved.read_text())
    assert (document["ended"], document["complete"]) == ("interrupted", False)
    assert document["rows"] == [first, *later]


TG = BenchTest(n_prompt=0, n_gen=128)


def test_the_time_left_begins_with_the_plans_estimate() -> None:
    """Five times 128 tokens; a prompt also has its warm-up, and a depth is computed first."""
    plan = plan_8b()
    tg, pp = (
        predicted_test(plan, n_prompt=0, n_gen=128, depth=0),
        predicted(plan, "pp", n_tokens=512, depth=0),
    )
    assert tg is not None and pp is not None
    generation = work_of_test(plan, TG)
    prompt = work_of_test(plan, BenchTest(n_prompt=512, n_gen=0))
    assert (generation.kind, prompt.kind) == ("tg", "pp")
    assert generation.seconds == pytest.approx(640 / tg.tok_s)
    assert prompt.seconds == pytest.approx(6 * 512 / pp.tok_s)
    unknown = work_of_test(replace(plan, speed=None), TG)
    assert unknown.seconds is None
    assert seconds_left([unknown], []) is None


def test_the_time_left_follows_what_was_measured() -> None:
    """The first test took twice what was expected: so will the second, less what it has had."""
    now_s = [0.0]
    pieces = [Piece(owner=0, work=Work(kind="tg", seconds=60.0)) for _ in range(2)]
    countdown = Countdown(pieces, clock=lambda: now_s[0])
    countdown.begin()
    assert countdown.words() == ", about 2 min 00 s left"
    now_s[0] = 120.0
    countdown.end(0, "tg")
    countdown.begin()
    assert countdown.words() == ", about 2 min 00 s left"
    now_s[0] = 150.0
    assert countdown.words() == ", about 1 min 30 s left"
    assert countdown.words(0.75) == ", about 10 s left"  # its own pace tells more
    countdown.drop(0)
    assert countdown.words() == ""


def test_answers_that_end_at_once_are_a_note(
    localllm: Command, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: session.Session, request: Any) -> Iterator[Event]:
        return iter(())

    monkeypatch.setattr(session.Session, "chat", silent)
    monkeypatch.setattr(session.Session, "complete", silent)
    outcome = localllm("bench", str(toy_model), "-p", "8", "-n", "0", "-r", "1", "-t", "1")
    assert outcome.code == 0
    assert outcome.err == "note: The sampled rate is not known: every answer ended at once.\n"
    assert "chat" not in outcome.out
