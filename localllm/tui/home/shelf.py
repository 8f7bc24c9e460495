"""What Home lists: models here, known ones, and names that were looked up, as a person narrows it.

Values in, entries out; nothing is read or drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from localllm.core.kept import Inventory
from localllm.core.recommendation import Known
from localllm.tui.home.rows import DEMO, Row, Sort, Verdict, matches, order_key

NOTHING_HERE = "demo comes with localllm: press enter; or press / and type a name to fetch one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the list."""

    kind: Literal["head", "row", "offer", "note"]
    text: str = ""
    row: Row | None = None

    @property
    def key(self) -> str:
        """What the cursor stays with while the list changes."""
        return self.row.key if self.row is not None else f"{self.kind}:{self.text}"

    @property
    def can_be_chosen(self) -> bool:
        """Whether the cursor stops here."""
        return self.kind != "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """All that could be listed."""

    here: tuple[Row, ...] = ()
    known: tuple[Row, ...] = ()
    found: tuple[Row, ...] = ()
    """Names that were looked up, the newest first."""
    fetches: tuple[Row, ...] = ()
    """Downloads of what no other row stands for."""
    notes: tuple[str, ...] = ()
    """What could not be read, as sentences."""

    def rows(self) -> Iterator[Row]:
        """Yield every row, those first that a person sees first."""
        yield from (*self.fetches, *self.here, *self.found, *self.known)

    def entries(
        self,
        text: str,
        sort: Sort,
        verdicts: Mapping[str, Verdict],
        *,
        offer: str | None = None,
    ) -> list[Entry]:
        """Return the lines for what was typed.

        ``verdicts``: by the key of a row. ``offer``: what could be done with the typed name itself.
        """

        def listed(head: str, rows: Sequence[Row]) -> list[Entry]:
            shown = [row for row in rows if matches(row, verdicts.get(row.key), text)]
            shown.sort(key=lambda row: order_key(row, verdicts.get(row.key), sort))
            found = [Entry(kind="row", row=row) for row in shown]
            return [Entry(kind="head", text=f"{head} ({len(shown):,})"), *found] if found else []

        entries = listed("here", (*self.fetches, *self.here))
        if not text and len(self.here) == 1 and not self.fetches:
            entries.append(Entry(kind="note", text=NOTHING_HERE))
        if not text:
            entries += [Entry(kind="note", text=f"! {note}") for note in self.notes]
        entries += listed("looked up", self.found)
        entries += listed("known, fetched when you choose one", self.known)
        if offer is not None:
            entries.append(Entry(kind="offer", text=offer))
        return entries


def here_rows(inventory: Inventory) -> tuple[Row, ...]:
    """Return the models here, ``demo`` among them: it comes with localllm."""
    kept = (Row(name=model.name, kind="kept", kept=model) for model in inventory.models)
    return (Row(name=DEMO, kind="demo"), *kept)


def known_rows(known: Sequence[Known]) -> tuple[Row, ...]:
    """Return the models with a recorded shape."""
    return tuple(Row(name=each.name, kind="known", n_params=each.n_params) for each in known)
