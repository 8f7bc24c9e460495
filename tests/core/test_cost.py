"""Cost of a million tokens: the arithmetic of rents and of electricity."""

from __future__ import annotations

import pytest

from localllm.core.cost import check_prices, cost_estimate
from localllm.core.plan import PowerEstimate
from localllm.core.policy import Prices
from localllm.errors import UsageError

POWER = PowerEstimate(board_w=300, j_per_token=3, basis="estimate", wall_w=400)


@pytest.mark.parametrize(
    ("per_hour", "tok_s", "per_million"), [(0.75, 112, 1.86), (1.20, 247, 1.35)]
)
def test_rent_per_hour_over_tokens_per_hour(
    per_hour: float, tok_s: float, per_million: float
) -> None:
    found = cost_estimate(tok_s=tok_s, power=None, prices=Prices(per_hour=per_hour))
    assert found is not None
    assert found.per_million_tokens == pytest.approx(per_hour / 3600 / tok_s * 1e6)
    assert round(found.per_million_tokens, 2) == per_million
    assert "rent" in found.basis


def test_electricity_is_paid_at_the_socket() -> None:
    found = cost_estimate(tok_s=100, power=POWER, prices=Prices(per_kwh=0.30, currency="EUR"))
    assert found is not None
    # 400 W for 10,000 s are 1.111 kWh.
    assert found.per_million_tokens == pytest.approx(400 / 1000 * 10_000 / 3600 * 0.30)
    assert found.currency == "EUR"
    assert "socket" in found.basis and "estimated" in found.basis


def test_without_the_sockets_watts_the_basis_says_whose_were_taken() -> None:
    boards = PowerEstimate(board_w=300, j_per_token=3, basis="estimate")
    found = cost_estimate(tok_s=100, power=boards, prices=Prices(per_kwh=0.30))
    assert found is not None
    assert found.per_million_tokens == pytest.approx(0.25)
    assert "GPU boards alone" in found.basis


def test_a_rent_wins_over_electricity_and_says_so() -> None:
    found = cost_estimate(tok_s=100, power=POWER, prices=Prices(per_kwh=0.30, per_hour=1.0))
    assert found is not None
    assert found.per_million_tokens == pytest.approx(1 / 3600 / 100 * 1e6)
    assert found.basis.startswith("rent")


def test_nothing_known_costs_nothing_known() -> None:
    assert cost_estimate(tok_s=100, power=POWER, prices=Prices()) is None
    assert cost_estimate(tok_s=100, power=None, prices=Prices(per_kwh=0.3)) is None
    assert cost_estimate(tok_s=0, power=POWER, prices=Prices(per_hour=1)) is None


def test_a_price_of_nothing_is_a_price() -> None:
    found = cost_estimate(tok_s=100, power=POWER, prices=Prices(per_kwh=0.0))
    assert found is not None
    assert found.per_million_tokens == 0


def test_faster_never_costs_more() -> None:
    costs = [
        found.per_million_tokens
        for tok_s in range(1, 500, 7)
        if (found := cost_estimate(tok_s=tok_s, power=POWER, prices=Prices(per_hour=1.0)))
    ]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("price", [-0.01, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["per_kwh", "per_hour"])
def test_nonsense_prices_are_refused_with_what_is_possible(field: str, price: float) -> None:
    # mypy reads the value as any of the fields, the currency too.
    prices = Prices(**{field: price})  # type: ignore[arg-type]
    with pytest.raises(UsageError) as refused:
        check_prices(prices)
    assert refused.value.hint and "0" in refused.value.hint
    with pytest.raises(UsageError):
        cost_estimate(tok_s=100, power=POWER, prices=prices)
