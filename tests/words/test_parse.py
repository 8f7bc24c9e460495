"""What may be written for a value, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localllm.cli import amounts
from localllm.units import GiB, MiB
from localllm.words import parse


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (parse.parse_n_ctx, "4096", 4096),
        (parse.parse_n_ctx, "32k", 32768),
        (parse.parse_n_ctx, "8K", 8192),
        (parse.parse_n_ctx, "MAX", "max"),
        (parse.parse_whole, "0", 0),
        (parse.parse_whole, "00", 0),
        (amounts.parse_rate, "20", 20.0),
        (amounts.parse_rate, "20 tok/s", 20.0),
        (amounts.parse_energy, ".5J/token", 0.5),
        (amounts.parse_energy, "500 mJ / token", 0.5),
        (amounts.parse_power, "300W", 300.0),
        (amounts.parse_power, "0.3 kW", 300.0),
        (amounts.parse_kwh_price, "0", (0.0, None)),
        (amounts.parse_kwh_price, "0.30", (0.3, None)),
        (amounts.parse_kwh_price, "€0.30", (0.3, "EUR")),
        (amounts.parse_kwh_price, "0.30 eur/kWh", (0.3, "EUR")),
        (amounts.parse_hour_price, "USD 2/h", (2.0, "USD")),
        (amounts.parse_currency, "chf", "CHF"),
        (amounts.parse_currency, "$", "USD"),
        (parse.parse_pair, "512,128", (512, 128)),
        (parse.parse_n_gpu_layers, "0", 0),
        (parse.parse_n_gpu_layers, "99", 99),
        (parse.parse_n_gpu_layers, "auto", None),
        (parse.parse_n_gpu_layers, "-1", None),
        (parse.parse_n_gpu_layers, "all", parse.ALL_LAYERS),
        (parse.parse_n_gpu_layers, "-2", parse.ALL_LAYERS),
        (parse.parse_kv_type, "Q8_0", "q8_0"),
        (parse.parse_kv_type, "auto", "auto"),
        (parse.parse_flash_attn, "on", "on"),
        (parse.parse_flash_attn, "0", "off"),
        (parse.parse_flash_attn, "1", "on"),
        (parse.parse_flash_attn, "auto", "auto"),
        (parse.parse_tensor_split, "3,1", (3.0, 1.0)),
        (parse.parse_tensor_split, "3/1/0", (3.0, 1.0, 0.0)),
        (parse.parse_size, "20GiB", 20 * GiB),
        (parse.parse_size, "512M", 512 * MiB),
        (parse.parse_headroom, "1GiB", GiB),
        (parse.parse_headroom, "5%", 0.05),
        (parse.parse_headroom, "0%", 0.0),
        (parse.parse_headroom, "none", 0),
    ],
)
def test_what_is_understood(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (parse.parse_n_ctx, "0"),
        (parse.parse_n_ctx, "-4096"),
        (parse.parse_n_ctx, "many"),
        (parse.parse_n_ctx, "4.5k"),
        (parse.parse_count, ""),
        (parse.parse_count, "9" * 5000),
        (parse.parse_whole, "-4"),
        (amounts.parse_rate, "0"),
        (amounts.parse_rate, "20J/token"),
        (amounts.parse_rate, "20 tok/min"),
        (amounts.parse_energy, "0.5W"),
        (amounts.parse_energy, "1e999"),
        (amounts.parse_power, "300tok/s"),
        (amounts.parse_power, "1MW"),
        (amounts.parse_kwh_price, "30ct"),
        (amounts.parse_kwh_price, "0.3kWh"),
        (amounts.parse_kwh_price, "0.3EUR/h"),
        (amounts.parse_kwh_price, "$0.3EUR"),
        (amounts.parse_hour_price, "1/kWh"),
        (amounts.parse_hour_price, "-1"),
        (amounts.parse_hour_price, "inf"),
        (parse.parse_pair, "512"),
        (parse.parse_pair, "1,2,3"),
        (parse.parse_n_gpu_layers, "-3"),
        (parse.parse_n_gpu_layers, "half"),
        (parse.parse_kv_type, "q3_K"),
        (parse.parse_flash_attn, "maybe"),
        (parse.parse_tensor_split, "3,x"),
        (parse.parse_tensor_split, "0,0"),
        (parse.parse_tensor_split, "1,-1"),
        (parse.parse_tensor_split, "nan"),
        (parse.parse_size, "0"),
        (parse.parse_size, "a lot"),
        (parse.parse_headroom, "100%"),
        (parse.parse_headroom, "x%"),
        (parse.parse_headroom, "some"),
    ],
)
def test_what_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_a_share_and_a_size_are_told_apart_by_their_type() -> None:
    """``none`` is 0 bytes and 0% is a share of nothing: the policy has a field for each."""
    assert isinstance(parse.parse_headroom("0%"), float)
    assert isinstance(parse.parse_headroom("none"), int)
