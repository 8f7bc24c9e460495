"""Where the strip puts each layer: tiles of one width, in as few rows as they take."""

from __future__ import annotations

from dataclasses import dataclass

_WIDEST = 4
_MOST_ROWS = 3
_INPUT, _OUTPUT, _GAP = 2, 3, 1
"""Cells of the embedding and the output layer, whose tiles are named above, and beside them."""
_LABEL_CELLS = 6
"""A number above the tiles, and room to tell it from the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile: the positions that it stands for, among the layers in order, and its cells."""

    first: int
    last: int
    column: int
    width: int
    is_end: bool = False
    """The embedding or the output layer, which stand apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRow:
    """Tiles side by side, and what is written above them: text by its first cell."""

    tiles: tuple[Tile, ...]
    labels: tuple[tuple[int, str], ...]

    def at(self, column: int) -> Tile | None:
        """Return the tile that covers a cell, or None between tiles."""
        covers = (t for t in self.tiles if t.column <= column < t.column + t.width)
        return next(covers, None)


def tile_rows(n_blocks: int, width: int) -> tuple[TileRow, ...]:
    """Lay out the embedding, ``n_blocks`` blocks and the output layer, at positions from 0.

    As wide as fits in one row; in up to three rows where one cell each does not fit; with several
    layers to a cell where not even that does.
    """
    room = max(width - _INPUT - _OUTPUT - 2 * _GAP, 1)
    cells = max(min(room // max(n_blocks, 1), _WIDEST), 1)
    each = max(-(-n_blocks // (_MOST_ROWS * room)), 1)
    n_tiles = -(-n_blocks // each)
    in_row = room // cells if n_tiles * cells <= room else _per_row(n_tiles, room)
    start, rows = _INPUT + _GAP, []
    for row_first in range(0, max(n_tiles, 1), in_row):
        in_this = range(row_first, min(row_first + in_row, n_tiles))
        tiles = [
            Tile(
                first=1 + each * index,
                last=min(each * (index + 1), n_blocks),
                column=start + cells * (index - row_first),
                width=cells,
            )
            for index in in_this
        ]
        labels = _numbers(tiles, cells=cells, each=each)
        if row_first == 0:
            tiles.insert(0, Tile(first=0, last=0, column=0, width=_INPUT, is_end=True))
            labels.insert(0, (0, "in"))
        if row_first + in_row >= n_tiles:
            last, column = n_blocks + 1, tiles[-1].column + tiles[-1].width + _GAP
            tiles.append(Tile(first=last, last=last, column=column, width=_OUTPUT, is_end=True))
            while len(labels) > 1 and labels[-1][0] + len(labels[-1][1]) >= column:
                labels.pop()
            labels.append((column, "out"))
        rows.append(TileRow(tiles=tuple(tiles), labels=tuple(labels)))
    return tuple(rows)


def _per_row(n_tiles: int, room: int) -> int:
    """Rows of about one length; of whole tens where they fit, so that numbers stand in columns."""
    even = -(-n_tiles // -(-n_tiles // room))
    tens = -(-even // 10) * 10
    return tens if tens <= room else even


def _numbers(tiles: list[Tile], *, cells: int, each: int) -> list[tuple[int, str]]:
    """The number of a row's first block, and round ones after it; blocks count from 0."""
    steps = (5, 10, 20, 50, 100)
    step = next((step for step in steps if step * cells >= _LABEL_CELLS * each), steps[-1])
    labels: list[tuple[int, str]] = []
    for tile in tiles:
        block, since = tile.first - 1, labels[-1] if labels else None
        crosses = any((block + more) % step == 0 for more in range(tile.last - tile.first + 1))
        if since is None or (crosses and tile.column > since[0] + len(since[1])):
            labels.append((tile.column, str(block)))
    return labels
