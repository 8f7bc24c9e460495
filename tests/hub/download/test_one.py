"""One file into the shared cache: what is here is used, one process writes, everyone finds it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.fetching import FileState
from localllm.errors import IntegrityError, LocalLLMError
from localllm.hub.background import Stopped
from localllm.hub.download.links import write_ref
from localllm.units import GiB
from tests.support.loopback_hub import Fault, LoopbackHub, Zeros
from tests.support.one_fetch import BODY, ETAG, NAME, REPO, SMALL, OneFetch

HALF = len(BODY) // 2


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def one(hub: LoopbackHub, tmp_path: Path) -> Iterator[OneFetch]:
    yield OneFetch.on(hub, tmp_path)
    hub.heal()


@contextmanager
def locked_by_another(one: OneFetch) -> Iterator[Callable[[], None]]:
    """As another process has it, for a lock is the opened file's; yields what ends that process."""
    path = one.folder.lock(ETAG)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.close


# ------------------------------------------------------------------------- what is made


def test_a_file_lies_where_other_tools_look_for_it(one: OneFetch) -> None:
    found = one.fetch()
    assert found == one.folder.snapshot(one.wanted().commit, NAME)
    assert found.readlink() == Path(f"../../blobs/{ETAG}")
    assert found.read_bytes() == BODY
    assert one.blob.stat().st_mode & 0o777 == 0o444
    assert one.names() == ["ETAG"]
    assert [asked.method for asked in one.hub.requests] == ["HEAD", "GET"]
    assert all("authorization" not in asked.headers for asked in one.hub.requests)


