"""Bytes, rates and durations as a person reads them, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

KiB = 1024
MiB = 1024**2
GiB = 1024**3
TiB = 1024**4

_BINARY_STEPS = ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB"))
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_AMOUNT = re.compile(r"\s*(-?\d*\.?\d+(?:e[+-]?\d+)?)\s*([a-z/ ]*)", re.IGNORECASE)

RATE_UNITS: Mapping[str, float] = dict.fromkeys(
    ("", "tok/s", "t/s", "tokens/s", "token/s", "tok/sec", "tps", "tok", "tokens"), 1.0
)
"""What a speed may be written in, without spaces and in small letters, in tokens per second."""

ENERGY_UNITS: Mapping[str, float] = {"": 1.0} | {
    f"{joule}{token}": factor
    for joule, factor in {"j": 1.0, "joule": 1.0, "joules": 1.0, "mj": 0.001}.items()
    for token in ("", "/token", "/tok", "/t")
}
"""The same for an energy, in joules per token."""

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def format_bytes(n_bytes: int) -> str:
    """Return a size with three significant digits: ``"4.58 GiB"``, ``"129.5 MiB"``, ``"512 B"``."""
    sign, size = ("-", -n_bytes) if n_bytes < 0 else ("", n_bytes)
    for step, name in _BINARY_STEPS:
        if size >= step:
            value = size / step
            digits = 2 if value < 10 else 1 if value < 1000 else 0
            return f"{sign}{value:,.{digits}f} {name}"
    return f"{sign}{size} B"


def format_part(n_bytes: int, of_bytes: int) -> str:
    """Return a part of a size in the unit of the whole: ``"16.9 of 40.5 GiB"``."""
    whole = format_bytes(of_bytes)
    figure, _, unit = whole.partition(" ")
    digits = len(figure.partition(".")[2])
    step = next((step for step, name in _BINARY_STEPS if name == unit), 1)
    return f"{n_bytes / step:,.{digits}f} of {whole}"


def format_transfer(bytes_per_s: float) -> str:
    """Return a rate of bytes, decimal as networks and disks are sold: ``"52.3 MB/s"``."""
    for step, name in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if bytes_per_s >= 0.9995 * step:
            return f"{format_rate(bytes_per_s / step)} {name}"
    return f"{bytes_per_s:.0f} B/s"


def format_duration(seconds: float) -> str:
    """Return a duration: ``"0.21 s"``, ``"12 s"``, ``"3 min 05 s"``, ``"2 h 10 min"``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_count(n: int) -> str:
    """Return a number of parameters or tokens: ``"8.03 B"``, ``"1.24 M"``, ``"512"``."""
    for step, name in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        value = float(f"{n / step:.3g}")
        if value >= 1:
            return f"{value:.3g} {name}" if value < 1000 else f"{value:,.0f} {name}"
    return f"{n:,}"


def counted(n: int, noun: str) -> str:
    """Return a number of things: ``"1 thread"``, ``"8 threads"``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_rate(value: float, *, digits: int = 3) -> str:
    """Return a rate or an energy with so many significant digits: ``"0.452"``, ``"1,120"``.

    Never an exponent: what is under a millionth is ``"0.000000"``.
    """
    rounded = float(f"{value:.{digits}g}")
    magnitude = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{min(max(digits - 1 - magnitude, 0), 6)}f}"


_MOST_DIGITS = 4
"""No sensor is better than that, however small the statistical error."""
_MOST_PLACES = 6


def format_with_error(value: float, sigma: float) -> str:
    """Return a figure above 0 to the digit in which its error begins: ``2.8 ± 0.1``, ``412 ± 6``.

    An error below the last digit that is shown is stated as that digit, never as 0.
    """
    magnitude = math.floor(math.log10(value))
    digits = magnitude - math.floor(math.log10(sigma)) + 1 if sigma > 0 else _MOST_DIGITS
    places = min(min(digits, _MOST_DIGITS) - 1 - magnitude, _MOST_PLACES)
    error = max(round(sigma, places), 10.0**-places)
    shown, beside = (f"{round(x, places):,.{max(places, 0)}f}" for x in (value, error))
    return f"{shown} ± {beside}"


def format_stated(value: float) -> str:
    """Return a figure as a person would state it, without an exponent: ``"20"``, ``"0.5"``."""
    text = f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6f}"
    return text.rstrip("0").rstrip(".")


def format_range(low: float, high: float) -> str:
    """Return the two ends of a range, two significant digits each: ``"31-50"``, ``"0.64-1.2"``."""
    return f"{format_rate(low, digits=2)}-{format_rate(high, digits=2)}"


def parse_bytes(text: str) -> int:
    """Read ``"1GiB"``, ``"512 MB"``, ``"2g"`` or a plain number of bytes.

    Every prefix is binary, as llama.cpp's and Docker's are: ``GB`` and ``GiB`` both mean 2^30.
    Raises ``ValueError`` on anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    number, prefix, _ = match.groups()
    return round(float(number) * 1024.0 ** _POWERS[prefix.lower()])


def parse_amount(text: str, units: Mapping[str, float]) -> float | None:
    """Read a number and its unit, in what ``units`` are multiples of; None for anything else.

    ``units``: factors by unit without spaces and in small letters, ``""`` for a bare number.
    """
    match = _AMOUNT.fullmatch(text)
    factor = units.get("".join(match[2].lower().split())) if match else None
    return float(match[1]) * factor if match and factor else None
