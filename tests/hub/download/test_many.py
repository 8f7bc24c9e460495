"""The files of one model: several at once, told from one thread, all or a resumable rest."""

from __future__ import annotations

import fcntl
import random
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.fetching import FetchNote, FetchProgress
from localllm.errors import LocalLLMError, NotFoundError
from localllm.hub.background import Stopped
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.client.hub_client import HubClient
from localllm.hub.download.many import fetch_files
from localllm.hub.download.space import free_bytes
from localllm.hub.download.wanted import WantedFile
from localllm.hub.patience import FetchPatience
from localllm.units import GiB, MiB
from tests.support.fetch_nursery import wanted_files
from tests.support.loopback_hub import Fault, LoopbackHub

REPO = "user/model-GGUF"
NAMES = [f"Q4/m-Q4_K_M-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
BODIES = {name: random.Random(name).randbytes(300_000) for name in NAMES}
PATIENCE = FetchPatience(timeout_s=5.0, n_tries=3, first_wait_s=0.01)

Work = Generator[FetchProgress | FetchNote, None, tuple[Path, ...]]
Begin = Callable[..., Work]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repo(REPO, BODIES)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> RepoFolder:
    return RepoFolder(root=tmp_path, repo=REPO)


@pytest.fixture
def begin(hub: LoopbackHub, tmp_path: Path) -> Begin:
    def begin(
        wanted: list[WantedFile], *, stop: threading.Event | None = None, limit: int = 4
    ) -> Work:
        client = HubClient(environ={"HF_ENDPOINT": hub.endpoint})
        return fetch_files(
            wanted, client=client, root=tmp_path, stop=stop, patience=PATIENCE, limit=limit
        )

    return begin


def finish(work: Work) -> tuple[list[FetchProgress], tuple[Path, ...]]:
    """What was told, and what came of it."""
    told: list[FetchProgress] = []
    with closing(work):
        while True:
            try:
                one = next(work)
            except StopIteration as end:
                return told, end.value
            if isinstance(one, FetchProgress):
                told.append(one)


def fetching() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "localllm-fetch"]


def until(work: Work, seen: Callable[[FetchProgress], bool]) -> FetchProgress:
    for told in work:
        if isinstance(told, FetchProgress) and seen(told):
            return told
    raise AssertionError("it ended before")


def test_all_parts_lie_side_by_side_in_the_order_wanted(
    hub: LoopbackHub, begin: Begin, folder: RepoFolder
) -> None:
    wanted = wanted_files(hub, REPO, *reversed(NAMES))
    told, paths = finish(begin(wanted))
    assert paths == tuple(folder.snapshot(wanted[0].commit, file.path) for file in wanted)
    assert [path.read_bytes() for path in paths] == [BODIES[file.path] for file in wanted]
    assert folder.ref("main").read_text() == wanted[0].commit
    assert sorted(hub.ranges()) == ["0-"] * 3
    assert {file.phase for file in told[0].files} == {"queued"}
    assert {file.phase for file in told[-1].files} == {"done"}
    assert told[-1].n_done == told[-1].n_received == 900_000
    done = [progress.n_done for progress in told]
    assert done == sorted(done)


def test_no_more_than_the_limit_are_fetched_at_once(hub: LoopbackHub, begin: Begin) -> None:
    holds = [hub.fault(Fault(cut="stall", after=1000, where=name[-20:])) for name in NAMES]
    with closing(begin(wanted_files(hub, REPO), limit=2)) as work:
        until(work, lambda _: holds[0].reached.is_set() and holds[1].reached.is_set())
        for _ in range(3):
            next(work)
        assert len(hub.gets()) == 2
        holds[1].released.set()
        until(work, lambda _: holds[2].reached.is_set())
        holds[0].released.set()
        holds[2].released.set()
        finish(work)
    assert len(hub.gets()) == 3


def test_one_content_under_two_names_comes_once(
    hub: LoopbackHub, begin: Begin, folder: RepoFolder
) -> None:
    hub.add_repo(REPO, {"a.gguf": b"same", "b.gguf": b"same", "c.gguf": b"other"})
    told, paths = finish(begin(wanted_files(hub, REPO)))
    assert [path.read_bytes() for path in paths] == [b"same", b"same", b"other"]
    assert len(hub.gets()) == 2
    assert told[-1].n_done == 13
    assert len(list(folder.blobs.iterdir())) == 2


def test_small_files_come_from_the_hub_itself(hub: LoopbackHub, begin: Begin) -> None:
    hub.add_repo(REPO, {"README.md": b"# M", "m.gguf": b"GGUF"})
    _, paths = finish(begin(wanted_files(hub, REPO)))
    assert [path.read_bytes() for path in paths] == [b"# M", b"GGUF"]