def test_what_is_told_ends_with_all_of_it(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.fetch()
    size = len(BODY)
    assert one.told[0] == FileState(path=NAME, n_bytes=size)
    assert one.told[-1] == FileState(
        path=NAME,
        n_bytes=size,
        n_done=size,
        n_resumed=HALF,
        n_received=size - HALF,
        phase="done",
        verified_by="SHA-256",
    )
    done = [state.n_done for state in one.told]
    assert done == sorted(done)


def test_a_branch_points_to_its_commit_without_a_newline(one: OneFetch) -> None:
    commit = one.wanted().commit
    for revision in ("main", "refs/pr/1", "main", commit):
        write_ref(one.folder, revision, commit)
    found = {path.relative_to(one.folder.refs).as_posix(): path for path in files(one.folder.refs)}
    assert sorted(found) == ["main", "refs/pr/1"]
    assert all(path.read_bytes() == commit.encode() for path in found.values())
    write_ref(one.folder, "main", "0" * 40)
    assert found["main"].read_text() == "0" * 40


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_other_tools_take_what_was_fetched(one: OneFetch) -> None:
    for name in (NAME, SMALL):
        one.fetch(one.wanted(name))
    write_ref(one.folder, "main", one.wanted().commit)
    program = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir
repo, *names = sys.argv[1:]
paths = [hf_hub_download(repo, name, local_files_only=True) for name in names]
checked = HfApi().verify_repo_checksums(repo)
scan = scan_cache_dir()
print(json.dumps([paths, checked.checked_count, checked.mismatches, checked.missing_paths,
                  [str(w) for w in scan.warnings], scan.size_on_disk]))
"""
    environ = {
        "HF_ENDPOINT": one.hub.endpoint,
        "HF_HUB_CACHE": str(one.root),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", program, REPO, NAME, SMALL],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    snapshot = one.folder.snapshots / one.wanted().commit
    assert json.loads(done.stdout) == [
        [str(snapshot / NAME), str(snapshot / SMALL)],
        2,
        [],
        [],
        [],
        len(BODY) + len(b"# A model\n"),
    ]


# ------------------------------------------------------------------------ what is here


def test_nobody_is_asked_for_what_is_here(one: OneFetch) -> None:
    one.fetch()
    one.fetch(one.wanted(SMALL))
    one.hub.forget()
    assert one.fetch().read_bytes() == BODY
    assert one.told[-1].phase == "done" and one.told[-1].n_resumed == len(BODY)
    assert one.hub.requests == []
    # the listing states no hash of a small file: its server does
    assert one.fetch(one.wanted(SMALL)).read_bytes() == b"# A model\n"
    assert [asked.method for asked in one.hub.requests] == ["HEAD"]
    assert one.told[-1].verified_by == "git SHA-1"


def test_a_content_that_is_here_is_only_linked(one: OneFetch) -> None:
    one.fetch().unlink()
    other = replace(one.wanted(), path="renamed/" + NAME)
    one.hub.forget()
    assert one.fetch(other).readlink() == Path(f"../../../blobs/{ETAG}")
    assert one.fetch().read_bytes() == BODY
    assert one.hub.requests == []


def test_a_content_that_repositories_share_is_used_where_it_lies(one: OneFetch) -> None:
    store = one.root / "blobs" / "ab" / ("ab" * 32)
    store.parent.mkdir(parents=True)
    store.write_bytes(BODY)
    one.folder.blobs.mkdir(parents=True)
    one.blob.symlink_to(os.path.relpath(store, one.folder.blobs))
    assert one.fetch().read_bytes() == BODY
    assert one.hub.requests == [] and one.blob.is_symlink()


@pytest.mark.parametrize("shared", [b"", b"too short", None])
def test_a_link_to_a_shared_content_that_is_wrong_or_gone_is_replaced(
    one: OneFetch, shared: bytes | None
) -> None:
    store = one.root / "shared"
    if shared is not None:
        store.write_bytes(shared)
    one.folder.blobs.mkdir(parents=True)
    one.blob.symlink_to(store)
    assert one.fetch().read_bytes() == BODY
    assert not one.blob.is_symlink() and one.names() == ["ETAG"]
    assert not store.exists() if shared is None else store.read_bytes() == shared


def test_a_content_of_another_size_is_evidence_and_fetched_again(one: OneFetch) -> None:
    snapshot = one.fetch()
    one.blob.chmod(0o644)
    one.blob.write_bytes(BODY[:1000])
    one.hub.forget()
    assert one.fetch() == snapshot and snapshot.read_bytes() == BODY
    assert one.names() == ["ETAG", "ETAG.part.corrupt"]
    assert one.corrupt.read_bytes() == BODY[:1000]


WRONG = BODY[:-1] + bytes([BODY[-1] ^ 1])
"""Of the right size."""


def rewrite(path: Path, data: bytes) -> None:
    """As a failing disk does it, or another program."""
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_whole_file_of_another_program_is_believed_by_its_bytes_only(
    one: OneFetch, is_linked: bool
) -> None:
    if is_linked:
        one.fetch()
        rewrite(one.blob, WRONG)
        one.hub.forget()
        one.told.clear()
    else:
        one.folder.blobs.mkdir(parents=True)
        one.blob.write_bytes(WRONG)
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == ["0-"]
    assert one.corrupt.read_bytes() == WRONG
    checked = [state.n_done for state in one.told if state.phase == "checking"]
    assert checked[-2:] == [len(BODY), 0] and one.told[-1].n_resumed == 0


@pytest.mark.parametrize("name", [NAME, SMALL])
def test_a_file_that_is_no_link_is_believed_by_its_bytes_only(one: OneFetch, name: str) -> None:
    found = one.fetch(one.wanted(name), symlinks=False)
    right = found.read_bytes()
    rewrite(found, right[::-1])
    assert one.fetch(one.wanted(name), symlinks=False).read_bytes() == right
    assert [path.read_bytes() for path in one.folder.blobs.iterdir()] == [right[::-1]]


def test_a_shared_content_that_is_wrong_is_left_to_its_owners(one: OneFetch) -> None:
    store = one.root / "shared"
    store.write_bytes(WRONG)
    one.folder.blobs.mkdir(parents=True)
    one.blob.symlink_to(store)
    assert one.fetch().read_bytes() == BODY
    assert store.read_bytes() == WRONG and one.names() == ["ETAG"]


def test_checking_what_is_here_can_be_stopped(one: OneFetch) -> None:
    one.fetch()
    one.stop.set()
    with pytest.raises(Stopped):
        one.fetch()
    one.stop.clear()
    assert one.names() == ["ETAG"]


def test_a_wrong_file_stays_until_the_right_one_is_here(one: OneFetch) -> None:
    snapshot = one.fetch()
    rewrite(one.blob, WRONG)
    one.hub.fault(Fault(cut="fin", after=0, times=-1))
    with pytest.raises(LocalLLMError, match="Nothing of it came"):
        one.fetch()
    assert snapshot.read_bytes() == WRONG and not one.corrupt.exists()


def test_a_listing_that_lies_about_the_size_takes_no_right_file_away(one: OneFetch) -> None:
    snapshot = one.fetch()
    one.hub.forget()
    lie = replace(one.wanted(), n_bytes=len(BODY) - 1, path="other.gguf")
    with pytest.raises(IntegrityError, match=r"has 1,199,999 bytes.*has 1,200,000\.$"):
        one.fetch(lie)
    assert one.hub.requests == [] and one.names() == ["ETAG"]
    assert snapshot.read_bytes() == BODY


def test_a_cache_that_others_fill_is_only_read(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = one.fetch()
    lock = one.folder.lock(ETAG)
    lock.unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert one.fetch() == snapshot and not lock.exists()


def test_a_file_system_that_states_another_owner_is_gone_on_with(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)  # as NFS with all_squash has it
    one.hub.fault(Fault(cut="fin", after=HALF))
    one.hub.fault(Fault(cut="fin", after=0, times=-1))
    with pytest.raises(LocalLLMError):
        one.fetch()
    one.hub.heal()
    one.hub.forget()
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == [f"{HALF}-"] and one.names() == ["ETAG"]


def test_what_is_taken_away_twice_is_not_called_wrong(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def take_away(old: Path, new: Path) -> None:
        os.unlink(old)  # as somebody who tidies up does it, in this moment
        rename(old, new)

    monkeypatch.setattr(os, "rename", take_away)
    with pytest.raises(LocalLLMError, match="another program removed it") as caught:
        one.fetch()
    assert caught.value.exit_code == 1 and "corrupt" not in (caught.value.hint or "")
    assert one.names() == []


@pytest.mark.parametrize("symlinks", [True, False])
def test_the_longest_name_that_a_folder_takes_is_a_name(one: OneFetch, symlinks: bool) -> None:
    name = "模" * 80 + ".gguf"
    assert len(name.encode()) == 245
    one.hub.add_repo(REPO, {name: BODY})
    found = one.fetch(one.wanted(name), symlinks=symlinks)
    assert found.name == name and found.read_bytes() == BODY


def test_a_link_that_leads_nowhere_or_to_another_content_is_made_anew(one: OneFetch) -> None:
    snapshot = one.fetch()
    (one.folder.blobs / ("0" * 64)).write_bytes(bytes(len(BODY)))  # as long, and another
    for target in ("../../blobs/none", "../../blobs/" + "0" * 64):
        snapshot.unlink()
        snapshot.symlink_to(target)
        assert one.fetch().read_bytes() == BODY


def test_a_whole_part_needs_no_byte(one: OneFetch) -> None:
    one.leave_part(BODY)
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == []
    assert one.told[-1].n_resumed == len(BODY) and one.told[-1].n_received == 0


@pytest.mark.parametrize("left", [bytes(len(BODY)), BODY + b"x"], ids=["wrong", "longer"])
def test_a_part_that_is_wrong_is_evidence_and_fetched_again(one: OneFetch, left: bytes) -> None:
    one.leave_part(left)
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == ["0-"]
    assert one.corrupt.read_bytes() == left


def test_a_part_with_a_wrong_byte_costs_one_more_download(one: OneFetch) -> None:
    one.leave_part(b"?" + BODY[1:HALF])
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == [f"{HALF}-", "0-"]


# ------------------------------------------------------------------------- without links


def test_without_links_the_file_itself_lies_in_its_revision(one: OneFetch) -> None:
    found = one.fetch(symlinks=False)
    assert found.is_file() and not found.is_symlink() and found.read_bytes() == BODY
    assert one.names() == []
    one.hub.forget()
    assert one.fetch(symlinks=False) == found and one.fetch() == found
    assert one.hub.requests == []


def test_without_links_what_another_revision_has_stays_its_own(one: OneFetch) -> None:
    linked = one.fetch()
    other = one.fetch(replace(one.wanted(), path="other.gguf"), symlinks=False)
    assert other.read_bytes() == BODY and not other.is_symlink()
    assert linked.read_bytes() == BODY and linked.is_symlink()


def test_a_file_system_without_links_is_gone_on_with(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def symlink(to: str, path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")  # what vfat and exfat say

    monkeypatch.setattr(os, "symlink", symlink)
    found = one.fetch()
    assert not found.is_symlink() and found.read_bytes() == BODY
    assert [path.name for path in found.parent.iterdir()] == [NAME]


# ------------------------------------------------------------------------ several at once


def test_of_several_one_downloads_and_the_others_find_it(one: OneFetch) -> None:
    wanted = one.wanted()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: one.fetch(wanted).read_bytes() == BODY, range(4)))
    assert found == [True] * 4
    assert one.hub.ranges() == ["0-"]


def test_who_waits_sees_how_far_the_other_is_and_goes_on_when_it_dies(one: OneFetch) -> None:
    with locked_by_another(one) as die, one.in_background() as result:
        one.leave_part(BODY[:1000])
        state = one.wait_until(lambda state: state.n_done == 1000)
        assert state.phase == "elsewhere" and state.n_received == 0
        assert (state.waiting_for or "").endswith("downloads it")
        # huggingface_hub's own, which is newer
        one.blob.with_name(f"{ETAG}.0123abcd.incomplete").write_bytes(BODY[:2000])
        one.wait_until(lambda state: state.n_done == 2000)
        die()
        assert result() == one.folder.snapshot(one.wanted().commit, NAME)
    assert one.hub.ranges() == ["1000-"]
    assert one.told[-1].n_resumed == 1000


def test_who_waits_finds_what_the_other_has_fetched(one: OneFetch) -> None:
    with locked_by_another(one) as die, one.in_background() as result:
        one.wait_until(lambda state: state.phase == "elsewhere")
        one.blob.write_bytes(BODY)
        die()
        assert result() == one.folder.snapshot(one.wanted().commit, NAME)
    assert one.hub.ranges() == []
    assert one.told[-1].verified_by == "SHA-256"


def nobody_is_kept_out(descriptor: int, operation: int) -> None:
    """A ``flock`` that says yes to everyone, as on some file systems of clusters."""


def test_where_locks_mean_nothing_nobody_writes_to_anothers_file(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", nobody_is_kept_out)
    one.leave_part(BODY[:HALF])
    for fault in (Fault(corrupt_at=-1), Fault(cut="fin", after=1000), Fault(ignore_range=True)):
        one.hub.fault(fault)
    wanted = one.wanted()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: one.fetch(wanted).read_bytes() == BODY, range(3)))
    assert found == [True] * 3
    assert set(one.names()) <= {"ETAG", "ETAG.part.corrupt"}


@pytest.mark.parametrize("why", ["a network", "no locks"])
def test_where_locks_mean_nothing_an_orderly_end_can_still_be_gone_on_with(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "a network":
        monkeypatch.setattr("localllm.hub.download.one.kind_of", lambda folder: "nfs4")
    else:
        monkeypatch.setattr(fcntl, "flock", nobody_is_kept_out)
    one.hub.fault(Fault(cut="fin", after=HALF))
    one.hub.fault(Fault(cut="fin", after=0, times=-1))
    with pytest.raises(LocalLLMError):
        one.fetch()
    assert one.names() == ["ETAG.part"]
    assert "Locks cannot be relied on" in one.notes[0]
    one.hub.heal()
    one.hub.forget()
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges() == [f"{HALF}-"]


def test_a_file_system_that_holds_no_such_large_file_is_told_apart_before_the_first_byte(
    one: OneFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localllm.hub.download.one.kind_of", lambda folder: "vfat")
    one.hub.add_repo(REPO, {NAME: Zeros(size=5 * GiB, sha256="0" * 64)})
    with pytest.raises(LocalLLMError, match=r"5\.00 GiB.*up to 4\.00 GiB"):
        one.fetch()
    assert one.hub.ranges() == []


# ------------------------------------------------------------------------- it is stopped


def test_it_is_stopped_in_a_silent_answer_and_keeps_what_came(one: OneFetch) -> None:
    fault = one.hub.fault(Fault(cut="stall", after=HALF))
    with one.in_background() as result:
        one.wait_until(lambda state: state.n_done == HALF)
        one.stop.set()
        assert isinstance(result(), Stopped) and not fault.released.is_set()
    assert one.part.read_bytes() == BODY[:HALF]
    one.stop.clear()
    one.hub.heal()
    assert one.fetch().read_bytes() == BODY
    assert one.hub.ranges()[-1] == f"{HALF}-"


@pytest.mark.parametrize("when", ["asking", "waiting", "elsewhere", "before"])
def test_it_is_stopped_at_once_wherever_it_waits(one: OneFetch, when: str) -> None:
    with ExitStack() as stack:
        if when == "elsewhere":
            stack.enter_context(locked_by_another(one))
        elif when == "waiting":
            one.hub.fault(Fault(status=429, headers={"Retry-After": "86400"}, times=-1))
        elif when == "asking":
            one.hub.fault(Fault(origin="hub", method="HEAD", cut="stall", times=-1))
        else:
            one.stop.set()
        result = stack.enter_context(one.in_background())
        if when in ("elsewhere", "waiting"):
            one.wait_until(lambda state: state.phase == when)
        one.stop.set()
        assert isinstance(result(), Stopped)
    assert not one.blob.exists()
