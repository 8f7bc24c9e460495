"""The store of shortfalls: where memory ran out on this machine, one JSON line each, few of them.

The file is replaced as a whole whenever something is added or disproved, so no line can be torn by
a crash; one that was is skipped. Of two processes that write in the same moment one may lose its
line, which costs one more failed load. What is older than ``KEPT_DAYS`` is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from localllm.core.shortfall import KEPT_DAYS, Shortfall
from localllm.records.fields import Mismatch, from_fields, to_fields
from localllm.records.state import private_dir

SCHEMA = "localllm.shortfall/1"

MOST = 200
"""Lines that are kept, the newest; no machine has as many."""
_MOST_BYTES = 256 * 1024


def shortfall_line(kept: Shortfall) -> str:
    """Return a shortfall as a line, without its newline."""
    fields = {"schema": SCHEMA, **to_fields(kept)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_line(line: bytes) -> Shortfall | None:
    """Read a line; None for one that is torn, foreign, newer, or says what cannot be."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
            return None
        kept = from_fields(Shortfall, fields)
        is_dated = datetime.fromisoformat(kept.time).tzinfo is not None
    except (ValueError, RecursionError, Mismatch):
        return None
    return kept if is_dated else None


class ShortfallStore:
    """The shortfalls in one file, which need not exist."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made with the first shortfall."""
        self.path = path

    def read(self, *, now: datetime) -> tuple[Shortfall, ...]:
        """Return what still counts, the oldest first; nothing without a file. Raises OSError."""
        try:
            with self.path.open("rb") as file:
                lines = file.read(_MOST_BYTES).split(b"\n")
        except FileNotFoundError:
            return ()
        oldest = now - timedelta(days=KEPT_DAYS)
        return tuple(
            kept
            for line in lines
            if (kept := parse_line(line)) is not None
            and oldest <= datetime.fromisoformat(kept.time) <= now + timedelta(days=1)
        )

    def add(self, shortfalls: Iterable[Shortfall], *, now: datetime) -> None:
        """Keep more shortfalls; one of the same device and model takes the place of an earlier.

        Raises OSError.
        """
        new = tuple(shortfalls)
        about = {_about(each) for each in new}
        self._write([*(k for k in self.read(now=now) if _about(k) not in about), *new])

    def drop(self, is_over: Callable[[Shortfall], bool], *, now: datetime) -> None:
        """Forget the shortfalls that something has disproved. Raises OSError."""
        kept = self.read(now=now)
        left = [each for each in kept if not is_over(each)]
        if len(left) < len(kept):
            self._write(left)

    def _write(self, shortfalls: list[Shortfall]) -> None:
        private_dir(self.path.parent)
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        text = "".join(shortfall_line(each) + "\n" for each in shortfalls[-MOST:])
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def _about(each: Shortfall) -> tuple[str, ...]:
    return (each.machine, each.model, each.device, each.description)
