"""The rate of the last download: kept for one endpoint, and never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.hub.download.last_rate import LEAST_BYTES, last_rate, remember_rate


def test_a_rate_is_kept_for_its_endpoint(tmp_path: Path) -> None:
    environ = {"LOCALLLM_CACHE_DIR": str(tmp_path / "cache")}
    assert last_rate("http://one", environ) is None
    remember_rate("http://one", LEAST_BYTES, 2.0, environ)
    assert last_rate("http://one", environ) == LEAST_BYTES / 2
    assert last_rate("http://other", environ) is None


def test_a_short_download_tells_nothing(tmp_path: Path) -> None:
    environ = {"LOCALLLM_CACHE_DIR": str(tmp_path)}
    remember_rate("http://one", LEAST_BYTES - 1, 1.0, environ)
    assert last_rate("http://one", environ) is None and not list(tmp_path.iterdir())


def told(bytes_per_s: str) -> str:
    return f'{{"endpoint": "x", "bytes_per_s": {bytes_per_s}}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "\0", "[" * 4000, " " * 5000),
        *map(told, ('"nan"', "NaN", "Infinity", "-1.0", "true", "[]", f"1{'0' * 400}")),
    ],
)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "last-download.json").write_text(text)
    assert last_rate("x", {"LOCALLLM_CACHE_DIR": str(tmp_path)}) is None


def test_where_nothing_can_be_written_nothing_happens() -> None:
    remember_rate("http://one", LEAST_BYTES, 1.0, {"LOCALLLM_CACHE_DIR": "/dev/null/nowhere"})
