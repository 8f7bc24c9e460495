"""The knobs that change anything for the model at hand, one below the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.containers import Vertical
from textual.reactive import var
from textual.widget import Widget

from localllm.core.policy import Policy
from localllm.tui.looks import Panel
from localllm.tui.plan.knob import Scene
from localllm.tui.plan.knob_row import KnobRow
from localllm.tui.plan.knobs import knobs_of
from localllm.tui.plan.wishes import reading


class KnobPanel(Panel):
    """Shows how every knob stands on a scene; the rows tell of what is turned."""

    DEFAULT_CSS: ClassVar[str] = """
    KnobPanel .knobs { height: auto; }
    """

    scene: var[Scene | None] = var(None)
    wishes: var[Policy] = var(Policy)

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(title="Knobs", empty="Knobs come with a plan.", id=id)

    def compose_body(self) -> Iterable[Widget]:
        """Yield the place of the rows."""
        yield Vertical(classes="knobs")

    def watch_scene(self) -> None:
        """Follow another plan."""
        self._follow()

    def watch_wishes(self) -> None:
        """Follow what was turned, before there is a plan of it."""
        self._follow()

    def _follow(self) -> None:
        if self.scene is None or not self.is_attached:
            return
        wanted = knobs_of(self.scene)
        rows = list(self.query(KnobRow))
        if [row.knob for row in rows] != list(wanted):
            rows = self._renewed(rows, [KnobRow(knob) for knob in wanted])
        for row in rows:
            row.reading = reading(row.knob, self.wishes, self.scene)
        self.show_ready()

    def _renewed(self, rows: list[KnobRow], wanted: list[KnobRow]) -> list[KnobRow]:
        """Other rows; those that stay keep their place and the focus."""
        place = self.query_one(".knobs", Vertical)
        stays = {row.knob.name: row for row in rows}
        ordered = [stays.pop(row.knob.name, row) for row in wanted]
        for row in stays.values():
            row.remove()
        after: KnobRow | None = None
        for row in ordered:
            if row.parent is None:
                place.mount(row, after=after) if after else place.mount(row, before=0)
            after = row
        return ordered
