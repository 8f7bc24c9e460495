"""Energies of several meters as one, idle draw, joules per token, and the words for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.generation import RunStats, Timeline
from localllm.core.joules import (
    AnswerEnergy,
    addable,
    answer_energy,
    decode_per_token,
    energy,
    energy_text,
    idle_power,
    per_token,
    per_token_text,
    prefill_per_token,
    together,
    together_known,
    with_idle,
)
from localllm.core.metered.per_token import NOISE, PerToken
from localllm.core.metered.readings import (
    Energy,
    Idle,
    MeterScope,
    Reading,
    Source,
    Trace,
    Unmeasured,
)
from localllm.core.metered.sums import scope_text


def source(scope: MeterScope, device: str, **changes: object) -> Source:
    made = Source(name="a counter", scope=scope, kind="counter", device=device, period_s=0.1)
    # mypy cannot see that the keywords are the dataclass's fields.
    return replace(made, **changes)  # type: ignore[arg-type]


GPU0, GPU1 = source("GPU board", "nvidia0"), source("GPU board", "nvidia1")
CPU0, CPU1 = (source("CPU package", f"package {n}", name="RAPL", gain=0.02) for n in (0, 1))
DRAM0, DRAM1 = (source("DRAM", f"package {n}", name="RAPL", gain=0.02) for n in (0, 1))
CHIP, LAPTOP = source("whole chip", "soc"), source("whole laptop", "BAT0")


def spent(
    meter: Source, joules: float = 100.0, sigma_j: float = 1.0, began_s: float = 0.0
) -> Energy:
    """Ten seconds of one meter."""
    return Energy(
        joules=joules,
        sigma_j=sigma_j,
        gain=meter.gain,
        began_s=began_s,
        ended_s=began_s + 10,
        scope=meter.scope,
        sources=(meter.name,),
        kinds=(meter.kind,),
        window_s=meter.period_s,
        meters=(meter,),
    )


def even(meter: Source, watts: float, *, until_s: float = 40.0, lost: str | None = None) -> Trace:
    """A counter under even power."""
    readings = tuple(
        Reading(t_s=i / 20, joules=watts * (i // 2) / 10) for i in range(round(until_s * 20))
    )
    return Trace(source=meter, readings=readings, lost=lost)


def whole(found: Energy | Unmeasured) -> Energy:
    assert isinstance(found, Energy)
    return found


def reason(found: object) -> str:
    assert isinstance(found, Unmeasured)
    return found.reason


# ---------------------------------------------------------------------------- sums


def test_statistical_errors_add_in_quadrature_and_gains_as_they_stand() -> None:
    both = whole(together([spent(GPU0, 300, 3), spent(CPU0, 100, 4)]))

    assert both.joules == 400
    assert both.sigma_j == pytest.approx(5)  # 3, 4, 5
    assert both.gain == pytest.approx((0.05 * 300 + 0.02 * 100) / 400)
    assert both.scope == "GPU board + CPU package"
    assert both.sources == ("a counter", "RAPL")
    assert both.meters == (GPU0, CPU0)
    assert both.idle_w is None


@pytest.mark.parametrize(
    ("meters", "scope"),
    [
        ([GPU0], "GPU board"),
        ([GPU0, GPU1], "2 GPU boards"),
        ([CPU0, GPU1, GPU0], "2 GPU boards + CPU package"),
        ([DRAM0, CPU0, DRAM1, CPU1], "2 CPU packages + DRAM"),
        ([CHIP], "whole chip"),
    ],
)
def test_a_sum_names_its_scope(meters: list[Source], scope: str) -> None:
    assert whole(together([spent(meter) for meter in meters])).scope == scope


@pytest.mark.parametrize(
    ("meters", "why"),
    [
        ([CHIP, CPU0], "whole chip holds CPU package"),
        ([GPU0, LAPTOP], "whole laptop holds GPU board"),
        ([LAPTOP, CHIP], "whole laptop holds everything"),
        ([LAPTOP, source("whole laptop", "BAT1")], "whole laptop holds everything"),
        ([GPU0, replace(GPU0, name="NVML power")], "measured twice"),
    ],
)
def test_what_holds_something_else_is_never_added_to_it(meters: list[Source], why: str) -> None:
    assert why in reason(together([spent(meter) for meter in meters]))


def test_two_cards_of_one_name_are_told_apart_by_their_address() -> None:
    cards = [replace(GPU0, pci_id=f"0000:0{n}:00.0") for n in (1, 2)]

    assert whole(together([spent(card) for card in cards])).scope == "2 GPU boards"


def test_different_windows_are_not_added_and_what_is_missing_is_not_left_out() -> None:
    lost = Unmeasured(reason="the GPU is lost")

    assert "windows differ" in reason(together([spent(GPU0), spent(GPU1, began_s=1)]))
    assert together([spent(GPU0), lost]) is lost
    assert "no power meter" in reason(together([]))


def test_a_sum_that_lacks_a_device_says_so_wherever_it_is_printed() -> None:
    lost = Unmeasured(reason="the GPU is lost")
    part = whole(together_known([(GPU0, spent(GPU0)), (GPU1, lost), (CPU0, spent(CPU0))]))

    assert part.scope == "1 of 2 GPU boards + CPU package"
    assert part.missing == ("GPU board nvidia1: the GPU is lost",)
    shared = per_token(part, 100)
    assert isinstance(shared, PerToken) and shared.partial
    assert per_token_text(shared).endswith(", 1 of 2 GPU boards + CPU package")
    assert energy_text(part).endswith(", 1 of 2 GPU boards + CPU package")
    assert together_known([(GPU1, lost)]) is lost
    assert whole(together_known([(GPU0, lost), (CPU0, spent(CPU0))])).scope == (
        "CPU package without GPU board"
    )
    assert scope_text([CPU0], [GPU0, GPU1, DRAM0]) == "CPU package without GPU boards and DRAM"


def test_meters_that_may_be_added_are_the_parts_before_the_whole() -> None:
    def kept(*meters: Source) -> list[Source]:
        return [trace.source for trace in addable(even(meter, 10) for meter in meters)]

    assert kept(LAPTOP, GPU0, CPU0) == [GPU0, CPU0]
    assert kept(LAPTOP, CHIP) == [CHIP]
    assert kept(LAPTOP) == [LAPTOP]
    assert kept(GPU0, replace(GPU0, name="NVML power"), GPU1) == [GPU0, GPU1]
    assert kept() == []


def test_idle_draws_of_parts_add_only_where_all_are_known() -> None:
    known = [replace(spent(meter, 300, 3), idle_w=10.0, idle_sigma_w=0.3) for meter in (GPU0, GPU1)]

    both = whole(together(known))
    assert both.idle_w == 20.0
    assert both.idle_sigma_w == pytest.approx(0.3 * 2**0.5)
    assert both.net_joules == pytest.approx(600 - 20 * 10)
    assert whole(together([known[0], spent(GPU1)])).net_joules is None


# ---------------------------------------------------------------------------- idle


def test_idle_power_is_the_mean_of_the_windows_before_and_after() -> None:
    drawn = idle_power(even(GPU0, 42), [(2, 14), (20, 32)], strict=True)

    assert isinstance(drawn, Idle)
    assert drawn.watts == pytest.approx(42, rel=0.005)
    assert 0 < drawn.sigma_w < 0.5
    assert (drawn.scope, drawn.drift_w) == ("GPU board", None)


def test_idle_windows_that_disagree_report_a_drift_and_widen_the_error() -> None:
    before, after = 40.0, 46.0
    readings = tuple(
        Reading(t_s=i / 20, joules=sum((before, after)[n >= 160] for n in range(i // 2)) / 10)
        for i in range(640)
    )

    drawn = idle_power(Trace(source=GPU0, readings=readings), [(2, 14), (18, 30)])

    assert isinstance(drawn, Idle)
    assert drawn.drift_w == pytest.approx(6, rel=0.1)
    assert drawn.sigma_w == pytest.approx(3, rel=0.1)
    assert drawn.watts == pytest.approx(43, rel=0.01)


def test_strict_idle_asks_for_ten_seconds_before_and_after() -> None:
    rest = even(GPU0, 42)

    assert isinstance(idle_power(rest, [(2, 5)]), Idle)
    assert "10 s are needed" in reason(idle_power(rest, [(2, 5), (20, 32)], strict=True))
    assert "before and after" in reason(idle_power(rest, [(2, 14)], strict=True))
    assert "1.00 s are needed" in reason(idle_power(rest, [(2, 2.4)]))
    assert "no time without work" in reason(idle_power(rest, []))
    assert "silent" in reason(
        idle_power(even(GPU0, 42, until_s=25), [(2, 14), (20, 32)], strict=True)
    )


def test_idle_draw_belongs_to_its_scope() -> None:
    idle = Idle(watts=10, sigma_w=0.5, scope="GPU board")

    net = with_idle(spent(GPU0, 400, 3), idle)
    assert net.net_joules == pytest.approx(400 - 10 * 10)
    assert net.net_sigma_j == pytest.approx((3**2 + (10 * 0.5) ** 2) ** 0.5)
    with pytest.raises(ValueError, match="GPU board beside the energy of CPU package"):
        with_idle(spent(CPU0), idle)


# ---------------------------------------------------------------------------- per token


def test_tokens_per_joule_are_tokens_per_second_per_watt() -> None:
    shared = per_token(spent(GPU0, 412, 6), 1000)

    assert isinstance(shared, PerToken)
    assert shared.j_per_token == pytest.approx(0.412)
    assert shared.tokens_per_j == pytest.approx((1000 / 10) / (412 / 10))
    # 95 %: 1.96 standard errors, and the gain on top of them.
    assert shared.high - 0.412 == pytest.approx(1.96 * 0.006 + 0.05 * 0.412)
    assert 0.412 - shared.low == pytest.approx(1.96 * 0.006 + 0.05 * 0.412)
    assert "no tokens" in reason(per_token(spent(GPU0), 0))


@pytest.mark.parametrize(
    ("j_per_token", "sigma", "text"),
    [
        (0.412, 0.006, "0.412 ± 0.006 J/token (stat) ± 5 % (sensor)"),
        (0.4123, 0.0096, "0.412 ± 0.010 J/token (stat) ± 5 % (sensor)"),
        (0.412, 0.0, "0.4120 ± 0.0001 J/token (stat) ± 5 % (sensor)"),
        (1234.6, 20, "1,230 ± 20 J/token (stat) ± 5 % (sensor)"),
        (99.96, 0.5, "100.0 ± 0.5 J/token (stat) ± 5 % (sensor)"),
        (0.4, 0.3, "<= 1.0 J/token"),
    ],
)
def test_a_figure_is_printed_to_the_digit_in_which_its_error_begins(
    j_per_token: float, sigma: float, text: str
) -> None:
    shared = per_token(spent(GPU0, j_per_token * 100, sigma * 100), 100)
    assert isinstance(shared, PerToken)

    assert per_token_text(shared) == text


def test_a_rough_figure_has_two_digits_and_a_tilde() -> None:
    rough = replace(spent(GPU0, 41.23, 2), rough=True)
    shared = per_token(rough, 100)

    assert isinstance(shared, PerToken)
    assert per_token_text(shared) == "~0.41 J/token"
    assert energy_text(rough) == "~41 J"
    assert energy_text(spent(GPU0, 412, 6)) == "412 ± 6 J (stat) ± 5 % (sensor)"


@pytest.mark.parametrize("joules", [90.0, 101.0, 105.0])
def test_net_energy_below_two_sigma_is_noise_and_never_negative(joules: float) -> None:
    measured = replace(spent(GPU0, joules, 2), idle_w=10.0, idle_sigma_w=0.2)
    shared = per_token(measured, 100, net=True)

    assert isinstance(shared, PerToken)
    assert shared.basis == "net"
    assert per_token_text(shared) == energy_text(measured, net=True) == NOISE == "<= noise"
    assert shared.tokens_per_j is None
    assert shared.low == 0 <= shared.high


# ---------------------------------------------------------------------------- answers

TIMELINE = Timeline(prompt_began_s=5.0, prompt_ended_s=9.0, first_token_s=9.0, last_token_s=21.0)
STATS = RunStats(
    n_prompt=500, n_cached=100, n_gen=121, prompt_s=4, tg_s=12, ttft_s=4, n_ctx=1024,
    n_ctx_used=621, seed=1,
)  # fmt: skip


def test_an_answer_counts_new_prompt_tokens_and_the_tokens_after_the_first() -> None:
    answer = answer_energy(
        [even(GPU0, 100), even(CPU0, 20)],
        TIMELINE,
        idle={
            GPU0: Idle(watts=30, sigma_w=0.1, scope="GPU board"),
            CPU0: Idle(watts=5, sigma_w=0.1, scope="CPU package"),
        },
    )
    prefill, decode = prefill_per_token(answer, STATS), decode_per_token(answer, STATS)
    net = decode_per_token(answer, STATS, net=True)

    assert isinstance(prefill, PerToken) and isinstance(decode, PerToken)
    assert prefill.j_per_token == pytest.approx(120 * 4 / 400, rel=0.01)
    assert decode.j_per_token == pytest.approx(120 * 12 / 120, rel=0.01)
    assert isinstance(net, PerToken)
    assert net.j_per_token == pytest.approx((120 - 35) * 12 / 120, rel=0.01)
    assert whole(answer.total).scope == "GPU board + CPU package"


def test_a_gpu_lost_in_mid_answer_ends_its_own_readings_only() -> None:
    answer = answer_energy(
        [even(GPU0, 100), even(GPU1, 50, until_s=12, lost="the GPU is lost")], TIMELINE
    )

    assert whole(answer.prefill).scope == "2 GPU boards"
    assert whole(answer.prefill).mean_w == pytest.approx(150, rel=0.01)
    for part in (whole(answer.decode), whole(answer.total)):
        assert part.scope == "1 of 2 GPU boards"
        assert part.missing == ("GPU board nvidia1: the GPU is lost",)
        assert part.mean_w == pytest.approx(100, rel=0.01)


def test_an_answer_without_meters_has_no_energy() -> None:
    none = Unmeasured(reason="there is no power meter")

    assert answer_energy([], TIMELINE) == AnswerEnergy(prefill=none, decode=none, total=none)
    assert decode_per_token(answer_energy([], TIMELINE), STATS) == none


def test_an_answer_of_one_token_has_no_decode() -> None:
    at_once = replace(TIMELINE, first_token_s=9.0, last_token_s=9.0)

    answer = answer_energy([even(GPU0, 100)], at_once)

    assert reason(answer.decode) == "the window is empty"
    assert isinstance(answer.total, Energy)
    assert isinstance(energy(even(GPU0, 100), 5, 9), Energy)
