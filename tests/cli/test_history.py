"""``localllm history``: the page, the table, the document, and how to forget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest

from localllm.cli.history import parse_since
from localllm.core.generation import BenchTest
from localllm.core.metered.readings import Health
from localllm.records.history import HistoryStore
from localllm.records.measurements import MeasurementStore
from localllm.records.observed import Occasion, answer_record, load_record
from localllm.records.runs import RunRecord
from localllm.units import format_bytes
from tests.cli.conftest import Command, Outcome
from tests.records import test_history as made
from tests.records.test_measurements import one, stats

COMMAND = (sys.executable, "-m", "localllm", "history")
HOT = Health(t_s=1.0, device="nvidia0", temperature_c=83.0, throttle=("power cap",))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def kept(state: Path, records: Iterable[RunRecord]) -> None:
    HistoryStore(state / "history.jsonl").keep(records)


def at(run: str, days: float = 0.0) -> Occasion:
    return replace(made.OCCASION, run=run, now=datetime.now(UTC) - timedelta(days=days))


def answered(occasion: Occasion) -> list[RunRecord]:
    """A load and an answer whose decoding was metered: 4 J a token at 200 W."""
    decode = made.energy(400.0, 2.0)
    return [
        made.load(occasion=occasion),
        made.answer(occasion=occasion, prefill=made.METERLESS, decode=decode, health=(HOT,)),
    ]


def environ(state: Path) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith("LOCALLLM_")}
    return kept | {"LOCALLLM_STATE_DIR": str(state), "COLUMNS": "80", "TERM": "xterm-256color"}


def test_a_run_says_what_was_expected_and_what_came_of_it(localllm: Command, state: Path) -> None:
    kept(state, answered(at("a")))
    out = localllm("history").out
    page = " ".join(out.split())
    assert "llama-3-8b Q4_K_M" in page and "33/33 layers on CUDA0, context 4,096, KV f16" in page
    assert f"CUDA0 planned {format_bytes(made.plan().devices[0].self_bytes)}, measured " in page
    assert "GiB (0.0 %) RAM planned " in page
    assert "measured 50.0 (" in page and "100 tokens in 1 answer" in page
    assert (
        "measured 4.0 ± 0.2 (" in page and "200 W, GPU board by NVML energy counter (± 5 %)" in page
    )
    assert "not measured: no permission to read RAPL; estimated pp " in page
    assert "power cap, up to 83 °C" in page
    assert "Median error of these predictions: memory 0.0 % (1), tg " in page
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "\x1b" not in out


def test_the_run_used_last_comes_first_and_a_limit_says_what_it_hides(
    localllm: Command, state: Path
) -> None:
    for days in (3, 2, 1):
        kept(state, answered(at(f"run-{days}", days)))
    page = localllm("history", "-n", "2").out
    dates = [line[:10] for line in page.splitlines() if line[:2] == "20"]
    assert dates == sorted(dates, reverse=True) and len(dates) == 2
    assert "2 of 3 runs are shown: -n 3 shows all." in page
    since = json.loads(localllm("history", "--since", "36h", "--json").out)
    assert [run["run"] for run in since["runs"]] == ["run-1"]


@pytest.mark.parametrize(
    ("words", "n"),
    [
        ((), 1),
        (("llama",), 1),
        (("LLAMA-3", "q4"), 1),
        (("llama-3-8b:Q4_K_M",), 1),
        (("models/Llama-3-8B.gguf",), 1),
        (("qwen",), 0),
        (("llama", "Q8_0"), 0),
    ],
)
def test_words_of_the_model_narrow_it_down(
    localllm: Command, state: Path, words: tuple[str, ...], n: int
) -> None:
    kept(state, answered(at("a")))
    assert len(json.loads(localllm("history", *words, "--json").out)["runs"]) == n


def test_the_document_has_every_record_and_what_they_came_to(
    localllm: Command, state: Path
) -> None:
    test = made.bench(BenchTest(n_prompt=0, n_gen=128), 10**9, 10**9)
    kept(state, [*answered(made.OCCASION), test])
    document: dict[str, Any] = json.loads(localllm("history", "--json").out)
    assert document["schema"] == "localllm.history/1"
    (run,) = document["runs"]
    assert [record["kind"] for record in run["records"]] == ["load", "answer", "bench"]
    assert [work["label"] for work in run["work"]] == ["tg", "pp", "tg128"]
    text, prompt, _ = run["work"]
    assert text["j_per_token"]["measured"] == 4.0 and text["scope"] == "GPU board"
    assert prompt["j_per_token"]["measured"] is None
    assert prompt["j_per_token"]["unmeasured"] == "no permission to read RAPL"
    assert run["memory"]["measured"] - run["memory"]["predicted"] == 2000
    assert document["accuracy"]["tg"]["n"] == 2
    assert run["records"][0]["model"]["content_id"] == "abc123"


def test_the_github_table_has_a_row_for_each_kind_of_work(localllm: Command, state: Path) -> None:
    kept(state, answered(at("a")))
    table = [line for line in localllm("history", "--markdown").out.splitlines() if line[:1] == "|"]
    assert len(table) == 4
    assert len({line.count(" | ") for line in table}) == 1
    assert "| tg |" in table[2] and "4.0 ± 0.2" in table[2] and "| pp |" in table[3]


def test_memory_that_was_not_told_and_a_cap_are_said(localllm: Command, state: Path) -> None:
    silent = made.loaded(made.plan(), memory=(), memory_unknown="no breakdown")
    kept(state, [load_record(made.plan(power_limit_w=250.0), silent, at("a"))])
    page = localllm("history").out
    assert "not measured: no breakdown" in page
    assert "for GPUs capped to 250 W" in page


def test_an_answer_of_a_few_words_is_not_compared(localllm: Command, state: Path) -> None:
    short = answer_record(made.plan(), stats(n_prompt=130, n_gen=5), at("a"))
    assert short is not None
    kept(state, [made.load(occasion=at("a")), short])
    page = localllm("history").out
    assert "1 answer too short to be compared" in page and "tok/s" not in page


def test_an_empty_history_is_a_friendly_line(localllm: Command, state: Path) -> None:
    empty = localllm("history")
    assert (empty.code, empty.err) == (0, "")
    assert empty.out.startswith("Nothing was kept yet.")
    assert json.loads(localllm("history", "--json").out)["runs"] == []
    assert localllm("history", "--markdown").out == "No run was kept.\n"
    kept(state, answered(at("a")))
    assert localllm("history", "qwen").out.startswith("No run that was kept is like that.")


def test_switched_off_it_says_so(localllm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_MEASUREMENTS", "off")
    assert "LOCALLLM_MEASUREMENTS is off" in localllm("history").out


def test_a_history_that_cannot_be_read_is_an_error(localllm: Command, state: Path) -> None:
    (state / "history.jsonl").mkdir(parents=True)
    failed = localllm("history")
    assert failed.code == 1 and "cannot be read" in failed.err and failed.out == ""


def test_a_name_that_holds_escapes_does_not_reach_the_terminal(
    localllm: Command, state: Path
) -> None:
    load = made.load(occasion=at("a"))
    kept(state, [replace(load, model=replace(load.model, name="evil\x1b[2J"))])
    assert "\x1b" not in localllm("history").out + localllm("history", "--markdown").out


@pytest.mark.parametrize("text", ["tomorrow", "5", "d", "2026-13-01", "", "999999w", "-3d"])
def test_what_is_no_time_is_refused(localllm: Command, text: str) -> None:
    failed = localllm("history", f"--since={text}")
    assert (failed.code, failed.out) == (2, "")
    assert "is no time" in failed.err


def test_a_time_is_a_span_a_day_or_a_moment() -> None:
    now = datetime.now().astimezone()
    assert now - parse_since("2w") == pytest.approx(timedelta(days=14), abs=timedelta(seconds=9))
    assert parse_since("today") <= now
    assert parse_since("2026-11-21T12:00:00+00:00") == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert parse_since("2026-11-21").tzinfo is not None


# -- forgetting --------------------------------------------------------------------------------


@pytest.fixture
def both(state: Path) -> tuple[Path, Path]:
    """Both files, with something in them, and what else is kept beside them."""
    kept(state, answered(at("a")))
    MeasurementStore(state / "measurements.jsonl").keep([one()])
    (state / "shortfalls.jsonl").write_text("{}\n")
    (state / "chat-history").write_text("hello\n")
    return state / "history.jsonl", state / "measurements.jsonl"


@pytest.mark.parametrize(
    "arguments", [("llama",), ("-n", "1"), ("--since", "7d"), ("--json",), ("--markdown",)]
)
def test_forgetting_a_part_is_refused(
    localllm: Command, both: tuple[Path, Path], arguments: tuple[str, ...]
) -> None:
    refused = localllm("history", "--forget", "--yes", *arguments)
    assert refused.code == 2 and "not a part of it" in refused.err
    assert all(path.exists() for path in both)


def test_forgetting_says_what_goes_and_asks_first(
    localllm: Command, both: tuple[Path, Path], state: Path
) -> None:
    refused: Outcome = localllm("history", "--forget")
    assert refused.code == 2 and "--forget --yes" in refused.err
    assert "the history of runs (2 lines, " in refused.err
    assert "the measurements that move the estimates (1 line, " in refused.err
    assert "the notes on where memory ran out (1 line, " in refused.err
    assert all(path.exists() for path in both)

    forgotten = localllm("history", "--forget", "--yes")
    assert forgotten.code == 0 and forgotten.out.startswith("Forgotten.")
    assert [path.name for path in state.iterdir()] == ["chat-history"]
    assert "Nothing was kept" in localllm("history", "--forget").out


def test_on_a_terminal_only_a_yes_deletes(both: tuple[Path, Path], state: Path) -> None:
    for answer, stays in (("", True), ("y", False)):
        child = pexpect.spawn(
            COMMAND[0], [*COMMAND[1:], "--forget"], env=environ(state), timeout=30, encoding="utf-8"
        )
        child.expect_exact("[y/N]")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert [path.exists() for path in both] == [stays, stays]


def test_a_pipe_gets_plain_text_and_completion_the_names_that_were_run(state: Path) -> None:
    kept(state, answered(at("a")))
    done = subprocess.run(
        [*COMMAND, "llama"], env=environ(state), capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and "\x1b" not in done.stdout
    assert "llama-3-8b Q4_K_M" in done.stdout
    asked = {"_LOCALLLM_COMPLETE": "bash_complete", "COMP_WORDS": "localllm history ll"}
    offered = subprocess.run(
        COMMAND[:3],
        env=environ(state) | asked | {"COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "llama-3-8b" in offered.stdout
