"""Predicted beside measured: the one place where the two meet, and the words for it.

Every shell says it the same way: what was expected with its range, what was measured with its
error, and how far the second is from the first. An estimate is called one, memory is planned, and
what was not measured has a reason and never a figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from localllm.core.buffers import BufferMemory
from localllm.core.expected_energy import ExpectedEnergy
from localllm.core.metered.readings import Energy, Unmeasured
from localllm.core.plan import Plan
from localllm.core.prediction import Prediction
from localllm.units import format_bytes, format_rate, format_with_error

Unit = Literal["bytes", "tok/s", "J/token", "W"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """One figure as it was expected and as it came out. None: there is no such figure."""

    unit: Unit
    predicted: float | None
    measured: float | None
    low: float | None = None
    high: float | None = None
    """The 80 % range of ``predicted``."""
    sigma: float | None = None
    """Standard error of ``measured``, or the deviation between repetitions."""
    rough: bool = False
    """``measured`` says little more than its size: printed with ``~``."""
    unmeasured: str | None = None
    """Why there is no ``measured``, without a full stop."""

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None also where that is beyond all numbers."""
        if self.measured is None or not self.predicted:
            return None
        ratio = self.measured / self.predicted
        return ratio if math.isfinite(ratio) else None

    @property
    def off(self) -> float | None:
        """How far the measurement is from the prediction, as a share of the prediction."""
        ratio = self.ratio
        return None if ratio is None else ratio - 1

    @property
    def within_range(self) -> bool | None:
        """Whether the measurement lies in the stated range; None without one or the other."""
        if self.measured is None or self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Memory of one device, model + context + compute: as planned and as llama.cpp allocated it."""

    device: str
    planned_bytes: int
    measured_bytes: int

    @property
    def reconciled(self) -> Reconciled:
        """The two as one figure."""
        return reconciled_bytes(self.planned_bytes, self.measured_bytes)


def compare_memory(plan: Plan, measured: Sequence[BufferMemory]) -> tuple[Comparison, ...]:
    """Return planned beside allocated bytes of each device of a plan that llama.cpp reports.

    The host's mapped file is left out on both sides: llama.cpp counts the file's whole span,
    repacked and offloaded tensors included, and the kernel may evict it.
    """
    by_name = {
        row.name: row.model_bytes - row.mapped_bytes + row.context_bytes + row.compute_bytes
        for row in measured
    }
    return tuple(
        Comparison(
            device=row.name,
            planned_bytes=row.self_bytes - row.mapped_bytes,
            measured_bytes=by_name[row.name],
        )
        for row in plan.devices
        if row.name in by_name
    )


def reconciled_bytes(planned: int | None, measured: int | None) -> Reconciled:
    """Return planned beside allocated memory."""
    return Reconciled(unit="bytes", predicted=planned, measured=measured)


def reconciled_speed(
    prediction: Prediction | None, tok_s: float | None, *, std_tok_s: float | None = None
) -> Reconciled:
    """Return a speed beside its estimate; ``std_tok_s``: the deviation between repetitions."""
    return Reconciled(
        unit="tok/s",
        predicted=None if prediction is None else prediction.tok_s,
        low=None if prediction is None else prediction.low,
        high=None if prediction is None else prediction.high,
        measured=tok_s,
        sigma=std_tok_s,
    )


def reconciled_energy(
    expected: ExpectedEnergy | None, energy: Energy | Unmeasured, *, n_tokens: int
) -> Reconciled:
    """Return the energy of each of ``n_tokens`` beside its estimate; gross, idling included."""
    measured = sigma = None
    rough, unmeasured = False, None
    if isinstance(energy, Unmeasured):
        unmeasured = energy.reason
    elif n_tokens < 1:
        unmeasured = "no tokens were computed"
    else:
        measured, sigma, rough = energy.joules / n_tokens, energy.sigma_j / n_tokens, energy.rough
    return Reconciled(
        unit="J/token",
        predicted=None if expected is None else expected.j_per_token,
        low=None if expected is None else expected.low,
        high=None if expected is None else expected.high,
        measured=measured,
        sigma=sigma,
        rough=rough,
        unmeasured=unmeasured,
    )


def sentence(figure: Reconciled) -> str:
    """Return both sides in words: ``estimated 7.10 tok/s (5.2 to 9.8), measured 6.80 (-4.2 %)``.

    Memory is ``planned``; what is outside its range, or equal to the byte, is said to be.
    """
    parts = []
    if figure.predicted is not None:
        word = "planned" if figure.unit == "bytes" else "estimated"
        parts.append(f"{word} {predicted_text(figure)}")
    if figure.measured is None:
        why = f": {figure.unmeasured}" if figure.unmeasured else ""
        return ", ".join([*parts, f"not measured{why}"])
    text = f"measured {measured_text(figure, unit=figure.predicted is None)}"
    remark = difference(figure)
    if remark:
        text += f" ({remark})"
    return ", ".join([*parts, text])


def predicted_text(figure: Reconciled, *, unit: bool = True) -> str:
    """Return what was expected, with its range: ``7.10 tok/s (5.2 to 9.8)``; a dash without it.

    Memory always has its unit.
    """
    if figure.predicted is None:
        return "–"
    with_unit = unit or figure.unit == "bytes"
    text = amount(figure.predicted, figure.unit) if with_unit else _rate(figure.predicted)
    if figure.low is None or figure.high is None:
        return text
    low, high = (format_rate(end, digits=2) for end in (figure.low, figure.high))
    return f"{text} ({low} to {high})"


def measured_text(figure: Reconciled, *, unit: bool = True) -> str:
    """Return what was measured, with its error: ``2.8 ± 0.1 J/token``; a dash without it.

    Memory always has its unit.
    """
    if figure.measured is None:
        return "–"
    if figure.unit == "bytes":
        return amount(figure.measured, "bytes")
    text = with_error(figure.measured, figure.sigma, rough=figure.rough)
    return f"{text} {figure.unit}" if unit else text


def difference(figure: Reconciled) -> str:
    """Return how far apart the two are: ``-4.2 %``, ``+73 %, outside the range``; else nothing."""
    off = figure.off
    if off is None:
        return ""
    if figure.unit == "bytes" and figure.predicted == figure.measured:
        return "to the byte"
    outside = ", outside the range" if figure.within_range is False else ""
    return percent(off) + outside


def percent(share: float) -> str:
    """Return a signed share: ``-4.2 %``, ``+12 %``, ``+1,140 %``; one that rounds away has no sign.

    Plain ASCII: a terminal that cannot show a minus sign must not lose it.
    """
    digits = 0 if abs(share) >= 0.0995 else 1
    text = f"{100 * share:+,.{digits}f}"
    return f"{'0.0' if not text.strip('+-0.') else text} %"


def amount(value: float, unit: Unit) -> str:
    """Return a figure with its unit: ``4.52 GiB``, ``7.10 tok/s``."""
    return format_bytes(round(value)) if unit == "bytes" else f"{_rate(value)} {unit}"


def with_error(value: float, sigma: float | None, *, rough: bool = False) -> str:
    """Return a figure to the digit in which its error begins: ``2.8 ± 0.1``, ``412 ± 6``.

    Rough, or no larger than its error, it is
    ``~2.8``. Without an error it has three digits.
    """
    if rough or value <= 0:
        return f"~{format_rate(value, digits=2)}"
    if sigma is None or not sigma > 0:
        return _rate(value)
    if sigma >= value:
        return f"~{format_rate(value, digits=1)}"
    return format_with_error(value, sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far predictions of one unit were off, over several runs."""

    n: int
    median_off: float
    """Median of the absolute differences, as a share of the prediction."""
    n_ranged: int
    """How many stated a range, and"""
    n_inside: int
    """how many of these were in it."""


def accuracy(figures: Iterable[Reconciled]) -> Accuracy | None:
    """Return how far predictions were off; None where no figure has both sides."""
    compared = [figure for figure in figures if figure.off is not None]
    if not compared:
        return None
    ranged = [f.within_range for f in compared if f.within_range is not None]
    return Accuracy(
        n=len(compared),
        median_off=median(abs(figure.off or 0.0) for figure in compared),
        n_ranged=len(ranged),
        n_inside=sum(ranged),
    )


def _rate(value: float) -> str:
    """Three digits; what is too small for them is not called zero."""
    text = format_rate(value)
    return "under 0.000001" if value > 0 and not text.strip("0.") else text
