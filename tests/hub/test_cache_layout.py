"""Paths in the shared cache: huggingface_hub's own, and none that a server could choose."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import HFValidationError, validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from localllm.errors import IntegrityError, LocalLLMError, UsageError
from localllm.hub.cache_layout import (
    RepoFolder,
    cache_root,
    check_commit,
    check_etag,
    check_path,
    check_repo,
    check_revision,
    is_hostile_path,
)

COMMIT = "0123456789abcdef" * 2 + "01234567"
SHA256 = "0123456789abcdef" * 4

ENVIRONS: list[dict[str, str]] = [
    {},
    {"XDG_CACHE_HOME": "/elsewhere"},
    {"HF_HOME": "~/models", "XDG_CACHE_HOME": "/elsewhere"},
    {"HF_HOME": "$PLACE/${DEEPER}/$NOT_SET", "PLACE": "/place", "DEEPER": "a"},
    {"HF_HUB_CACHE": "~/hub", "HF_HOME": "/home"},
    {"HUGGINGFACE_HUB_CACHE": "$PLACE/old", "PLACE": "/place"},
    {"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"},
]
ASK_THEM = """
import importlib, json, os, sys
from huggingface_hub import constants
roots = []
for environ in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(environ)
    roots.append(importlib.reload(constants).HF_HUB_CACHE)
print(json.dumps(roots))
"""


def test_the_cache_is_where_huggingface_hub_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    environs = [{"HOME": "/home/someone", **environ} for environ in ENVIRONS]
    asked = subprocess.run(
        [sys.executable, "-c", ASK_THEM],
        input=json.dumps(environs),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [str(cache_root(environ)) for environ in environs] == json.loads(asked.stdout)


def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    unset = {"HF_HUB_CACHE": "", "HF_HOME": "", "XDG_CACHE_HOME": ""}
    assert cache_root(unset) == Path("/home/someone/.cache/huggingface/hub")


def test_every_path_is_huggingface_hubs() -> None:
    folder = RepoFolder(root=Path("/r"), repo="user/My.Model-GGUF")
    theirs = file_download.repo_folder_name(repo_id=folder.repo, repo_type="model")
    assert folder.folder == Path("/r", theirs)
    assert folder.blob(SHA256) == Path("/r", theirs, "blobs", SHA256)
    assert folder.snapshot(COMMIT, "Q8/m.gguf") == Path(
        "/r", theirs, "snapshots", COMMIT, "Q8/m.gguf"
    )
    assert folder.ref("refs/pr/1") == Path("/r", theirs, "refs/refs/pr/1")
    assert folder.lock(SHA256) == Path("/r/.locks", theirs, f"{SHA256}.lock")
    assert constants.REPO_ID_SEPARATOR in theirs


@pytest.mark.parametrize(
    "name", ["user/model", "u/m", "0x/a.b-c_d", "user/_underscored", "a/" + "m" * 96]
)
def test_a_repository_has_a_user_and_a_name(name: str) -> None:
    assert check_repo(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "model",
            "user/",
            "/model",
            "a/b/c",
            "user/model\n",
            "user/.model",
            "user/model.",
            "a/-b",
        ),
        *("a/b-", "../model", "user/..", "user/a..b", "user/a--b", "user/m.git", "user/m m", "u/ü"),
        *("u\\m/a", "user/\x00", "user/" + "m" * 97, "u" * 97 + "/m"),
    ],
)
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        RepoFolder(root=Path("/r"), repo=name)


@given(st.from_regex(r"[\w.\-/]{1,12}/[\w.\-]{1,12}", fullmatch=True))
def test_no_repository_is_accepted_that_huggingface_hub_refuses(name: str) -> None:
    with contextlib.suppress(UsageError):
        check_repo(name)
        validate_repo_id(name)  # HFValidationError would be the failure


def test_huggingface_hub_refuses_some() -> None:
    with pytest.raises(HFValidationError):
        validate_repo_id("user/m.git")


@pytest.mark.parametrize("revision", ["main", "refs/pr/1", "v1.0", COMMIT, "feature/a_b+c"])
def test_a_revision_is_a_name(revision: str) -> None:
    assert check_revision(revision) == revision


@pytest.mark.parametrize(
    "revision", ["", "..", "a/../b", "/main", "main/", "a//b", "main\n", "x.lock", "-x", "a b", "é"]
)
def test_what_is_no_revision_is_refused(revision: str) -> None:
    with pytest.raises(UsageError):
        check_revision(revision)


HASHES: list[tuple[Callable[[str | None], str], str]] = [
    (check_etag, SHA256),
    (check_etag, COMMIT),
    (check_commit, COMMIT),
]


@pytest.mark.parametrize(("check", "good"), HASHES)
def test_what_is_no_hash_becomes_no_path(check: Callable[[str | None], str], good: str) -> None:
    assert check(good) == good
    bad = [
        "",
        good[1:],
        good + "0",
        good.upper(),
        good + "\n",
        f"../{good}",
        f'"{good}"',
        "g" * len(good),
    ]
    for value in [None, *bad]:
        with pytest.raises(IntegrityError) as refused:
            check(value)
        assert refused.value.exit_code == 7


HOSTILE_PATHS = [
    *("", ".", "..", "/etc/passwd", "../m.gguf", "a/../../m.gguf", "a/./m.gguf", "a//m.gguf", "a/"),
    *("a\\..\\m.gguf", "C:m.gguf", "m.gguf:stream", "m\x00.gguf", "m\n.gguf", "m\x1b[2J.gguf"),
    *("m\u202efugg.", "m\ud800.gguf", "m" * 256, "ü" * 128, "a/" * 500 + "m"),
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError) as refused:
        check_path(path)
    assert refused.value.message.isprintable()


ODD_PATHS = [
    *("fix: m.gguf", "C:m.gguf", "a\u00a0b.gguf", "m\u202efugg.", "m\ud800.gguf", "m" * 256),
    *("a//m.gguf", "a/./m.gguf", "a/" * 500 + "m"),
]


def test_a_path_that_is_only_odd_is_told_from_a_hostile_one() -> None:
    assert [path for path in ODD_PATHS if is_hostile_path(path)] == []
    hostile = ["..", "a/..", "/m.gguf", "a\\m.gguf", "m\n.gguf", "m\x7f", "m\x85.gguf"]
    assert [path for path in hostile if not is_hostile_path(path)] == []
    for path in ODD_PATHS + hostile:
        with pytest.raises(IntegrityError):
            check_path(path)


@given(st.text(max_size=40) | st.from_regex(r"[a./\\ ]{1,12}", fullmatch=True))
def test_a_path_that_is_accepted_stays_below_its_folder(path: str) -> None:
    folder = RepoFolder(root=Path("/r"), repo="u/m")
    with contextlib.suppress(LocalLLMError):
        below = folder.snapshot(COMMIT, path)
        assert below.relative_to(folder.snapshots / COMMIT).as_posix() == path
        assert ".." not in below.parts
