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
from localllm.benching import rules, wanted
from localllm.cli.bench.axes import one_split
from localllm.core.generation import Event, Failed
from localllm.core.plan import Plan
from localllm.words import bench_lists as lists
from tests.cli.conftest import Command


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

    monkeypatch.setattr(wanted, "rules_of", shorter)
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
