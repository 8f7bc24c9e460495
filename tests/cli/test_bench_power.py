"""Joules of a real run through a real meter: a RAPL counter that the test drives at known watts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.trees import plant, rapl_files

CHECKOUT = Path(__file__).parents[2]
WATTS = 40.0


def _namespaces_allowed() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@contextmanager
def counting(path: Path, watts: float) -> Iterator[None]:
    """Write a counter of microjoules that runs at ``watts``, every millisecond, in place."""
    ended = threading.Event()
    began_s = time.monotonic()

    def run() -> None:
        with path.open("r+b", buffering=0) as file:
            while not ended.wait(0.001):
                microjoules = int((time.monotonic() - began_s) * watts * 1e6) + 10**9
                os.pwrite(file.fileno(), f"{microjoules:018d}\n".encode(), 0)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


@pytest.mark.skipif(not _namespaces_allowed(), reason="user namespaces are not allowed here")
def test_a_runs_joules_are_those_of_the_counter(toy_model: Path, tmp_path: Path) -> None:
    plant(tmp_path, rapl_files(uj=10**9))
    bench = ("bench", str(toy_model), "-p", "0", "-n", "500", "-r", "8", "-t", "1", "--json")
    mount = f"mount --bind '{tmp_path}/sys/class' /sys/class && exec \"$@\""
    with counting(tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj", WATTS):
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-m", "localllm", *bench],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    test, chat = json.loads(done.stdout)
    seconds = sum(test["samples_ns"]) / 1e9
    assert (test["power_source"], test["power_scope"]) == ("RAPL", "CPU package")
    assert test["power_kind"] == "counter"
    assert test["power_w"] == pytest.approx(WATTS, rel=0.1)
    assert test["energy_j"] == pytest.approx(WATTS * seconds, rel=0.1)
    assert test["j_per_token"] == pytest.approx(test["energy_j"] / 4000)
    assert abs(test["power_w"] - WATTS) * seconds / 4000 < 3 * test["j_per_token_stat"]
    assert test["power_rough"] is True  # far from 10 s
    # Answers of a few milliseconds: the counter is read some times a second.
    assert (chat["power_w"] is None) == (chat["power_unknown"] is not None)
