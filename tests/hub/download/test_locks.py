"""Locks that other programs respect, and file systems on which they mean nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localllm.errors import LocalLLMError
from localllm.hub.download.filesystems import is_networked, kind_of, largest_file_bytes
from localllm.hub.download.locks import locked


class Busy(Exception):
    """Somebody else has it."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".locks" / "models--user--repo" / "etag.lock"


def busy(pid: int | None) -> None:
    raise Busy(pid)


def is_free(path: Path) -> bool:
    """Whether anybody who asks as huggingface_hub does would get it now."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def held_by_another_process(path: Path) -> Iterator[int]:
    """As huggingface_hub holds it, through the same library."""
    program = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1], mode=0o664):\n"
        "    print(flush=True); sys.stdin.read()"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None and child.stdout.readline()
        yield child.pid
        child.kill()


def test_it_keeps_others_out_until_it_is_given_back(path: Path) -> None:
    with locked(path, busy=busy) as keeps_out:
        assert keeps_out and not is_free(path)
        with pytest.raises(Busy), locked(path, busy=busy):
            pass
    assert is_free(path)
    assert path.read_bytes() == b""  # it stays, as huggingface_hub's do


def test_the_holder_is_named_and_its_death_gives_the_lock_free(path: Path) -> None:
    with held_by_another_process(path) as pid:
        with pytest.raises(Busy) as caught, locked(path, busy=busy):
            pass
        assert caught.value.args[0] in ((pid,) if Path("/proc/locks").exists() else (None,))
        with pytest.raises(Busy), locked(path, busy=busy):
            pass
    with locked(path, busy=busy) as keeps_out:
        assert keeps_out


def test_a_lock_whose_file_was_replaced_is_taken_again(path: Path) -> None:
    waited = []

    def replace(pid: int | None) -> None:
        waited.append(pid)
        if len(waited) == 1:
            path.unlink()  # whoever waits at the old file would wait for nobody
        else:
            raise AssertionError("there is a new file, which nobody has")

    with path_held(path), locked(path, busy=replace) as keeps_out:
        assert keeps_out and len(waited) == 1 and not is_free(path)


@contextmanager
def path_held(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_an_error_gives_it_free(path: Path) -> None:
    with pytest.raises(Busy), locked(path, busy=busy):
        raise Busy
    assert is_free(path)


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalLLMError, match="cannot be locked"), locked(path, busy=busy):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_said_with_what_to_do(path: Path, tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("")
    with pytest.raises(LocalLLMError) as caught, locked(path, busy=busy):
        pass
    assert caught.value.exit_code == 1 and "HF_HUB_CACHE" in (caught.value.hint or "")


def test_a_lock_that_everyone_gets_keeps_nobody_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    with locked(path, busy=busy) as one, locked(path, busy=busy) as other:
        assert (one, other) == (False, False)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_keeps_nobody_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path, busy=busy) as keeps_out:
        assert not keeps_out


def test_a_disk_that_fails_is_said_with_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    n_open = len(os.listdir("/dev/fd"))
    with (
        pytest.raises(LocalLLMError, match="cannot be locked: Input") as caught,
        locked(path, busy=busy),
    ):
        pass
    assert "HF_HUB_CACHE" in (caught.value.hint or "")
    assert len(os.listdir("/dev/fd")) == n_open


# ------------------------------------------------------------------------ file systems

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw shared:2 - autofs systemd-1 rw
31 30 0:41 / /home rw,relatime shared:3 - nfs4 server:/home rw,vers=4.2
40 22 0:50 / /mnt/my\\040disk rw - vfat /dev/sdb1 rw
41 22 0:51 / /mnt/far rw master:4 propagate_from:2 - fuse.sshfs me@far: rw
42 22 0:52 / /mnt/near rw - fuseblk /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("folder", "kind", "networked"),
    [
        ("/srv/cache", "ext4", False),
        ("/home/me/.cache", "nfs4", True),
        ("/homework", "ext4", False),
        ("/mnt/my disk/hub", "vfat", False),
        ("/mnt/far", "fuse.sshfs", True),
        ("/mnt/near", "fuseblk", False),
    ],
)
def test_a_folder_lies_on_the_deepest_mount_above_it(
    tmp_path: Path, folder: str, kind: str, networked: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert kind_of(Path(folder), mounts=mounts) == kind
    assert is_networked(kind) is networked


def test_where_mounts_are_not_listed_nothing_is_known(tmp_path: Path) -> None:
    assert kind_of(tmp_path, mounts=tmp_path / "none") is None
    assert not is_networked(None)
    assert (largest_file_bytes("vfat"), largest_file_bytes(None)) == (2**32 - 1, None)
