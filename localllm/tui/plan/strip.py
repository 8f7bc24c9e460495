"""The model as a strip: a tile for every layer, by the device that it lies on, experts apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.reactive import reactive

from localllm.core.plan import Plan
from localllm.core.where import LayerPlace, LayerSize, layer_places, layer_sizes
from localllm.tui.plan.drawn import Drawn, Lines, flowed
from localllm.tui.plan.marks import MUTED, Mark, marks
from localllm.tui.plan.tiles import Tile, TileRow, tile_rows
from localllm.words.layers import held, layer_line
from localllm.words.memory import place_name

_LAYERS, _EXPERTS = "layers  ", "experts "
_MIXED = "+"
"""A cell of several layers that do not lie on one device."""
_SELECTED = "$background on $foreground"
_FIRST_BLOCK = 1
"""Its position: the embedding comes before it."""

Piece = tuple[str, str]


def strip_lines(
    plan: Plan,
    width: int,
    *,
    selected: int | None = None,
    detail: str = "",
    shades: bool = True,
) -> list[Content]:
    """Return the strip and its legend, ``width`` cells wide.

    ``selected``: the position of a layer among ``layer_places``, which is marked. ``detail``: a
    line about it, in the place of the legend. ``shades``: see ``marks.Mark``.
    """
    places, known = layer_places(plan), marks(plan, shades=shades)
    indent = _indent(places)
    lines: list[Content] = []
    for row in tile_rows(len(places) - 2, width - indent):
        lines.append(_ruler(row, indent, selected))
        pieces = _tiles(row, [place.device for place in places], known, selected)
        label = [(_LAYERS, MUTED)] if indent else []
        lines.append(Content.assemble(*label, *pieces))
        if indent:
            pieces = _tiles(row, [place.experts for place in places], known, selected)
            lines.append(Content.assemble((_EXPERTS, MUTED), *pieces))
    legend = _legend(plan, places, known, width)
    if detail:
        told = Content(detail).wrap(width)
        return [*lines, *told, *[Content("")] * (len(legend) - len(told))]
    return [*lines, *legend]


def place_at(plan: Plan, width: int, x: int, y: int) -> int | None:
    """Return the position of the layer that is drawn at a cell of the strip, if one is."""
    places = layer_places(plan)
    indent = _indent(places)
    rows = tile_rows(len(places) - 2, width - indent)
    number, line = divmod(y, 3 if indent else 2)
    if line == 0 or not 0 <= number < len(rows):
        return None
    tile = rows[number].at(x - indent)
    return None if tile is None else tile.first


def _indent(places: Sequence[LayerPlace]) -> int:
    """Cells of the labels at the left: a mixture of experts has two lines to tell apart."""
    return len(_LAYERS) if any(place.experts for place in places) else 0


def _ruler(row: TileRow, indent: int, selected: int | None) -> Content:
    """The numbers above the tiles, and where the selected one is."""
    pointed = next((t for t in row.tiles if selected is not None and _covers(t, selected)), None)
    text = [" "] * max(tile.column + tile.width for tile in row.tiles)
    for column, label in row.labels:
        if pointed is None or column != pointed.column:
            text[column : column + len(label)] = label
    if pointed is None:
        return Content.assemble(" " * indent, ("".join(text), MUTED))
    at = pointed.column
    before, after = "".join(text[:at]), "".join(text[at + 1 :])
    return Content.assemble(" " * indent, (before, MUTED), ("▾", "bold"), (after, MUTED))


def _tiles(
    row: TileRow,
    holders: Sequence[str | None],
    known: dict[str, Mark],
    selected: int | None,
) -> list[Piece]:
    """One line of tiles: what of each layer lies where; blank where it has nothing of the kind."""
    pieces: list[Piece] = []
    column, before = 0, None
    for tile in row.tiles:
        pieces.append((" " * (tile.column - column), ""))
        column = tile.column + tile.width
        here = {holders[index] for index in range(tile.first, tile.last + 1)}
        name = here.pop() if len(here) == 1 else None
        if here:
            pieces.append((_MIXED * tile.width, "bold"))
        elif name is None:
            pieces.append((" " * tile.width, ""))
        elif selected is not None and _covers(tile, selected):
            pieces.append((known[name].glyph.ljust(tile.width), _SELECTED))
        else:
            begins = name != before or tile.is_end
            pieces += _tile(known[name], tile, named=tile.width > 1 or begins)
        before = name
    return pieces


def _tile(mark: Mark, tile: Tile, *, named: bool) -> list[Piece]:
    """A tile of one device: RAM a haze, a GPU solid and with its number where there is room.

    A sliver is left free at the end, so that layers can be counted.
    """
    gap = min(0 if tile.is_end else 1, tile.width - 1)
    if tile.width == 1 and not (named or mark.in_ram):
        return [("▊", mark.colour)]
    fill = mark.glyph if mark.in_ram else " "
    body = mark.glyph + fill * (tile.width - 1 - gap)
    return [(body, mark.style), ("▌" * gap, mark.edge)]


def _legend(
    plan: Plan, places: Sequence[LayerPlace], known: dict[str, Mark], width: int
) -> list[Content]:
    rows = {row.name: row for row in plan.devices}
    pieces = []
    for name, words in held(plan, places).items():
        mark = known[name]
        chip = (mark.glyph, mark.colour if mark.in_ram else f"$text on {mark.colour}")
        pieces.append(Content.assemble(chip, " ", (place_name(rows[name]), "bold"), f" {words}"))
    return flowed(pieces, width, gap=" · ")


def _covers(tile: Tile, position: int) -> bool:
    return tile.first <= position <= tile.last


class LayerStrip(Drawn, can_focus=True):
    """The strip; arrow keys walk along the layers and tell what each one takes, as a mouse does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "right",
            "walk(1)",
            "Next layer",
            show=False,
            tooltip="What the next layer takes, and where it lies",
            id="strip.next",
        ),
        Binding(
            "left",
            "walk(-1)",
            "Layer before",
            show=False,
            tooltip="What the layer before takes, and where it lies",
            id="strip.before",
        ),
        Binding(
            "home",
            "walk(-10000)",
            "First layer",
            show=False,
            tooltip="Go to the embedding",
            id="strip.first",
        ),
        Binding(
            "end",
            "walk(10000)",
            "Last layer",
            show=False,
            tooltip="Go to the output layer",
            id="strip.last",
        ),
    ]

    selected: reactive[int | None] = reactive(None, layout=True)
    """The position of a layer among ``layer_places``; shown while the strip has the focus."""

    def __init__(
        self, plan: Plan | None = None, *, id: str | None = None, classes: str | None = None
    ) -> None:
        """Take the plan to draw; another may be assigned at any time."""
        super().__init__(plan, id=id, classes=classes)
        self._told: tuple[Plan, Sequence[LayerPlace], Sequence[LayerSize]] | None = None

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return the strip; with the focus, a line about the selected layer below it."""
        if not self.has_focus or self.selected is None:
            return strip_lines(plan, width, shades=self.shades)
        selected = min(self.selected, plan.n_layer_total)
        return strip_lines(
            plan,
            width,
            selected=selected,
            detail=self._detail(plan, selected),
            shades=self.shades,
        )

    def action_walk(self, steps: int) -> None:
        """Select another layer, ``steps`` further on, within the model."""
        if self.plan is not None:
            at = _FIRST_BLOCK if self.selected is None else self.selected
            self.selected = min(max(at + steps, 0), self.plan.n_layer_total)

    def on_focus(self) -> None:
        """Begin at the first block."""
        if self.selected is None:
            self.selected = _FIRST_BLOCK
        self.refresh(layout=True)

    def on_blur(self) -> None:
        """Show the legend again."""
        self.refresh(layout=True)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Tell of the layer under the pointer."""
        position = self._under(event)
        if self.plan is None or position is None:
            self.tooltip = None
        else:
            self.tooltip = Content(self._detail(self.plan, position))

    def on_click(self, event: events.Click) -> None:
        """Select the layer under the pointer."""
        position = self._under(event)
        if position is not None:
            self.selected = position

    def _under(self, event: events.MouseEvent) -> int | None:
        at = event.get_content_offset(self)
        if self.plan is None or at is None:
            return None
        return place_at(self.plan, self.content_size.width, at.x, at.y)

    def _detail(self, plan: Plan, position: int) -> str:
        """One layer in words. The sizes are added up once a plan, when somebody asks."""
        if self._told is None or self._told[0] is not plan:
            known = layer_places(plan)
            self._told = plan, known, layer_sizes(plan, known)
        _, places, sizes = self._told
        return layer_line(plan, places[position], sizes[position])
