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
SLOW = 1e6
"""Two seconds for all of it: enough to see what each of them does."""


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


def n_done_in(download: Download, *phases: str, above: int = 0) -> tuple[str, int]:
    """Wait until a process tells of more bytes in one of these phases; which, and how many."""

    def is_there(told: dict[str, Any]) -> bool:
        (file,) = told["files"]
        return bool(file["phase"] in phases and file["n_done"] > above)

    (file,) = download.until(is_there)["files"]
    return file["phase"], file["n_done"]


def test_one_downloads_and_the_others_see_how_far_it_is(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = SLOW
    with ExitStack() as stack:
        together = [stack.enter_context(nursery.begin(errand)) for _ in range(3)]
        seen = [n_done_in(download, "fetching", "elsewhere") for download in together]
        assert sorted(phase for phase, _ in seen) == ["elsewhere", "elsewhere", "fetching"]
        for download, (phase, n_done) in zip(together, seen, strict=True):
            n_done_in(download, phase, above=n_done + 100_000)
        hub.rate = None
        assert [download.wait() for download in together] == [0, 0, 0]
    assert hub.ranges() == ["0-"]
    assert_one_right_file(folder, errand)


def test_when_the_downloader_is_killed_a_waiter_goes_on_at_its_last_byte(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = SLOW
    with ExitStack() as stack:
        downloader = stack.enter_context(nursery.begin(errand))
        n_done_in(downloader, "fetching")
        waiters = [stack.enter_context(nursery.begin(errand)) for _ in range(2)]
        n_seen = max(n_done_in(waiter, "elsewhere")[1] for waiter in waiters)
        downloader.kill()
        hub.rate = None
        assert [waiter.wait() for waiter in waiters] == [0, 0]
    first, second = hub.ranges()
    n_kept = int(second.removesuffix("-"))
    assert first == "0-"
    assert n_seen <= n_kept < len(BODY)
    assert n_kept in [waiter.told[-2]["files"][0]["n_resumed"] for waiter in waiters]
    assert_one_right_file(folder, errand)


def test_a_waiter_that_is_killed_is_not_missed(
    nursery: Nursery, hub: LoopbackHub, errand: Errand, folder: RepoFolder
) -> None:
    hub.rate = SLOW
    with nursery.begin(errand) as downloader, nursery.begin(errand) as waiter:
        seen = [n_done_in(one, "fetching", "elsewhere")[0] for one in (downloader, waiter)]
        if seen == ["elsewhere", "fetching"]:
            downloader, waiter = waiter, downloader
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
    hub.rate = 6 * SLOW
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
    hub.rate = SLOW
    with ExitStack() as stack:
        unlocked = replace(errand, locks=locks)
        together = [stack.enter_context(nursery.begin(unlocked)) for _ in range(3)]
        for download in together:
            n_done_in(download, "fetching")
        hub.rate = None
        assert [download.wait() for download in together] == [0, 0, 0]
    assert len(hub.gets()) == 3
    assert_one_right_file(folder, errand)
