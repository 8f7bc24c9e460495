"""Several processes that fetch one file: one downloads, the others wait, any may be killed."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from localllm.hub.cache_layout import RepoFolder
from tests.support.fetch_child import Errand
from tests.support.fetch_nursery import Download, Nursery, wanted_files
from tests.support.loopback_hub import Fault, LoopbackHub

REPO = "user/m"
BODY = random.Random(8).randbytes(2_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
RATE = 6e6
"""A third of a second for all of it."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {"m.gguf": BODY})
        yield hub


@pytest.fixture
def errand(hub: LoopbackHub, tmp_path: Path) -> Errand:
    files = tuple(wanted_files(hub, REPO))
    return Errand(endpoint=hub.endpoint, root=str(tmp_path), files=files)


@pytest.fixture
def folder(tmp_path: Path) -> RepoFolder:
    return RepoFolder(root=tmp_path, repo=REPO)


def assert_one_right_file(folder: RepoFolder, errand: Errand) -> None:
    (found,) = folder.snapshots.rglob("*.gguf")
    assert found == folder.snapshot(errand.files[0].commit, "m.gguf")
    assert hashlib.sha256(found.read_bytes()).hexdigest() == SHA256
    assert [blob.name for blob in folder.blobs.iterdir()] == [SHA256]


def is_fetching(told: dict[str, Any]) -> bool:
    (file,) = told["files"]
    return bool(file["phase"] == "fetching" and file["n_done"] > 200_000)


def is_elsewhere(told: dict[str, Any]) -> bool:
    (file,) = told["files"]
    return bool(file["phase"] == "elsewhere" and file["n_done"] > 200_000)


def one_and_waiters(
    stack: ExitStack, nursery: Nursery, errand: Errand, n_waiters: int
) -> tuple[Download, list[Download]]:
    """One that downloads already, and others that have seen it."""
    downloader = stack.enter_context(nursery.begin(errand))
    downloader.until(is_fetching)
    waiters = [stack.enter_context(nursery.begin(errand)) for _ in range(n_waiters)]
    for waiter in waiters:
        waiter.until(is_elsewhere)
    return downloader, waiters


def seen_done(download: Download, phase: str) -> list[int]:
    """What a process told as done while it was in a phase."""
    files = [told["files"][0] for told in download.told if "files" in told]
    return [file["n_done"] for file in files if file["phase"] == phase]


def test_one_downloads_and_the_others_see_how_far_it_is(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = RATE / 2
    with ExitStack() as stack:
        together = [stack.enter_context(nursery.begin(errand)) for _ in range(3)]
        assert [download.wait() for download in together] == [0, 0, 0]
    assert hub.ranges() == ["0-"]
    waited = [done for download in together if (done := seen_done(download, "elsewhere"))]
    assert len(waited) == 2
    for done in waited:
        assert done == sorted(done)
        assert len(set(done)) >= 3
        assert done[-1] > len(BODY) // 2
    assert_one_right_file(folder, errand)


def test_when_the_downloader_is_killed_a_waiter_goes_on_at_its_last_byte(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = RATE / 3  # slow enough that waiters see it
    with ExitStack() as stack:
        downloader, waiters = one_and_waiters(stack, nursery, errand, 2)
        downloader.kill()
        hub.rate = None
        assert [waiter.wait() for waiter in waiters] == [0, 0]
    first, second = hub.ranges()
    assert first == "0-"
    n_before = max(seen_done(downloader, "fetching"))
    assert n_before <= int(second.removesuffix("-")) < len(BODY)
    resumed = [waiter.told[-2]["files"][0]["n_resumed"] for waiter in waiters]
    assert int(second.removesuffix("-")) in resumed
    assert_one_right_file(folder, errand)


def test_a_waiter_that_is_killed_is_not_missed(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = RATE / 3  # slow enough that waiters see it
    with ExitStack() as stack:
        downloader, (waiter,) = one_and_waiters(stack, nursery, errand, 1)
        waiter.kill()
        hub.rate = None
        assert downloader.wait() == 0
    assert hub.ranges() == ["0-"]
    assert_one_right_file(folder, errand)


@pytest.mark.parametrize("we_begin", [True, False])
def test_beside_huggingface_hub(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder, we_begin: bool
) -> None:
    theirs = replace(errand, by="huggingface_hub")
    hub.rate = RATE
    begun = threading.Event()
    hub.fault(Fault(then=begun.set))
    with ExitStack() as stack:
        first = stack.enter_context(nursery.begin(errand if we_begin else theirs))
        assert begun.wait(10)
        second = stack.enter_context(nursery.begin(theirs if we_begin else errand))
        assert [first.wait(), second.wait()] == [0, 0]
    assert len(hub.gets()) == 1
    assert first.last["paths"] == second.last["paths"]
    assert_one_right_file(folder, errand)


@pytest.mark.parametrize("locks", ["none", "own"])
def test_where_locks_mean_nothing_no_file_is_wrong(
    nursery: Nursery,
    hub: LoopbackHub,
    errand: Errand,
    folder: RepoFolder,
    locks: Literal["none", "own"],
) -> None:
    hub.rate = 2 * RATE
    with ExitStack() as stack:
        unlocked = replace(errand, locks=locks)
        together = [stack.enter_context(nursery.begin(unlocked)) for _ in range(3)]
        assert [download.wait() for download in together] == [0, 0, 0]
    assert len(hub.gets()) > 1
    assert_one_right_file(folder, errand)
