"""The status line: what runs, how fast, how full, how much memory as planned and as measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from localllm.cli.chat.styled import Row, row
from localllm.core.metered.live import Live
from localllm.units import format_bytes, format_rate

_DROPPED = 0.95
"""Of the estimate: below this share a device that is held back is named beside the speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The figures of one moment. None is shown as a dash, never as a zero."""

    model: str
    n_ctx: int
    n_ctx_used: int | None = None
    tok_s: float | None = None
    predicted_tok_s: float | None = None
    """What the plan expects, shown beside what is measured."""
    planned_bytes: int | None = None
    measured_bytes: int | None = None
    power_w: float | None = None
    power_scope: str | None = None
    """Whose watts: without it none are shown."""
    j_per_token: float | None = None
    slowed: str | None = None
    """Why a device holds its clocks back: ``power cap, 83 °C, 1,410 MHz``."""
    phase: str | None = None
    """What is going on instead of generation: ``reading the prompt 512/2,048``."""

    def parts(self, width: int) -> list[tuple[str, str]]:
        """Return texts with their styles that fit into ``width``, the least important left out."""
        speed = self.phase or f"{rate(self.tok_s)} tok/s"
        used = "–" if self.n_ctx_used is None else f"{self.n_ctx_used:,}"
        context = f"{used}/{self.n_ctx:,}"
        wanted = [
            (1, self.model, "bold"),
            (0, speed, "bold cyan"),
            (3, self._predicted(), "dim"),
            (2, self._slowed(), "yellow"),
            (2, f"context {context}", "dim"),
            (5, self._memory(), "dim"),
            (4, self._power(), "dim"),
        ]
        shown = [part for part in wanted if part[1]]
        while len(shown) > 1 and _width(shown) > width:
            shown.remove(max(shown))
        return [(text, style) for _, text, style in shown]

    def row(self, width: int) -> Row:
        """Return the line for the terminal."""
        pieces: list[tuple[str, str]] = []
        for part in self.parts(width):
            pieces += [(_SEPARATOR if pieces else " ", "dim"), part]
        return row(*pieces)

    def _predicted(self) -> str:
        known = self.predicted_tok_s is not None and self.phase is None
        return f"{rate(self.predicted_tok_s)} predicted" if known else ""

    def _power(self) -> str:
        if self.power_w is None or self.power_scope is None:
            return "— W"
        joules = (
            ""
            if self.j_per_token is None
            else f", {format_rate(self.j_per_token, digits=2)} J/token"
        )
        return f"{self.power_w:.0f} W {self.power_scope}{joules}"

    def _slowed(self) -> str:
        """The reason, once the speed is below its estimate; a cap that costs nothing is no news."""
        if self.tok_s is None or self.predicted_tok_s is None:
            return ""
        return self.slowed or "" if self.tok_s < _DROPPED * self.predicted_tok_s else ""

    def _memory(self) -> str:
        if self.planned_bytes is None:
            return ""
        planned = format_bytes(self.planned_bytes)
        if self.measured_bytes is None:
            return f"{planned} planned"
        measured = format_bytes(self.measured_bytes)
        if measured.split()[-1] == planned.split()[-1]:
            planned = planned.split()[0]
        return f"{measured} ({planned} planned)"


_SEPARATOR = " · "


def with_live(status: Status, live: Live) -> Status:
    """Return the same with the watts of this moment, and the joules a token takes at its speed."""
    decoding = live.watts is not None and status.tok_s and status.phase is None
    return replace(
        status,
        power_w=live.watts,
        power_scope=live.scope,
        j_per_token=live.watts / status.tok_s if decoding and live.watts and status.tok_s else None,
        slowed=live.slowed,
    )


def rate(tok_s: float | None) -> str:
    """Return tokens per second with three digits, or a dash."""
    if tok_s is None:
        return "–"
    return f"{tok_s:,.0f}" if tok_s >= 100 else f"{tok_s:.1f}" if tok_s >= 10 else f"{tok_s:.2f}"


def _width(parts: Sequence[tuple[int, str, str]]) -> int:
    return 1 + sum(cell_len(text) for _, text, _ in parts) + len(_SEPARATOR) * (len(parts) - 1)
