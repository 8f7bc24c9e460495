"""What is remembered of repositories: all of it or nothing, and never more than its form allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localllm.hub.client.listing_cache import remember, remembered
from localllm.hub.repo_files import RepoFile, RepoListing

HUB = "https://hub.example"
LISTING = RepoListing(
    repo="User/Model-GGUF",
    revision="main",
    commit="a" * 40,
    files=(
        RepoFile(path="m-Q4_K_M.gguf", n_bytes=5, sha256="0" * 64),
        RepoFile(path="d/small.gguf", n_bytes=1 << 44),
    ),
    is_gated=True,
    licence="mit",
    left_out=("One is left out.",),
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"LOCALLLM_CACHE_DIR": str(tmp_path)}


def test_a_listing_is_remembered_whole(environ: dict[str, str], tmp_path: Path) -> None:
    assert remembered(HUB, LISTING.repo, "main", environ) is None
    remember(HUB, LISTING, environ)
    assert remembered(HUB, "user/model-gguf", "main", environ) == LISTING
    assert remembered("https://other.example", LISTING.repo, "main", environ) is None
    assert remembered(HUB, LISTING.repo, "v2", environ) is None
    assert [path.suffix for path in (tmp_path / "listings").iterdir()] == [".json"]


def test_where_nothing_can_be_written_nothing_happens() -> None:
    remember(HUB, LISTING, {"LOCALLLM_CACHE_DIR": "/dev/null/nowhere"})


@pytest.mark.parametrize(
    "changes",
    [
        {"repo": "../../etc"},
        {"repo": "someone/else"},
        {"revision": "../main"},
        {"revision": 3},
        {"commit": "../x"},
        {"licence": 3},
        {"left_out": [3]},
        {"left_out": 3},
        {"files": 3},
        {"files": [3]},
        {"schema": "localllm.listing/9"},
    ],
)
def test_what_has_another_form_is_left_aside(
    environ: dict[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert rewritten(environ, tmp_path, lambda listing: listing | changes) is None


@pytest.mark.parametrize(
    "changes",
    [
        *({"n_bytes": size} for size in (float("inf"), -5, 0, True, "5", 1 << 60, 10**400, None)),
        *({"sha256": sha256} for sha256 in ("../x", "A" * 64, "0" * 63, 3)),
        *({"path": path} for path in ("../x.gguf", "/x.gguf", 3, None)),
    ],
)
def test_a_file_has_a_name_a_size_and_a_hash_or_none(
    environ: dict[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    def change(listing: dict[str, Any]) -> dict[str, Any]:
        return listing | {"files": [listing["files"][0] | changes]}

    assert rewritten(environ, tmp_path, change) is None


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "", "\0", "{}", " " * (5 << 20)])
def test_what_is_no_listing_is_none(environ: dict[str, str], tmp_path: Path, text: str) -> None:
    assert rewritten(environ, tmp_path, text) is None


def test_what_is_shown_later_is_safe_to_print(environ: dict[str, str], tmp_path: Path) -> None:
    raw = {"licence": "\x1b[31m", "left_out": ["\x1b[2J"]}
    found = rewritten(environ, tmp_path, lambda listing: listing | raw)
    assert found is not None
    assert (found.licence, found.left_out) == (r"\x1b[31m", (r"\x1b[2J",))


def rewritten(environ: dict[str, str], folder: Path, change: Any) -> RepoListing | None:
    """What is remembered after somebody changed what the file held, or wrote a text over it."""
    remember(HUB, LISTING, environ)
    (path,) = (folder / "listings").iterdir()
    if not isinstance(change, str):
        change = json.dumps(change(json.loads(path.read_text())))
    path.write_text(change)
    return remembered(HUB, LISTING.repo, "main", environ)