def test_the_first_error_ends_all_and_keeps_the_parts(
    hub: LoopbackHub, begin: Begin, folder: RepoFolder
) -> None:
    wanted = wanted_files(hub, REPO)
    held = hub.fault(Fault(cut="stall", after=100_000, where=NAMES[0][-20:]))

    def wait() -> bool:
        return held.reached.wait(5)

    hub.fault(
        Fault(
            origin="hub", method="HEAD", where=NAMES[1], then=wait, status=404, code="EntryNotFound"
        )
    )
    with pytest.raises(NotFoundError):
        finish(begin(wanted))
    held.released.set()
    assert not folder.ref("main").exists()
    assert not list(folder.snapshots.rglob(NAMES[0]))
    part = folder.part(str(wanted[0].sha256))
    n_kept = part.stat().st_size
    assert part.read_bytes() == BODIES[NAMES[0]][:n_kept]
    hub.forget()
    finish(begin(wanted))
    assert hub.ranges(NAMES[0][-20:]) == [f"{n_kept}-"]


def test_who_leaves_takes_the_threads_along_and_leaves_the_parts(
    hub: LoopbackHub, begin: Begin, folder: RepoFolder
) -> None:
    wanted = wanted_files(hub, REPO)
    hub.rate = 200_000
    work = begin(wanted)
    left_at = until(work, lambda told: told.n_done > 0)
    assert len(fetching()) == 3
    work.close()
    assert fetching() == []
    sizes = {file.path: folder.part(str(file.sha256)).stat().st_size for file in wanted}
    assert sum(sizes.values()) >= left_at.n_done
    hub.heal()
    hub.forget()
    told, _ = finish(begin(wanted))
    assert {name: hub.ranges(name[-20:]) for name in NAMES} == {
        name: [f"{size}-"] for name, size in sizes.items()
    }
    assert told[-1].n_resumed == sum(sizes.values())
    assert told[-1].n_received == 900_000 - sum(sizes.values())


def test_an_exception_at_who_watches_does_the_same(hub: LoopbackHub, begin: Begin) -> None:
    hub.rate = 200_000
    work = begin(wanted_files(hub, REPO))
    until(work, lambda told: told.n_done > 0)
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt)
    assert fetching() == []


def test_it_can_be_stopped_from_another_thread(hub: LoopbackHub, begin: Begin) -> None:
    hub.rate = 200_000
    stop = threading.Event()
    work = begin(wanted_files(hub, REPO), stop=stop, limit=1)
    until(work, lambda told: told.n_done > 0)
    stop.set()
    with pytest.raises(Stopped):
        finish(work)
    assert fetching() == []


def test_what_a_person_should_know_is_said_once(
    hub: LoopbackHub, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    notes = [told for told in begin(wanted_files(hub, REPO)) if isinstance(told, FetchNote)]
    assert len(notes) == 1
    assert "Locks cannot be relied on" in notes[0].text


def test_a_wish_for_no_links_reaches_every_file(hub: LoopbackHub, tmp_path: Path) -> None:
    client = HubClient(environ={"HF_ENDPOINT": hub.endpoint})
    environ = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    wanted = wanted_files(hub, REPO, NAMES[0])
    _, (found,) = finish(fetch_files(wanted, client=client, root=tmp_path, environ=environ))
    assert found.is_file() and not found.is_symlink()


def test_a_branch_that_cannot_be_noted_is_no_failed_download(
    hub: LoopbackHub, begin: Begin, folder: RepoFolder
) -> None:
    folder.folder.mkdir(parents=True)
    folder.refs.write_text("no folder")
    told, last = list(begin(wanted_files(hub, REPO, NAMES[0])))[-2:]
    assert isinstance(told, FetchNote) and isinstance(last, FetchProgress)
    assert "main" in told.text and "cannot be written" in told.text
    assert last.files[0].verified_by == "SHA-256"


def test_two_commits_are_no_model(hub: LoopbackHub, begin: Begin) -> None:
    one, two, _ = wanted_files(hub, REPO)
    for wanted in ([], [one, replace(two, commit="0" * 40)]):
        with pytest.raises(ValueError, match="one commit"):
            next(begin(wanted))


def test_what_has_no_room_is_refused_before_its_first_byte(
    hub: LoopbackHub, begin: Begin, tmp_path: Path
) -> None:
    one, two, _ = wanted_files(hub, REPO)
    free = free_bytes(tmp_path)
    assert free is not None
    wanted = [replace(one, n_bytes=free // 2), replace(two, n_bytes=free // 2)]
    with pytest.raises(LocalLLMError) as refused:
        finish(begin(wanted))
    assert refused.value.exit_code == 1
    n_needed = 2 * (free // 2) + 256 * MiB
    assert f"needs {n_needed / GiB:,.1f}" in refused.value.message
    assert f"({n_needed:,} bytes)" in refused.value.message
    assert hub.requests == []
