"""What a person may write for a speed, an energy, a power limit or a price: with its unit, or bare.

A unit that means something else is refused, never dropped. Each function raises ValueError with
the sentence that follows the value in the error message.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

from localllm.core.policy import Prices
from localllm.errors import UsageError
from localllm.units import ENERGY_UNITS, RATE_UNITS, parse_amount

POWER_UNITS = {"": 1.0, "w": 1.0, "watt": 1.0, "watts": 1.0, "kw": 1000.0}
"""In watts."""

_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP"}
_CODES = re.compile(
    "AED|AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN"
    "|RON|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_PRICE = re.compile(
    r"([^\d\s.+-]*)\s*(-?\d*\.?\d+(?:e[+-]?\d+)?)\s*([^\d\s./+-]*)\s*(?:/\s*([a-z]+))?",
    re.IGNORECASE,
)
_KWH, _HOUR = frozenset({"kwh"}), frozenset({"h", "hr", "hour"})


class Price(NamedTuple):
    """A price as it was written."""

    amount: float
    currency: str | None
    """A code; None for a bare number."""


def parse_rate(text: str) -> float:
    """Read a decode speed above 0 in tokens per second: ``20``, ``20tok/s``, ``20 t/s``."""
    return _above_0(parse_amount(text, RATE_UNITS), "is not a speed above 0: write 20 or 20tok/s")


def parse_energy(text: str) -> float:
    """Read an energy above 0 in joules per token: ``0.5``, ``0.5J/token``, ``500mJ/token``."""
    wrong = "is not an energy above 0: write 0.5, 0.5J/token or 500mJ/token"
    return _above_0(parse_amount(text, ENERGY_UNITS), wrong)


def parse_power(text: str) -> float:
    """Read a power above 0 in watts: ``300``, ``300W``, ``0.3kW``."""
    return _above_0(parse_amount(text, POWER_UNITS), "is not a power above 0: write 300W or 0.3kW")


def parse_kwh_price(text: str) -> Price:
    """Read a price of electricity from 0 up: ``0.30``, ``0.30EUR``, ``$0.30/kWh``."""
    return _price(text, per=_KWH, example="0.30, 0.30EUR or 0.30EUR/kWh")


def parse_hour_price(text: str) -> Price:
    """Read a price of an hour from 0 up: ``0.75``, ``$0.75``, ``0.75 EUR/h``."""
    return _price(text, per=_HOUR, example="0.75, 0.75EUR or 0.75EUR/h")


def parse_currency(text: str) -> str:
    """Read a currency: a code (``EUR``) or a sign."""
    word = text.strip()
    if not 0 < len(word) <= 4 or not word.isprintable() or any(c.isdigit() for c in word):
        raise ValueError("is no currency: give a code such as EUR")
    return currency_code(word)


def prices_of(kwh: Price | None, hour: Price | None, currency: str | None) -> Prices | None:
    """Return the prices in their one currency; raises UsageError where several are named."""
    given = [price for price in (kwh, hour) if price is not None]
    if not given:
        return None
    named = {currency, *(price.currency for price in given)} - {None}
    if len(named) > 1:
        raise UsageError(
            f"These prices are in {' and '.join(sorted(map(str, named)))}.",
            hint="Write them in one currency, and --currency as well.",
        )
    prices = Prices(
        per_kwh=kwh.amount if kwh is not None else None,
        per_hour=hour.amount if hour is not None else None,
    )
    return replace(prices, currency=str(*named)) if named else prices


def currency_code(word: str) -> str:
    """Return a currency's code where it is a sign that stands for one."""
    return _SIGNS.get(word, word.upper())


def _price(text: str, *, per: frozenset[str], example: str) -> Price:
    match = _PRICE.fullmatch(text.strip())
    wrong = ValueError(f"is not a price: give an amount from 0 up, such as {example}")
    if match is None:
        raise wrong
    before, number, behind, unit = match.groups()
    amount, currency = float(number), currency_code(before or behind)
    known = not currency or _CODES.fullmatch(currency)
    if (before and behind) or not known or (unit and unit.lower() not in per):
        raise wrong
    if not (math.isfinite(amount) and amount >= 0):
        raise wrong
    return Price(amount, currency or None)


def _above_0(amount: float | None, wrong: str) -> float:
    if amount is None or not (math.isfinite(amount) and amount > 0):
        raise ValueError(wrong)
    return amount
