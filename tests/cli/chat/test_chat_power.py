"""Watts beside the tokens: a chat on a machine whose processor has a counter that a test drives."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.chat.conftest import ENDLESS
from tests.cli.chat.pty import COMMAND, Terminal, environment
from tests.support.inside import counting, inside, needs_namespaces
from tests.support.trees import plant, rapl_files

WATTS = 40.0

pytestmark = needs_namespaces


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A processor that takes 40 W."""
    plant(tmp_path, rapl_files(uj=10**9))
    with counting(tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj", WATTS):
        yield {"/sys/class": tmp_path / "sys/class"}


def test_an_answer_has_its_joules_and_the_history_keeps_them(
    mounts: dict[str, Path], slow_model: Path, state_dir: Path
) -> None:
    asked = ("chat", str(slow_model), "--raw", "-p", "Once", "-n", "100", *ENDLESS, "--json")
    done = subprocess.run(
        inside(mounts, *COMMAND, *asked),
        capture_output=True,
        text=True,
        env=environment(state_dir, LOCALLLM_MEASUREMENTS="on"),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    decode, stats = document["energy"]["decode"], document["stats"]
    assert (decode["scope"], decode["sources"], decode["kinds"]) == (
        "CPU package",
        ["RAPL"],
        ["counter"],
    )
    true_j = WATTS * stats["tg_s"]
    assert abs(decode["joules"] - true_j) < 3 * decode["sigma_j"] + 0.01 * true_j
    kept = [json.loads(line) for line in (state_dir / "history.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in kept] == ["load", "answer"]
    (phase,) = (phase for phase in kept[1]["phases"] if phase["n_gen"])
    assert phase["energy"]["joules"] == decode["joules"]


def test_watts_stand_beside_the_speed_while_it_is_written(
    mounts: dict[str, Path], slow_model: Path, state_dir: Path
) -> None:
    command = inside(mounts, *COMMAND, "chat", str(slow_model), *ENDLESS, "-n", "250")
    with Terminal(state_dir=state_dir, columns=140, command=command) as terminal:
        terminal.wait_for(r"(?m)^\S\n .+ tok/s")
        terminal.type("Go on\r")
        terminal.wait_for(r"[\d.]+ tok/s .* · (3|4)\d W CPU package, [\d.]+ J/token")
        terminal.wait_for(r"250 tokens · .* tok/s (?s:.*) W CPU package · [\d.]+\s+J/token")
        terminal.type("/stats\r")
        terminal.wait_for(r"power +[\d.]+ W while decoding, .*CPU package by RAPL \(counter\)")
        terminal.wait_for(r"decode +.*measured [\d.]+ ± [\d.]+ J/token \(stat\)")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert re.search(r"\d W CPU package", terminal.text())
