"""A model in the list of Home, and what a plan says of it on the machine that is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localllm.core.kept import KeptModel
from localllm.words.kept import KEEPERS, contains

Kind = Literal["demo", "kept", "known", "found", "fetch"]
"""Where a row comes from: localllm itself, a folder here, a recorded shape, a name that the person
had looked up, or a download of something that is none of these yet."""

Sort = Literal["name", "size", "used", "speed"]
SORTS: tuple[Sort, ...] = ("name", "size", "used", "speed")

DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a model's plan, in words, and what a list is ordered by."""

    words: str
    """A few, as ``localllm list`` has them; why there is no plan where there is none."""
    fits: bool | None
    """None where no plan could be made."""
    quant: str | None = None
    n_bytes: int | None = None
    """Of its files."""
    tok_s: float | None = None
    """Decoding, an estimate."""
    more: tuple[str, ...] = ()
    """Sentences, for whoever looks closer."""
    is_here: bool = False
    """Whether the plan is of files that are here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model."""

    name: str
    """What finds it."""
    kind: Kind
    kept: KeptModel | None = None
    n_params: int | None = None

    @property
    def key(self) -> str:
        """Tells it from every other row: a folder here may be called as a known model is."""
        return f"{self.kind}:{self.name}"

    @property
    def is_here(self) -> bool:
        """Whether it can be loaded as it is."""
        return self.kind == "demo" or (self.kept is not None and self.kept.is_complete)

    @property
    def is_incomplete(self) -> bool:
        """Whether only a part of it is here."""
        return self.kept is not None and not self.kept.is_complete

    def quant(self, verdict: Verdict | None) -> str:
        """Return its quantisation; empty where it is not chosen yet."""
        if self.kept is not None:
            return self.kept.quant
        return (verdict.quant or "") if verdict else ""

    def n_bytes(self, verdict: Verdict | None) -> int | None:
        """Return the size of its files; None where that is not known yet."""
        if self.kept is not None:
            return self.kept.n_bytes
        return verdict.n_bytes if verdict else None


def matches(row: Row, verdict: Verdict | None, text: str) -> bool:
    """Whether a row is what somebody types: words of its name, quantisation and keeper.

    In any case and without dashes; ``fits`` and ``here`` ask for what these say.
    """
    words = text.lower().split()
    if "fits" in words and not (verdict and verdict.fits):
        return False
    if "here" in words and not (row.is_here or (verdict is not None and verdict.is_here)):
        return False
    keeper = KEEPERS[row.kept.keeper] if row.kept else ""
    named = [word for word in words if word not in ("fits", "here")]
    return contains(f"{row.name} {row.quant(verdict)} {keeper}", named)


def order_key(row: Row, verdict: Verdict | None, sort: Sort) -> tuple[float, str]:
    """Return what rows of one section are ordered by: what is not known comes last, by name."""
    name = row.name.lower()
    if sort == "size":
        # a known model's file is chosen for the machine, so its parameters tell the size
        return -float(row.kept.n_bytes if row.kept else row.n_params or 0), name
    if sort == "used":
        return -(row.kept.last_used_s if row.kept else 0.0), name
    if sort == "speed":
        return -(verdict.tok_s or 0.0 if verdict and verdict.fits else 0.0), name
    return 0.0, name
