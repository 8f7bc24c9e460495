"""Predicted beside measured: the arithmetic, the words, and whose watts may be compared."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.buffers import BufferMemory
from localllm.core.expected_energy import expected_energy, scope_w
from localllm.core.metered.readings import Energy, Unmeasured
from localllm.core.plan import Plan, PowerEstimate
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.prediction import predicted
from localllm.core.reconcile import (
    Reconciled,
    Unit,
    accuracy,
    compare_memory,
    measured_text,
    percent,
    reconciled_bytes,
    reconciled_energy,
    reconciled_speed,
    sentence,
    with_error,
)
from tests.support.specs import gpu, llama_3_8b, machine

POSITIVE = st.floats(1e-5, 1e9, allow_nan=False)


def card(name: str = "CUDA0") -> Any:
    return replace(
        gpu(name), power_limit_w=350.0, memory_bandwidth_gb_s=936.0, memory_type="GDDR6X"
    )


def plan(*cards: str, **wishes: Any) -> Plan:
    hardware = machine(*(card(name) for name in cards))
    return make_plan(llama_3_8b(), hardware, Policy(n_ctx=4096, **wishes))


def energy(**changes: Any) -> Energy:
    values: dict[str, Any] = {
        "joules": 280.0, "sigma_j": 12.0, "gain": 0.05, "began_s": 5.0, "ended_s": 6.0,
        "scope": "GPU board", "sources": ("NVML energy counter",), "kinds": ("counter",),
    }  # fmt: skip
    return Energy(**(values | changes))


def power_of(made: Plan) -> PowerEstimate:
    assert made.power is not None
    return made.power


# -- the words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (
            reconciled_bytes(4_853_000_000, 4_843_000_000),
            "planned 4.52 GiB, measured 4.51 GiB (-0.2 %)",
        ),
        (reconciled_bytes(2**30, 2**30), "planned 1.00 GiB, measured 1.00 GiB (to the byte)"),
        (reconciled_bytes(2**30, None), "planned 1.00 GiB, not measured"),
        (reconciled_bytes(0, 2**20), "planned 0 B, measured 1.00 MiB"),
        (
            Reconciled(unit="tok/s", predicted=7.1, low=5.2, high=9.8, measured=6.8),
            "estimated 7.10 tok/s (5.2 to 9.8), measured 6.80 (-4.2 %)",
        ),
        (
            Reconciled(unit="tok/s", predicted=7.1, low=5.2, high=9.8, measured=12.3, sigma=0.2),
            "estimated 7.10 tok/s (5.2 to 9.8), measured 12.3 ± 0.2 (+73 %, outside the range)",
        ),
        (reconciled_speed(None, 6.8), "measured 6.80 tok/s"),
        (
            reconciled_energy(None, energy(rough=True), n_tokens=100),
            "measured ~2.8 J/token",
        ),
        (
            replace(
                reconciled_energy(None, Unmeasured(reason="no meter"), n_tokens=9), predicted=3.1
            ),
            "estimated 3.10 J/token, not measured: no meter",
        ),
        (
            reconciled_energy(None, Unmeasured(reason="no meter"), n_tokens=9),
            "not measured: no meter",
        ),
    ],
)
def test_both_sides_in_one_sentence(figure: Reconciled, text: str) -> None:
    assert sentence(figure) == text


@given(st.sampled_from(("tok/s", "J/token", "W")), POSITIVE, POSITIVE, st.floats(0, 1e9))
def test_a_sentence_says_what_is_so(
    unit: Unit, predicted: float, measured: float, sigma: float
) -> None:
    figure = Reconciled(
        unit=unit,
        predicted=predicted,
        low=predicted / 1.5,
        high=predicted * 1.5,
        measured=measured,
        sigma=sigma,
    )
    text = sentence(figure)
    assert not re.search(r"nan|inf|e[+-]\d|None", text)
    assert re.match(rf"estimated [\d,.]+ {re.escape(unit)} \([\d,.]+ to [\d,.]+\), measured ", text)
    assert ("outside" in text) == (not predicted / 1.5 <= measured <= predicted * 1.5)
    sign = re.search(r"\(([+-]?)[\d,.]+ %", text)
    assert sign is not None and figure.off is not None
    assert sign[1] in ("", "+" if figure.off > 0 else "-")
    shown = float(measured_text(figure, unit=False).split(" ±")[0].strip("~").replace(",", ""))
    assert shown == pytest.approx(measured, rel=0.06, abs=max(sigma, 1e-6))


@given(POSITIVE, POSITIVE)
def test_an_error_is_shown_to_its_own_digit(value: float, sigma: float) -> None:
    text = with_error(value, sigma).replace(",", "")
    assert text.startswith("~") == (sigma >= value)
    if sigma < value:
        shown, error = (float(part) for part in text.split(" ± "))
        assert error == pytest.approx(sigma, rel=0.51, abs=max(1e-3 * value, 1e-6)) and error > 0
        assert shown == pytest.approx(value, abs=max(sigma, 1e-3 * value, 1e-6))
        assert with_error(value, sigma, rough=True).startswith("~")


@given(st.floats(-1, 1e6))
def test_a_share_has_its_sign_or_is_nothing(share: float) -> None:
    text = percent(share)
    if abs(share) < 0.0005:
        assert text in ("0.0 %", "+0.1 %", "-0.1 %")
    else:
        assert text[0] == ("-" if share < 0 else "+")
        assert float(text[:-2].replace(",", "")) == pytest.approx(100 * share, abs=0.5)
    assert text.isascii()


def test_too_little_to_show_is_not_nothing() -> None:
    tiny = Reconciled(unit="J/token", predicted=3e-9, measured=1e-9)
    assert sentence(tiny) == "estimated under 0.000001 J/token, measured under 0.000001 (-67 %)"


# -- the arithmetic ----------------------------------------------------------------------------


def test_what_is_missing_compares_with_nothing() -> None:
    for figure in (
        Reconciled(unit="W", predicted=None, measured=3.0),
        Reconciled(unit="W", predicted=0.0, measured=3.0),
        Reconciled(unit="W", predicted=3.0, measured=None),
        Reconciled(unit="W", predicted=5e-324, measured=1e300),
    ):
        assert (figure.ratio, figure.off, figure.within_range) == (None, None, None)


def test_memory_is_compared_without_the_mapped_file() -> None:
    made = plan()
    host = made.host
    engine = BufferMemory(
        name="host",
        model_bytes=host.model_bytes + 999,
        context_bytes=host.context_bytes,
        compute_bytes=host.compute_bytes + 5,
        mapped_bytes=host.mapped_bytes + 999,
    )
    (row,) = compare_memory(made, [engine, replace(engine, name="CUDA7")])
    assert (row.device, row.measured_bytes - row.planned_bytes) == ("host", 5)
    assert compare_memory(made, []) == ()


def test_the_accuracy_is_the_middle_of_what_has_both_sides() -> None:
    figures = [
        Reconciled(unit="tok/s", predicted=10.0, low=8.0, high=12.0, measured=9.0),
        Reconciled(unit="tok/s", predicted=10.0, low=8.0, high=12.0, measured=14.0),
        Reconciled(unit="tok/s", predicted=10.0, measured=8.0),
        Reconciled(unit="tok/s", predicted=None, measured=8.0),
    ]
    found = accuracy(figures)
    assert found is not None
    assert (found.n, found.n_ranged, found.n_inside) == (3, 2, 1)
    assert found.median_off == pytest.approx(0.2)
    assert accuracy(figures[3:]) is None


# -- whose watts -------------------------------------------------------------------------------


def test_the_energy_of_a_token_is_its_watts_over_its_speed_at_its_depth() -> None:
    made = plan("CUDA0")
    power = power_of(made)
    near, far = (expected_energy(made, n_prompt=0, n_gen=64, depth=d) for d in (0, 3000))
    speed = predicted(made, "tg", n_tokens=64, depth=3000)
    assert near is not None and far is not None and speed is not None
    assert far.scope == "GPU boards" and far.watts == pytest.approx(power.board_w)
    assert far.j_per_token == pytest.approx(power.board_w / speed.tok_s)
    assert far.j_per_token > near.j_per_token
    assert far.low is not None and far.high is not None
    assert far.low < far.j_per_token < far.high
    both = expected_energy(made, n_prompt=512, n_gen=64, depth=0)
    prompt = expected_energy(made, n_prompt=512, n_gen=0, depth=0)
    after = expected_energy(made, n_prompt=0, n_gen=64, depth=512)
    assert both is not None and prompt is not None and after is not None
    total = 512 * prompt.j_per_token + 64 * after.j_per_token
    assert 576 * both.j_per_token == pytest.approx(total)
    assert (prompt.low, both.low) == (None, None)


@pytest.mark.parametrize(
    ("cards", "layers", "scope", "parts"),
    [
        (("CUDA0",), 33, "GPU board", ["CUDA0"]),
        (("CUDA0",), 33, "GPU board + CPU package", ["CUDA0", "host"]),
        (("CUDA0",), 33, "CPU package", ["host"]),
        (("CUDA0",), 10, "GPU board", ["CUDA0"]),
        (("CUDA0",), 10, "GPU board without CPU package", ["CUDA0"]),
        (("CUDA0",), 10, "GPU board + 2 CPU packages", ["CUDA0", "host"]),
        (("CUDA0", "CUDA1"), 33, "2 GPU boards", ["CUDA0", "CUDA1"]),
        ((), 0, "CPU package", ["host"]),
        ((), 0, "2 CPU packages", ["host"]),
    ],
)
def test_a_meter_is_compared_with_the_parts_that_it_sees(
    cards: tuple[str, ...], layers: int, scope: str, parts: list[str]
) -> None:
    made = plan(*cards, n_gpu_layers=layers, tensor_split=(1.0,) * len(cards) or None)
    power = power_of(made)
    rows = {row.name: row for row in power.devices}
    watts = scope_w(power, "tg", scope)
    assert watts == pytest.approx(sum(rows[name].decode_w for name in parts))
    expected = expected_energy(made, n_prompt=0, n_gen=64, depth=0, scope=scope)
    assert expected is not None and expected.watts == pytest.approx(watts)


@pytest.mark.parametrize(
    ("cards", "scope"),
    [
        (("CUDA0", "CUDA1"), "GPU board"),
        (("CUDA0", "CUDA1"), "1 of 2 GPU boards"),
        (("CUDA0",), "2 GPU boards"),
        (("CUDA0",), "GPU board + DRAM"),
        (("CUDA0",), "whole laptop"),
        (("CUDA0",), "whole chip"),
        ((), "GPU board"),
        ((), "anything"),
        ((), ""),
    ],
)
def test_watts_of_another_scope_are_not_compared(cards: tuple[str, ...], scope: str) -> None:
    made = plan(*cards, tensor_split=(1.0,) * len(cards) or None)
    assert expected_energy(made, n_prompt=0, n_gen=64, depth=0, scope=scope) is None


def test_a_part_of_the_plans_scope_has_no_range_of_its_own() -> None:
    made = plan("CUDA0", n_gpu_layers=10)
    assert power_of(made).scope == "GPU boards and CPU"
    own = expected_energy(made, n_prompt=0, n_gen=64, depth=0, scope="GPU board + CPU package")
    part = expected_energy(made, n_prompt=0, n_gen=64, depth=0, scope="GPU board")
    assert own is not None and part is not None
    assert own.low is not None and part.low is None
    assert part.j_per_token < own.j_per_token


def test_a_plan_without_an_estimate_expects_nothing() -> None:
    made = plan("CUDA0")
    for without in (replace(made, power=None), replace(made, speed=None)):
        assert expected_energy(without, n_prompt=0, n_gen=64, depth=0) is None
    assert expected_energy(made, n_prompt=0, n_gen=0, depth=0) is None


def test_energy_is_shared_among_its_tokens() -> None:
    figure = reconciled_energy(None, energy(), n_tokens=100)
    assert (figure.measured, figure.sigma) == (2.8, 0.12)
    assert reconciled_energy(None, energy(), n_tokens=0).measured is None
    assert math.isclose(energy().mean_w, 280.0)
