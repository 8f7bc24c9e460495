"""Room on the disk for a download: what is still missing, and what stays free."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.hub.cache_layout import RepoFolder
from localllm.hub.download.space import check_space, free_bytes, margin_bytes, missing_bytes
from localllm.hub.download.wanted import WantedFile
from localllm.units import GiB, MiB

REPO = "user/model"
COMMIT = "0" * 40


def file(n: int, *, n_bytes: int = 300_000) -> WantedFile:
    return WantedFile(
        repo=REPO,
        revision="main",
        commit=COMMIT,
        path=f"{n}.gguf",
        n_bytes=n_bytes,
        sha256=f"{n:064}",
    )


@pytest.fixture
def folder(tmp_path: Path) -> RepoFolder:
    folder = RepoFolder(root=tmp_path, repo=REPO)
    folder.blobs.mkdir(parents=True)
    return folder


def test_what_is_here_needs_no_room(folder: RepoFolder, tmp_path: Path) -> None:
    wanted = [file(1), file(2), file(3)]
    assert missing_bytes(wanted, tmp_path) == 900_000
    folder.blob(f"{1:064}").write_bytes(bytes(300_000))
    assert missing_bytes(wanted, tmp_path) == 600_000
    folder.part(f"{2:064}").write_bytes(bytes(200_000))
    assert missing_bytes(wanted, tmp_path) == 400_000
    assert missing_bytes([*wanted, replace(wanted[2], path="again.gguf")], tmp_path) == 400_000
    folder.blob(f"{3:064}").write_bytes(b"of another size")
    assert missing_bytes(wanted, tmp_path) == 400_000


def test_a_whole_file_that_is_wrong_stays_beside_what_comes(
    folder: RepoFolder, tmp_path: Path
) -> None:
    folder.blob(f"{1:064}").write_bytes(bytes(300_000))
    folder.part(f"{1:064}").write_bytes(bytes(200_000))
    assert missing_bytes([file(1)], tmp_path) == 0
    assert missing_bytes([file(1)], tmp_path, counts_whole=False) == 100_000


UNNAMEABLE = r"""
import sys
from pathlib import Path
from localllm.errors import LocalLLMError
from localllm.hub.download.space import missing_bytes
from localllm.hub.download.wanted import WantedFile
wanted = WantedFile(repo="user/model", revision="main", commit="0" * 40, path="\u6a21.gguf",
                    n_bytes=1, sha256="0" * 64)
try:
    missing_bytes([wanted], Path("."))
except LocalLLMError as error:
    print(error.message, error.hint)
"""


def test_a_name_that_the_locale_has_no_letters_for_is_said_with_what_to_do(tmp_path: Path) -> None:
    environ = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", UNNAMEABLE]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "\\u6a21.gguf" in done.stdout and "LC_ALL=C.UTF-8" in done.stdout


def test_a_small_file_is_known_by_its_revision(folder: RepoFolder, tmp_path: Path) -> None:
    wanted = replace(file(1, n_bytes=10), sha256=None)
    assert missing_bytes([wanted], tmp_path) == 10
    found = folder.snapshot(COMMIT, wanted.path)
    found.parent.mkdir(parents=True)
    found.write_bytes(bytes(10))
    assert missing_bytes([wanted], tmp_path) == 0
    check_space([wanted], tmp_path)


def test_a_hole_in_a_part_still_takes_room(folder: RepoFolder, tmp_path: Path) -> None:
    with folder.part(f"{1:064}").open("wb") as part:
        part.truncate(200_000)
    assert missing_bytes([file(1)], tmp_path) == 300_000


def test_some_room_stays_for_others() -> None:
    assert margin_bytes(1000) == 1 * MiB
    assert margin_bytes(GiB) == 16 * MiB
    assert margin_bytes(400 * GiB) == 256 * MiB


def test_room_is_asked_of_the_folder_that_is_there(tmp_path: Path) -> None:
    here, deeper = free_bytes(tmp_path), free_bytes(tmp_path / "a" / "b")
    assert here is not None
    assert deeper == pytest.approx(here, rel=0.05)  # others write meanwhile
