"""The figures of one moment of a chat, and the words for each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localllm.core.metered.live import Live
from localllm.units import format_bytes, format_rate
from localllm.words.figures import rate
from localllm.words.memory import taken

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

    @property
    def speed_text(self) -> str:
        """What is going on, or how fast."""
        return self.phase or f"{rate(self.tok_s)} tok/s"

    @property
    def predicted_text(self) -> str:
        """The estimate beside the speed; empty where there is none."""
        known = self.predicted_tok_s is not None and self.phase is None
        return f"{rate(self.predicted_tok_s)} predicted" if known else ""

    @property
    def slowed_text(self) -> str:
        """The reason, once the speed is below its estimate; a cap that costs nothing is no news."""
        if self.tok_s is None or self.predicted_tok_s is None:
            return ""
        return self.slowed or "" if self.tok_s < _DROPPED * self.predicted_tok_s else ""

    @property
    def context_text(self) -> str:
        """How much of the context is used."""
        used = "–" if self.n_ctx_used is None else f"{self.n_ctx_used:,}"
        return f"context {used}/{self.n_ctx:,}"

    @property
    def memory_text(self) -> str:
        """Measured beside planned bytes; empty where nothing was planned."""
        if self.planned_bytes is None:
            return ""
        planned = format_bytes(self.planned_bytes)
        if self.measured_bytes is None:
            return f"{planned} planned"
        return taken(self.planned_bytes, self.measured_bytes)

    @property
    def power_text(self) -> str:
        """Watts with their scope, and joules a token; a dash where none were read."""
        if self.power_w is None or self.power_scope is None:
            return "— W"
        joules = (
            ""
            if self.j_per_token is None
            else f", {format_rate(self.j_per_token, digits=2)} J/token"
        )
        return f"{self.power_w:.0f} W {self.power_scope}{joules}"


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
