"""A growing file: right bytes at their places, whatever was there before."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import LocalLLMError
from localllm.hub.background import Stopped
from localllm.hub.download.own_part import own_part
from localllm.hub.download.part import Part
from localllm.units import MiB

BODY = random.Random(3).randbytes(5000)
SHA256 = hashlib.sha256(BODY).hexdigest()
NOBODY = threading.Event()


def part_of(body: bytes, folder: Path, etag: str | None = None) -> Part:
    name = etag or hashlib.sha256(body).hexdigest()
    return Part(folder / "part", aside=folder / "aside", n_bytes=len(body), etag=name)


def caught_up(part: Part) -> int:
    part.catch_up(NOBODY, lambda: None)
    return part.n_hashed


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 5000), max_size=5),
    left=st.integers(0, 5000),
    restarts=st.booleans(),
    surplus=st.binary(max_size=3),
)
def test_bytes_in_any_pieces_are_the_file(
    tmp_path: Path, cuts: list[int], left: int, restarts: bool, surplus: bytes
) -> None:
    (tmp_path / "part").write_bytes(BODY[:left])
    with part_of(BODY, tmp_path) as part:
        assert caught_up(part) == left
        if restarts:
            part.restart()
        places = sorted({part.n_hashed, *(cut for cut in cuts if cut > part.n_hashed), 5000})
        for start, end in itertools.pairwise(places):
            part.write(BODY[start:end])
        part.write(surplus)
        assert part.is_right and part.digest == SHA256
    assert (tmp_path / "part").read_bytes() == BODY


def test_what_is_written_over_counts_again_behind_what_came(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:4000])
    with part_of(BODY, tmp_path) as part:
        assert caught_up(part) == 4000
        part.restart()
        part.write(BODY[:1000])
        assert (part.n_hashed, caught_up(part)) == (1000, 4000)
        part.write(BODY[4000:])
        assert part.is_right


def test_a_whole_file_with_a_wrong_byte_is_whole_and_not_right(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:-1] + b"?")
    with part_of(BODY, tmp_path) as part:
        caught_up(part)
        assert part.is_whole and not part.is_right
        part.set_aside()
    assert not (tmp_path / "part").exists() and (tmp_path / "aside").stat().st_size == 5000


def test_git_hashes_the_kind_and_the_size_along(tmp_path: Path) -> None:
    # git hash-object of a file that holds "hello\n"
    with part_of(b"hello\n", tmp_path, "ce013625030ba8dba906f756967f9e9ca394464a") as part:
        part.write(b"hello\n")
        assert part.is_right


def test_an_empty_file_is_right_at_once(tmp_path: Path) -> None:
    with part_of(b"", tmp_path) as part:
        assert caught_up(part) == 0 and part.is_right


def test_hashing_what_is_there_can_be_stopped(tmp_path: Path) -> None:
    body = bytes(3 * MiB)
    (tmp_path / "part").write_bytes(body)
    stop = threading.Event()
    with part_of(body, tmp_path) as part:
        with pytest.raises(Stopped):
            part.catch_up(stop, stop.set)
        assert part.n_hashed == MiB
        with pytest.raises(Stopped):
            part.sync(stop)


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("victim"))


def _hard_link(path: Path) -> None:
    os.link(path.with_name("victim"), path)


def _too_long(path: Path) -> None:
    path.write_bytes(BODY + b"x")


@pytest.mark.parametrize("make", [_link, _hard_link, os.mkfifo, os.mkdir, _too_long])
def test_what_can_be_no_part_is_moved_aside_and_never_written_to(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    make(tmp_path / "part")
    with part_of(BODY, tmp_path) as part:
        assert caught_up(part) == 0
        part.write(BODY)
        assert part.is_right
    assert victim.read_bytes() == b"precious"
    assert os.path.lexists(tmp_path / "aside")
    assert (tmp_path / "part").read_bytes() == BODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_part_of_somebody_else_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:100])
    os.chown(tmp_path / "part", 12345, -1)
    with part_of(BODY, tmp_path) as part:
        assert caught_up(part) == 0
    assert (tmp_path / "part").stat().st_uid == 0
    assert (tmp_path / "aside").stat().st_uid == 12345


def test_the_finished_file_can_only_be_read_and_by_no_more_people(tmp_path: Path) -> None:
    with part_of(BODY, tmp_path) as part:
        part.write(BODY)
        os.chmod(tmp_path / "part", 0o640)
        part.sync(NOBODY)
        assert part.finish(tmp_path / "blob")
    assert stat.S_IMODE((tmp_path / "blob").stat().st_mode) == 0o440
    assert (tmp_path / "blob").read_bytes() == BODY and not (tmp_path / "part").exists()


def test_a_part_that_somebody_took_away_is_not_finished(tmp_path: Path) -> None:
    with part_of(BODY, tmp_path) as part:
        part.write(BODY)
        (tmp_path / "part").unlink()
        assert not part.finish(tmp_path / "blob")
    assert not (tmp_path / "blob").exists()


def test_a_place_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalLLMError, match="Not a directory") as caught:
        part_of(BODY, tmp_path / "file")
    assert caught.value.exit_code == 1 and "HF_HUB_CACHE" in (caught.value.hint or "")


# ------------------------------------------------------------- where locks mean nothing


def test_of_two_only_one_goes_on_with_what_was_there(tmp_path: Path) -> None:
    shared = tmp_path / "etag.part"
    shared.write_bytes(b"some")
    with own_part(shared) as one, own_part(shared) as other:
        assert one != other and one.read_bytes() == b"some"
        assert not other.exists() and not shared.exists()
        other.write_bytes(b"longer than that")
    # given back by both: the longer one stays
    assert shared.read_bytes() == b"longer than that"
    assert [path.name for path in tmp_path.iterdir()] == ["etag.part"]


def test_a_finished_part_leaves_nothing_behind(tmp_path: Path) -> None:
    with own_part(tmp_path / "etag.part") as own:
        assert own.name.startswith("etag.") and own.suffix == ".part"
        own.write_bytes(b"all")
        own.rename(tmp_path / "etag")
    assert [path.name for path in tmp_path.iterdir()] == ["etag"]
