"""Processes that have a file open or mapped right now, where the system tells (Linux).

A model that runs is mapped: its file can be deleted all the same, and its bytes come back only when
that process ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localllm.core.text import printable

_PROC = Path("/proc")

_Wanted = dict[tuple[int, str], Path]
"""By inode and name. Not by device: of a file on Btrfs or in a container, ``maps`` has another one
than ``stat`` says, and a name that is a hash tells as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A process that has a file open or mapped."""

    pid: int
    program: str
    path: Path
    """The file, as it was asked for."""


def users_of(paths: Iterable[Path], *, proc: Path = _PROC) -> tuple[User, ...]:
    """Return the processes of this person that have one of some files open or mapped.

    Of processes that may not be looked at, nothing is known.
    """
    wanted: _Wanted = {}
    for path in paths:
        with suppress(OSError):
            real = Path(os.path.realpath(path))
            wanted[(real.stat().st_ino, real.name)] = path
    if not wanted:
        return ()
    found = []
    for process in _own_processes(proc):
        used = _open_file(process, wanted) or _mapped_file(process, wanted)
        if used is not None:
            pid = int(process.name)
            found.append(User(pid=pid, program=_program(process), path=used))
    return tuple(found)


def _own_processes(proc: Path) -> list[Path]:
    own = os.geteuid() if hasattr(os, "geteuid") else -1
    found = []
    with suppress(OSError), os.scandir(proc) as processes:
        for entry in processes:
            with suppress(OSError):
                if entry.name.isdecimal() and own in (0, entry.stat().st_uid):
                    found.append(proc / entry.name)
    return sorted(found, key=lambda path: int(path.name))


def _mapped_file(process: Path, wanted: _Wanted) -> Path | None:
    """A line of ``maps``: range, rights, offset, device, inode, and the path to the line's end."""
    try:
        text = (process / "maps").read_bytes()
    except OSError:
        return None
    for (inode, name), path in wanted.items():
        ending = os.fsencode(f"/{name}")
        start = text.find(ending)
        while start >= 0:
            line = text[text.rfind(b"\n", 0, start) + 1 :].partition(b"\n")[0]
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[4] == b"%d" % inode:
                return path
            start = text.find(ending, start + 1)
    return None


def _open_file(process: Path, wanted: _Wanted) -> Path | None:
    try:
        with os.scandir(process / "fd") as descriptors:
            names = [entry.name for entry in descriptors]
    except OSError:
        return None
    by_name = {name: path for (_, name), path in wanted.items()}
    for name in names:
        with suppress(OSError):
            target = os.readlink(process / "fd" / name)
            path = by_name.get(os.path.basename(target))
            if path is not None:
                inode = os.stat(process / "fd" / name).st_ino
                if (inode, os.path.basename(target)) in wanted:
                    return path
    return None


def _program(process: Path) -> str:
    try:
        return printable((process / "comm").read_text().strip()) or "a program"
    except OSError:
        return "a program"
