"""What is known of a machine, in the words of ``localllm hardware``; and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import var
from textual.widget import Widget

from localllm.core.calibration import Observation
from localllm.core.hardware import Hardware
from localllm.core.text import printable
from localllm.tui.looks import Panel
from localllm.tui.widgets.blocks import gauge
from localllm.tui.widgets.labelled import Labelled, Row
from localllm.words.hardware import Line, Piece, Tone, sections, title

TONES: Mapping[Tone, str] = {
    "plain": "",
    "strong": "bold",
    "muted": "$text-muted",
    "good": "$text-success",
    "warn": "$text-warning",
    "bad": "$text-error",
}
_BAR = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One machine and what else there is to say of it."""

    hardware: Hardware
    observations: tuple[Observation, ...] = ()
    problem: str | None = None
    """Why own measurements cannot be read."""
    sources: tuple[tuple[str, str], ...] = ()
    """Where the figures come from, by the profile's name; nothing for this machine."""


class FactsPanel(Panel):
    """The machine. Give it ``known``."""

    known: var[Known | None] = var[Known | None](None, init=False, always_update=True)

    def __init__(self) -> None:
        """Begin before anything is known."""
        super().__init__(title="machine", id="facts")
        self._lines = Labelled()

    def compose_body(self) -> Iterable[Widget]:
        """Yield the lines."""
        yield self._lines

    def watch_known(self, known: Known | None) -> None:
        """Show another machine."""
        if known is not None:
            self._lines.rows = tuple(rows(known))
            self.show_ready()


def rows(known: Known) -> Iterator[Row]:
    """Yield the machine's name, its sections, and the sources of a profile's figures."""
    yield Row(label=Content.styled("Name", "bold"), lines=(pieces(title(known.hardware)),))
    for section in sections(known.hardware, known.observations):
        lines = tuple(_drawn(line) for line in section.lines)
        yield Row(label=Content.styled(section.label, "bold"), lines=lines, apart=True)
    if known.problem is not None:
        problem = Content.styled(printable(known.problem), "$text-warning")
        yield Row(label=Content.styled("Speed", "bold"), lines=(problem,), apart=True)
    for index, (name, source) in enumerate(known.sources):
        said = Content.assemble((printable(name), "bold"), ": ", Content(printable(source)))
        label = Content.styled("Source", "bold") if index == 0 else Content("")
        yield Row(label=label, lines=(said,), apart=index == 0)


def pieces(parts: Sequence[Piece]) -> Content:
    """Return pieces of text in the colours of their tones."""
    return Content.assemble(*((text, TONES[tone]) for text, tone in parts))


def _drawn(line: Line) -> Content:
    if line.used is None:
        return pieces(line.pieces)
    used, total = line.used
    bar = gauge(used / total if total else None, width=_BAR)
    return Content.assemble(bar, "  ", pieces(line.pieces))
