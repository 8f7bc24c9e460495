"""The time to the first token beside a C program: both are run, and what is cold is not cached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_start.py"


@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler")
def test_both_programs_answer_warm_and_cold(toy_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(toy_model), "-r", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for kind in ("warm", "cold"):
        found = result[kind]
        assert len(found["seconds"]["C"]) == len(found["seconds"]["localllm"]) == 1
        assert found["ratio_of_leasts"] == found["localllm"]["least"] / found["C"]["least"] > 0
