"""The store of shortfalls: where memory ran out on this machine, one JSON line each, few of them.

The file is replaced as a whole whenever something is added or disproved, so no line can be torn by
a crash; one that was is skipped. Of two processes that write in the same moment one may lose its
line, which costs one more failed load. What is older than ``KEPT_DAYS`` is left out.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.shortfall import KEPT_DAYS, Shortfall, concerns, is_disproved
from localllm.records.fields import Mismatch, from_fields, to_fields
from localllm.records.measurements import measurements_wanted
from localllm.records.state import private_dir, state_dir

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


class OwnShortfalls:
    """What a session knows of shortfalls: those of the file, and its own where nothing is kept."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Read nothing yet. With ``LOCALLLM_MEASUREMENTS=off`` no file is read or written."""
        self._now = now
        self._own: list[Shortfall] = []
        self._store: ShortfallStore | None = None
        self._problem: str | None = None
        if measurements_wanted(environ):
            self._store = ShortfallStore(state_dir(environ) / "shortfalls.jsonl")

    def known(self, model: ModelSpec, hardware: Hardware) -> tuple[Shortfall, ...]:
        """Return what concerns a model on a machine."""
        kept: tuple[Shortfall, ...] = ()
        if self._store is not None and hardware.source == THIS_MACHINE:
            try:
                kept = self._store.read(now=self._now())
            except OSError as error:
                self._note(f"What ran out of memory before cannot be read: {_reason(error)}.")
        seen = dict.fromkeys((*kept, *self._own))
        return tuple(each for each in seen if concerns(each, model, hardware))

    def remember(self, shortfalls: tuple[Shortfall, ...], hardware: Hardware) -> None:
        """Keep what was learnt on a machine: in the file where it is this one."""
        self._own += shortfalls
        if shortfalls and hardware.source == THIS_MACHINE:
            self._change(lambda store: store.add(shortfalls, now=self._now()))

    def held(self, plan: Plan, policy: Policy) -> None:
        """Forget what a plan that loaded, made with a policy, has disproved."""
        is_over = functools.partial(is_disproved, plan=plan, policy=policy)
        if any(is_over(each) for each in self.known(plan.model, plan.hardware)):
            self._own = [each for each in self._own if not is_over(each)]
            self._change(lambda store: store.drop(is_over, now=self._now()))

    def problem(self) -> str | None:
        """Return, once, why nothing can be read or kept: a sentence."""
        problem, self._problem = self._problem, None
        return problem

    def _change(self, change: Callable[[ShortfallStore], None]) -> None:
        if self._store is None:
            return
        try:
            change(self._store)
        except OSError as error:
            self._note(f"That memory ran out could not be kept: {_reason(error)}.")

    def _note(self, problem: str) -> None:
        self._problem = self._problem or problem


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
