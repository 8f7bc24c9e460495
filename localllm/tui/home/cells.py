"""One line of the list of models: a cell for each thing that a person compares, for a width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textual.content import Content

from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.fetching.fetches import Fetch
from localllm.tui.fetching.progress import row_words
from localllm.tui.home.rows import Row, Sort, Verdict
from localllm.tui.home.shelf import Entry
from localllm.units import format_bytes

HERE, TO_FETCH, FETCHING, INCOMPLETE = "●", "○", "↓", "%"
"""The state of a model's files."""
FITS, DOES_NOT_FIT, NOT_YET, NO_PLAN = "✓", "✗", "…", "?"
"""What a plan says of it."""

CURSOR = "▸"

_LEAST_NAME, _SIZE = 16, 9
_NARROW = 96
_MARKS = 4
"""Columns of the cursor, the state, and the space behind each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How wide the cells are."""

    width: int
    name: int
    quant: int

    @property
    def gap(self) -> str:
        """What is between two cells."""
        return " " if self.width < _NARROW else "  "

    @property
    def words(self) -> int:
        """What is left for the verdict."""
        taken = _MARKS + self.name + self.quant + _SIZE + 3 * len(self.gap)
        return max(self.width - taken, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of the rows besides their names, by key."""

    verdicts: Mapping[str, Verdict]
    fetches: Mapping[str, Fetch]
    doings: Mapping[str, str] = field(default_factory=dict)
    """What is being looked up for an entry."""
    problems: Mapping[str, LocalLLMError] = field(default_factory=dict)
    """What did not work for an entry."""
    where: str = "this machine"
    """What the verdicts are for."""


def columns(entries: Sequence[Entry], told: Told, width: int) -> Columns:
    """Return the widths for some entries: names are cut before the verdict is."""
    rows = [entry.row for entry in entries if entry.row is not None]
    longest = max((len(row.name) for row in rows), default=_LEAST_NAME)
    quants = (row.quant(told.verdicts.get(row.key)) for row in rows)
    quant = min(max(map(len, quants), default=0), 10)
    most = width * (3 if width < _NARROW else 4) // 10
    return Columns(width=width, name=max(min(longest, most), _LEAST_NAME), quant=max(quant, 6))


def head_line(sizes: Columns, sort: Sort, where: str) -> Content:
    """Return the titles of the columns, the one that orders the rows marked."""

    def title(text: str, by: Sort) -> str:
        return f"{text} ▾" if sort == by else text

    cells = (
        " " * _MARKS + f"{title('name', 'name'):<{sizes.name}}",
        f"{'quant':<{sizes.quant}}",
        f"{title('size', 'size'):>{_SIZE}}",
        f"{title(f'on {printable(where)}, estimated', 'speed')}"
        + ("" if sort != "used" else f"{sizes.gap}used last ▾"),
    )
    return Content.styled(sizes.gap.join(cells), "$text-muted").truncate(sizes.width)


def entry_line(entry: Entry, told: Told, sizes: Columns, *, has_cursor: bool) -> Content:
    """Return one line of the list, no wider than its columns."""
    cursor = f"{CURSOR} " if has_cursor else "  "
    if entry.row is None:
        line = _plain_line(entry, told, cursor)
        return line.truncate(sizes.width, ellipsis=True)
    row = entry.row
    verdict, fetch = told.verdicts.get(row.key), told.fetches.get(row.key)
    n_bytes = row.n_bytes(verdict)
    size = "" if n_bytes is None else format_bytes(n_bytes)
    mark, words = happens(entry.key, told) or said(row, verdict, fetch)
    room = max(sizes.words - 2, 0)
    return Content.assemble(
        cursor,
        state(row, verdict, fetch),
        " ",
        cut(printable(row.name), sizes.name),
        sizes.gap,
        (cut(printable(row.quant(verdict)), sizes.quant), "$text-muted"),
        sizes.gap,
        f"{size:>{_SIZE}}",
        sizes.gap,
        mark,
        " ",
        Content(printable(words)).truncate(room, ellipsis=True),
    ).truncate(sizes.width)


def _plain_line(entry: Entry, told: Told, cursor: str) -> Content:
    """An entry that is no model."""
    if entry.kind == "head":
        return Content.styled(printable(entry.text), "bold $text-muted")
    now = happens(entry.key, told)
    if now is None:
        return Content.styled(
            f"{cursor}{printable(entry.text)}", "$text-muted" if entry.kind == "note" else ""
        )
    return Content.assemble(cursor, now[0], " ", printable(now[1]))


def happens(key: str, told: Told) -> tuple[Content, str] | None:
    """Return a mark and some words for what is being looked up, or went wrong; None for neither."""
    if key in told.doings:
        return Content.styled(NOT_YET, "$text-accent"), told.doings[key]
    if key in told.problems:
        return Content.styled(DOES_NOT_FIT, "$text-error"), told.problems[key].message
    return None


def state(row: Row, verdict: Verdict | None, fetch: Fetch | None) -> Content:
    """Return the glyph for where a model's files are."""
    if fetch is not None and fetch.is_running:
        return Content.styled(FETCHING, "$text-accent")
    if row.is_incomplete or (fetch is not None and fetch.state == "stopped"):
        return Content.styled(INCOMPLETE, "$text-warning")
    if row.is_here or (verdict is not None and verdict.is_here):
        return Content.styled(HERE, "$text-success")
    return Content.styled(TO_FETCH, "$text-muted")


def said(row: Row, verdict: Verdict | None, fetch: Fetch | None) -> tuple[Content, str]:
    """Return a mark and some words: how a download goes, else what the plan says."""
    if fetch is not None and fetch.state not in ("done", "stopped"):
        return Content(NOT_YET if fetch.is_running else DOES_NOT_FIT), row_words(fetch)
    if row.is_incomplete:
        assert row.kept is not None
        n_files = f"{len(row.kept.files)} of {row.kept.n_parts} files"
        return Content.styled(NO_PLAN, "$text-muted"), f"incomplete: {n_files}"
    if verdict is None:
        return Content.styled(NOT_YET, "$text-muted"), ""
    if verdict.fits is None:
        return Content.styled(NO_PLAN, "$text-warning"), verdict.words
    if verdict.fits:
        return Content.styled(FITS, "$text-success"), verdict.words
    return Content.styled(DOES_NOT_FIT, "$text-error"), verdict.words


def cut(text: str, width: int) -> str:
    """Return a text in exactly so many columns; of a long one the middle is left away."""
    if len(text) <= width:
        return f"{text:<{width}}"
    tail = min(width // 2, 12)
    return f"{text[: width - tail - 1]}…{text[-tail:]}"
