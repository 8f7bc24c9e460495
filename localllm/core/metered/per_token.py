"""Joules per token, gross and beyond idle, and how they are printed: with both errors, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localllm.core.metered.readings import Z_95, Energy, Unmeasured
from localllm.units import format_rate, format_with_error

NOISE = "<= noise"
"""What is printed for an energy beyond idle that is below two of its standard errors."""

NO_IDLE = "the idle draw is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerToken:
    """An energy shared out over the tokens of its window."""

    j_per_token: float
    """May be negative where ``noise`` is set: then it is not to be shown."""
    sigma: float
    """Standard error of ``j_per_token``."""
    gain: float
    """Systematic relative error, beside ``sigma``."""
    n_tokens: int
    basis: Literal["gross", "net"]
    """``net``: less what idling with the model loaded would have taken."""
    scope: str
    rough: bool = False
    noise: bool = False
    """Net energy below two of its standard errors."""
    partial: bool = False
    """A part of the scope was not measured: the scope says which."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval, in joules per token: the gain may add to any error."""
        return max(0.0, self.j_per_token - Z_95 * self.sigma - self.gain * abs(self.j_per_token))

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval, in joules per token."""
        return max(0.0, self.j_per_token + Z_95 * self.sigma + self.gain * abs(self.j_per_token))

    @property
    def tokens_per_j(self) -> float | None:
        """Tokens for a joule, which is tokens/s for a watt; None for noise."""
        return None if self.noise or self.j_per_token <= 0 else 1 / self.j_per_token


def per_token(
    energy: Energy | Unmeasured, n_tokens: int, *, net: bool = False
) -> PerToken | Unmeasured:
    """Return joules per token: ``E / n``; ``net``: ``(E - P_idle * T) / n``."""
    if isinstance(energy, Unmeasured):
        return energy
    if n_tokens <= 0:
        return Unmeasured(reason="there were no tokens in the window")
    joules, sigma_j = energy.joules, energy.sigma_j
    if net:
        net_j, net_sigma_j = energy.net_joules, energy.net_sigma_j
        if net_j is None or net_sigma_j is None:
            return Unmeasured(reason=NO_IDLE)
        joules, sigma_j = net_j, net_sigma_j
    return PerToken(
        j_per_token=joules / n_tokens,
        sigma=sigma_j / n_tokens,
        gain=energy.gain,
        n_tokens=n_tokens,
        basis="net" if net else "gross",
        scope=energy.scope,
        rough=energy.rough,
        noise=energy.net_is_noise if net else False,
        partial=bool(energy.missing),
    )


def per_token_text(figure: PerToken) -> str:
    """Return ``0.412 ± 0.006 J/token (stat) ± 5 % (sensor)``, ``~0.41 J/token``, ``<= noise``.

    Where the interval reaches 0: ``<= 0.93 J/token``, its upper end. A figure of a part of its
    scope names it: ``0.412 ± ... (sensor), 1 of 2 GPU boards``.
    """
    text = _text(
        figure.j_per_token,
        figure.sigma,
        figure.gain,
        "J/token",
        rough=figure.rough,
        noise=figure.noise,
    )
    return f"{text}, {figure.scope}" if figure.partial and not figure.noise else text


def energy_text(energy: Energy, *, net: bool = False) -> str:
    """Return an energy as ``per_token_text`` does: ``412 ± 6 J (stat) ± 5 % (sensor)``.

    ``n/a (the idle draw is not known)`` for a net energy without it.
    """
    joules: float | None = energy.joules
    sigma_j: float | None = energy.sigma_j
    if net:
        joules, sigma_j = energy.net_joules, energy.net_sigma_j
    if joules is None or sigma_j is None:
        return f"n/a ({NO_IDLE})"
    noise = net and energy.net_is_noise
    text = _text(joules, sigma_j, energy.gain, "J", rough=energy.rough, noise=noise)
    return f"{text}, {energy.scope}" if energy.missing and not noise else text


def _text(value: float, sigma: float, gain: float, unit: str, *, rough: bool, noise: bool) -> str:
    """Print a value to the digit in which its standard error begins."""
    if noise or value < 0:
        return NOISE
    high = value + Z_95 * sigma + gain * value
    if Z_95 * sigma >= value:
        # The interval reaches 0: all that is known is its upper end.
        return f"<= {format_rate(high, digits=2)} {unit}"
    if rough:
        return f"~{format_rate(value, digits=2)} {unit}"
    return f"{format_with_error(value, sigma)} {unit} (stat) ± {100 * gain:.2g} % (sensor)"
