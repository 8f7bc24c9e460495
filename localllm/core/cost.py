"""What a million generated tokens cost, by rent or by electricity. Always an estimate."""

from __future__ import annotations

import math

from localllm.core.plan import CostEstimate, PowerEstimate
from localllm.core.policy import Prices
from localllm.errors import UsageError

_MILLION = 1_000_000
_SECONDS_PER_HOUR = 3_600


def check_prices(prices: Prices) -> None:
    """Raise UsageError for prices that are negative, no number or without end."""
    for label, price in (("kWh", prices.per_kwh), ("hour", prices.per_hour)):
        if price is not None and not (math.isfinite(price) and price >= 0):
            raise UsageError(
                f"A price of {price:g} per {label} makes no sense.",
                hint="Give a number from 0 up, such as 0.30 per kWh or 1.20 per hour.",
            )


def cost_estimate(
    *, tok_s: float, power: PowerEstimate | None, prices: Prices
) -> CostEstimate | None:
    """Return the cost of a million tokens; None where no price, speed or power is known.

    A rent wins over electricity: the machine's owner pays that. ``tok_s``: tokens generated per
    second. Raises UsageError for prices that make no sense.
    """
    check_prices(prices)
    if not (math.isfinite(tok_s) and tok_s > 0):
        return None
    if prices.per_hour is not None:
        per_second = prices.per_hour / _SECONDS_PER_HOUR
        basis = f"rent of {prices.per_hour:g} {prices.currency} per hour at {tok_s:.3g} tokens/s"
    elif prices.per_kwh is not None and power is not None:
        watts = power.board_w if power.wall_w is None else power.wall_w
        where = f"of the {power.scope} alone" if power.wall_w is None else "at the socket"
        per_second = watts / 1000 * prices.per_kwh / _SECONDS_PER_HOUR
        basis = (
            f"electricity at {prices.per_kwh:g} {prices.currency} per kWh, "
            f"estimated {watts:.0f} W {where} at {tok_s:.3g} tokens/s"
        )
    else:
        return None
    return CostEstimate(
        per_million_tokens=per_second / tok_s * _MILLION, currency=prices.currency, basis=basis
    )
