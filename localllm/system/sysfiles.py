"""Small files of ``/proc`` and ``/sys``: text, integers, CPU lists. A missing file is ``None``."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return the text of a small file without surrounding space, or None if it cannot be read.

    Drivers answer EIO, EINVAL or ENODEV for attributes that a device lacks, and may write bytes
    that are not UTF-8: those are replaced.
    """
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """Return the decimal or ``0x`` integer in a file, or None if there is none."""
    return to_int(read_text(path))


def to_int(text: str | None) -> int | None:
    """Return a decimal or ``0x`` integer, or None for anything else."""
    if text is None:
        return None
    try:
        return int(text, 0) if text.lower().startswith("0x") else int(text)
    except ValueError:
        return None


def parse_cpu_list(text: str | None) -> frozenset[int]:
    """Return the numbers of a kernel list such as ``0-3,8,10-11``; empty for anything else."""
    numbers: set[int] = set()
    for part in (text or "").replace("\n", ",").split(","):
        first, _, last = part.strip().partition("-")
        # The kernel writes at most a few thousand CPUs; a longer range is not a CPU list.
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        low, high = int(first), int(last or first)
        if low <= high < 1 << 16:
            numbers.update(range(low, high + 1))
    return frozenset(numbers)


def folders(path: Path, pattern: str) -> list[Path]:
    """Return the matching entries of a folder in natural order (``card2`` before ``card10``)."""
    try:
        found = list(path.glob(pattern))
    except OSError:
        return []
    return sorted(found, key=lambda entry: (len(entry.name), entry.name))
