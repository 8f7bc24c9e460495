"""Our download beside curl and sha256sum: both fetch the same bytes, and what they took is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_fetch.py"


@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("curl", "sha256sum")),
    reason="no curl or no sha256sum",
)
def test_both_fetch_and_the_memory_is_weighed(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--folder", str(tmp_path)),
            *("--size", "3MiB", "-r", "1", "--memory", "1MiB", "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    seconds = {name: taken for name, (taken,) in result["seconds"].items()}
    assert seconds["curl + sha256sum"] == pytest.approx(seconds["curl"] + seconds["sha256sum"])
    assert 0 < seconds["download"] < seconds["localllm"]
    assert result["ratio_of_leasts"]["curl + sha256sum"] == {
        name: seconds["curl + sha256sum"] / seconds[name] for name in ("localllm", "download")
    }
    assert 5 * 1024**2 < result["peak_rss_bytes"][str(1024**2)] < 500 * 1024**2
    assert list(tmp_path.iterdir()) == []
