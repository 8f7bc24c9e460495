"""Which power meters a machine has, as a shell shows it: with their sources, or why there is none.

Values and their document; the meters themselves are in ``power/``.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.metered.readings import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a scope has no meter here."""

    scope: str
    device: str
    """Empty where no device of that kind was found at all."""
    reason: str
    """Without its full stop: ``no permission to read RAPL``."""
    fix: str | None = None
    """The one line that would enable it."""

    @property
    def label(self) -> str:
        """``GPU board amd0``, ``CPU package``."""
        return f"{self.scope} {self.device}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMeter:
    """A meter that answers, and what it said at once."""

    source: Source
    watts: float | None = None
    unknown: str | None = None
    """Why there are no ``watts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMeters:
    """The meters of a machine, in the order of preference."""

    meters: tuple[SeenMeter, ...] = ()
    missing: tuple[Missing, ...] = ()

    @property
    def document(self) -> dict[str, object]:
        """``meters`` and ``no_meters``, ready for ``json.dumps``."""
        return {
            "meters": [
                {
                    "source": seen.source.name,
                    "scope": seen.source.scope,
                    "device": seen.source.device,
                    "pci_id": seen.source.pci_id,
                    "kind": seen.source.kind,
                    "period_s": seen.source.period_s,
                    "window_s": seen.source.window_s,
                    "duty": seen.source.duty,
                    "gain": seen.source.gain,
                    "note": seen.source.note,
                    "watts": seen.watts,
                    "unknown": {} if seen.unknown is None else {"watts": seen.unknown},
                }
                for seen in self.meters
            ],
            "no_meters": [
                {
                    "scope": missing.scope,
                    "device": missing.device,
                    "reason": missing.reason,
                    "fix": missing.fix,
                }
                for missing in self.missing
            ],
        }


KIND_WORDS = {
    "counter": "counts joules",
    "average": "average",
    "instant": "instantaneous",
}
"""``Source.kind`` for a person."""
