"""A Markdown table as terminal rows: columns share the width, cells wrap."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from localllm.cli.chat.inline import parse_inline
from localllm.cli.chat.styled import BOLD, DIM, Row, Run, width_of, wrap

_DELIMITER = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CELL_BREAK = re.compile(r"`[^`]*`|\\\||(\|)")
_EMPTY = Row(())
_MIN_COLUMN = 4


def is_delimiter(line: str) -> bool:
    """Whether a line is the ``|---|:-:|`` under a table's header."""
    return "-" in line and _DELIMITER.fullmatch(line) is not None


def split_cells(line: str) -> list[str]:
    """Return the cells of a table line; a bar inside code or after a backslash does not count."""
    body = line.strip().removeprefix("|")
    cuts = [m.start() for m in _CELL_BREAK.finditer(body) if m[1]]
    starts = [0, *(c + 1 for c in cuts)]
    cells = [body[a:b].strip() for a, b in zip(starts, [*cuts, len(body)], strict=True)]
    if len(cells) > 1 and not cells[-1]:
        cells.pop()
    return [cell.replace("\\|", "|") for cell in cells]


@dataclass(slots=True)
class Table:
    """A table that grows; ``rows`` renders it from its header or from where it was cut."""

    header: list[list[Run]]
    alignments: list[tuple[bool, bool]]
    """A colon on the left and on the right, by column."""
    body: list[list[list[Run]]] = field(default_factory=list)
    fixed: list[int] | None = None
    """Column widths of the part already shown, which the rest must keep."""

    @classmethod
    def begin(cls, header: str, delimiter: str) -> Table:
        """Read the two first lines."""
        marks = split_cells(delimiter)
        alignments = [(m[:1] == ":", m[-1:] == ":") for m in marks]
        cells = [parse_inline(cell, BOLD)[0] for cell in split_cells(header)]
        return cls(header=cells, alignments=alignments)

    def add(self, line: str) -> None:
        """Take one more line."""
        cells = [parse_inline(cell)[0] for cell in split_cells(line)[: len(self.header)]]
        self.body.append(cells + [[]] * (len(self.header) - len(cells)))

    def rows(self, width: int) -> list[Row]:
        """Return the table as rows of the terminal."""
        widths = self.fixed or self._widths(width)
        rows: list[Row] = []
        if self.fixed is None:
            rows += self._line(self.header, widths)
            rows.append(Row((Run("─┼─".join("─" * w for w in widths), DIM),)))
        for cells in self.body:
            rows += self._line(cells, widths)
        return rows

    def cut(self, width: int) -> list[Row]:
        """Return the rows so far and forget them; what follows keeps their columns."""
        rows = self.rows(width)
        self.fixed = self.fixed or self._widths(width)
        self.body.clear()
        return rows

    def _widths(self, width: int) -> list[int]:
        natural = [
            max(1, *(sum(width_of(r.text) for r in line[i]) for line in (self.header, *self.body)))
            for i in range(len(self.header))
        ]
        room = width - 3 * (len(natural) - 1)
        while sum(natural) > room and max(natural) > _MIN_COLUMN:
            widest = max(natural)
            second = max((w for w in natural if w < widest), default=_MIN_COLUMN)
            count = natural.count(widest)
            step = min(widest - max(second, _MIN_COLUMN), -(-(sum(natural) - room) // count))
            natural = [w - max(1, step) if w == widest else w for w in natural]
        return natural

    def _line(self, cells: list[list[Run]], widths: list[int]) -> list[Row]:
        columns = [wrap(cell, w, _EMPTY, _EMPTY) for cell, w in zip(cells, widths, strict=True)]
        rows = []
        for k in range(max(map(len, columns))):
            runs: list[Run] = []
            for i, (column, w) in enumerate(zip(columns, widths, strict=True)):
                piece = column[k] if k < len(column) else _EMPTY
                space = max(0, w - piece.width)
                at_left, at_right = (
                    self.alignments[i] if i < len(self.alignments) else (False, False)
                )
                left = 0 if not at_right else space // 2 if at_left else space
                if i:
                    runs.append(Run(" │ ", DIM))
                runs += [Run(" " * left), *piece.runs, Run(" " * (space - left))]
            rows.append(Row(tuple(r for r in runs if r.text)))
        return rows
