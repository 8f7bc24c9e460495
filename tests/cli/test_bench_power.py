"""Joules of a real run through a real meter: a RAPL counter that the test drives at known watts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.inside import counting, inside, needs_namespaces
from tests.support.trees import plant, rapl_files

CHECKOUT = Path(__file__).parents[2]
WATTS = 40.0


@needs_namespaces
def test_a_runs_joules_are_those_of_the_counter(toy_model: Path, tmp_path: Path) -> None:
    plant(tmp_path, rapl_files(uj=10**9))
    bench = ("bench", str(toy_model), "-p", "0", "-n", "500", "-r", "8", "-t", "1", "--json")
    mounts = {"/sys/class": tmp_path / "sys/class"}
    with counting(tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj", WATTS):
        done = subprocess.run(
            inside(mounts, sys.executable, "-m", "localllm", *bench),
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    test, chat = json.loads(done.stdout)
    seconds = sum(test["samples_ns"]) / 1e9
    assert test["power_unknown"] is None
    assert (test["power_source"], test["power_scope"]) == ("RAPL", "CPU package")
    assert test["power_kind"] == "counter"
    assert test["power_w"] == pytest.approx(WATTS, rel=0.1)
    assert test["energy_j"] == pytest.approx(WATTS * seconds, rel=0.1)
    assert test["j_per_token"] == pytest.approx(test["energy_j"] / 4000)
    assert abs(test["power_w"] - WATTS) * seconds / 4000 < 3 * test["j_per_token_stat"]
    assert test["power_rough"] is True  # far from 10 s
    # Answers of a few milliseconds: the counter is read some times a second.
    assert (chat["power_w"] is None) == (chat["power_unknown"] is not None)
