"""Watts of boards and of the machine around them: claims, over steps made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from localllm.core.board_power import board_of, least_cap_w, waiting_w, working_w
from localllm.core.energy import check_power_limit, power_estimate, power_limited, power_unknown
from localllm.core.hardware import Device, Hardware, Host
from localllm.core.memory import Placement, RunShape
from localllm.core.plan import PowerEstimate
from localllm.core.steps import Run, Step, Work, slowed
from localllm.core.wall import cpu_limit_w, cpu_w, platform, socket_w
from localllm.errors import UsageError
from tests.support.specs import gpu, host

GB = 10**9


def card(name: str = "CUDA0", **changes: object) -> Device:
    """An RTX 4090."""
    known = replace(
        gpu(name),
        memory_type="GDDR6X",
        fp32_tflops=82.58,
        power_limit_w=450.0,
        idle_power_w=18.0,
    )
    # mypy cannot see that the keywords are the dataclass's fields.
    return replace(known, **changes)  # type: ignore[arg-type]


def hbm_card() -> Device:
    """An H100 with 700 W."""
    return card(
        memory_type="HBM3",
        memory_bandwidth_gb_s=3350.0,
        fp32_tflops=66.9,
        power_limit_w=700.0,
        idle_power_w=71.0,
    )


def work(place: str, gb: float, seconds: float, **changes: object) -> Work:
    made = Work(
        place=place,
        kind="host" if place == "host" else "gpu",
        memory_bytes=round(gb * GB),
        pcie_bytes=0,
        flops=3 * gb * GB,
        memory_s=seconds,
        compute_s=0.0,
        pcie_s=0.0,
        launch_s=0.0,
        seconds=seconds,
    )
    # As in card().
    return replace(made, **changes)  # type: ignore[arg-type]


def step(*works: Work, n_tokens: int = 1) -> Step:
    return Step(
        n_tokens=n_tokens,
        depth=0,
        works=works,
        seconds=sum(each.seconds for each in works),
        bound_by="VRAM bandwidth",
    )


def run(*devices: Device, cpu: Host | None = None, n_threads: int = 8) -> Run:
    return Run(
        devices=devices,
        host=cpu or host(),
        placement=Placement(n_gpu_layers=32 * len(devices), layers_per_device=(32,) * len(devices)),
        shape=RunShape(n_ctx=4096, n_ubatch=512),
        n_threads=n_threads,
    )


def estimate(
    *works: Work,
    devices: tuple[Device, ...] = (),
    cpu: Host | None = None,
    prefill: Step | None = None,
    idle: tuple[Device, ...] = (),
    power_limit_w: float | None = None,
) -> PowerEstimate:
    machine = Hardware(name="m", source="test", host=cpu or host(), devices=(*devices, *idle))
    found = power_estimate(
        machine,
        run(*devices, cpu=cpu),
        decode=step(*works),
        prefill=prefill,
        power_limit_w=power_limit_w,
    )
    assert found is not None
    return found


FULL = work("CUDA0", 6.5, 0.01)
"""650 GB/s on the 4090: decode of a model that lies there whole."""


def test_joules_per_token_are_watts_over_tokens_per_second() -> None:
    found = estimate(FULL, devices=(card(),))
    assert found.j_per_token == pytest.approx(found.board_w * 0.01)
    assert found.wall_w is not None
    assert found.wall_j_per_token == pytest.approx(found.wall_w * 0.01)
    assert found.scope == "GPU boards"


def test_a_4090_decodes_below_its_limit_and_well_above_half_of_it() -> None:
    found = estimate(FULL, devices=(card(),))
    assert 0.5 * 450 < found.board_w < 0.85 * 450
    assert found.board_low_w is not None and found.board_high_w is not None
    assert found.board_low_w < found.board_w < found.board_high_w <= 450


@pytest.mark.parametrize("device", [card(), hbm_card(), card(unified=True, memory_type="LPDDR5X")])
def test_more_traffic_never_draws_less_and_never_more_than_the_limit(device: Device) -> None:
    board = board_of(device)
    assert board is not None
    watts = [
        working_w(board, memory_gb_s=gb_s, arithmetic_use=0.02) for gb_s in range(0, 20_000, 50)
    ]
    assert watts == sorted(watts)
    assert watts[0] > board.idle_w
    assert watts[-1] == board.limit_w


def test_more_arithmetic_never_draws_less() -> None:
    board = board_of(card())
    assert board is not None
    watts = [working_w(board, memory_gb_s=300, arithmetic_use=x / 20) for x in range(60)]
    assert watts == sorted(watts)
    assert watts[-1] == 450


def test_two_cards_of_a_layer_split_draw_more_than_one_and_less_than_two() -> None:
    one = estimate(FULL, devices=(card(),)).board_w
    halves = (work("CUDA0", 3.25, 0.005), work("CUDA1", 3.25, 0.005))
    two = estimate(*halves, devices=(card(), card("CUDA1"))).board_w
    assert one < two < 2 * one
    board = board_of(card())
    assert board is not None
    assert two == pytest.approx(one + waiting_w(board))  # they take turns


def test_a_partly_offloaded_card_draws_less_than_half_its_limit() -> None:
    # A tenth of the time on the card, the rest the CPU computes: TDP times time is twice too much.
    found = estimate(work("CUDA0", 6, 0.01), work("host", 5, 0.09), devices=(card(),))
    assert 18 < found.devices[0].decode_w < 450 / 2
    assert found.cpu_w is not None
    assert found.cpu_w > 0.5 * cpu_limit_w(host())
    assert found.scope == "GPU boards and CPU"  # a token costs what both draw
    assert found.board_w == pytest.approx(found.devices[0].decode_w + found.cpu_w)


def test_offloading_looks_frugal_on_the_board_and_is_not_at_the_socket() -> None:
    whole = estimate(FULL, devices=(card(),))
    partly = estimate(work("CUDA0", 3.25, 0.005), work("host", 3.25, 0.06), devices=(card(),))
    assert partly.board_w < whole.board_w
    assert whole.wall_j_per_token is not None and partly.wall_j_per_token is not None
    assert partly.wall_j_per_token > 2 * whole.wall_j_per_token


def test_a_card_that_waits_for_its_bus_draws_what_waiting_takes() -> None:
    board = board_of(card())
    assert board is not None
    stalled = work("CUDA0", 0.001, 0.02, memory_s=0.00001, pcie_s=0.02, flops=0.0)
    assert estimate(stalled, devices=(card(),)).board_w == pytest.approx(waiting_w(board), rel=0.01)


def test_a_used_device_without_work_idles() -> None:
    found = estimate(FULL, devices=(card(), card("CUDA1")))
    assert [row.decode_w for row in found.devices[:2]][1] == 18


def test_cards_that_are_not_used_idle_at_the_socket_only() -> None:
    alone = estimate(FULL, devices=(card(),))
    beside = estimate(FULL, devices=(card(),), idle=(card("CUDA1"),))
    assert beside.board_w == alone.board_w
    assert alone.wall_w is not None and beside.wall_w is not None
    idling_w = 18 / platform(host()).efficiency
    assert beside.wall_w == pytest.approx(alone.wall_w + idling_w)
    assert alone.wall_peak_w is not None and beside.wall_peak_w is not None
    assert beside.wall_peak_w == pytest.approx(alone.wall_peak_w + idling_w)


def test_a_prompt_draws_near_the_limit() -> None:
    prompt = step(work("CUDA0", 5, 0.05, compute_s=0.05, memory_s=0.0, flops=7.5e12), n_tokens=512)
    found = estimate(FULL, devices=(card(),), prefill=prompt)
    assert found.prefill_board_w is not None and found.prefill_j_per_token is not None
    assert 0.9 * 450 < found.prefill_board_w <= 450
    assert found.prefill_j_per_token == pytest.approx(found.prefill_board_w * 0.05 / 512)


def test_hbm_moves_a_byte_for_less_than_gddr() -> None:
    traffic = work("CUDA0", 6.5, 0.01)
    on_hbm = estimate(traffic, devices=(hbm_card(),)).board_w - 71
    assert on_hbm < estimate(traffic, devices=(card(),)).board_w - 18


# ------------------------------------------------------------------------------ what is unknown


def test_an_unknown_idle_power_is_assumed_and_named() -> None:
    found = estimate(FULL, devices=(card(idle_power_w=None),))
    assert "idle power assumed" in found.basis
    assert 0 < found.devices[0].idle_w < 50


def test_an_unknown_limit_is_assumed_by_bandwidth_and_named() -> None:
    found = estimate(FULL, devices=(card(power_limit_w=None),))
    assert "limit assumed" in found.basis
    assert found.devices[0].limit_w == pytest.approx(450, rel=0.3)


def test_without_limit_and_bandwidth_there_is_no_estimate_but_a_reason() -> None:
    bare = card(power_limit_w=None, memory_bandwidth_gb_s=None)
    machine = Hardware(name="m", source="test", host=host(), devices=(bare,))
    assert power_estimate(machine, run(bare), decode=step(FULL), prefill=None) is None
    reason = power_unknown(run(bare))
    assert reason is not None and "CUDA0" in reason
    assert power_unknown(run(card())) is None


def test_a_mig_slice_says_that_the_boards_power_is_the_whole_cards() -> None:
    slice_ = replace(
        hbm_card(),
        mig="1g.10gb",
        power_limit_w=None,
        idle_power_w=None,
        memory_bandwidth_gb_s=242.0,
        fp32_tflops=2.8,
    )
    found = estimate(work("CUDA0", 1, 0.01), devices=(slice_,))
    assert "whole card" in found.basis
    assert found.board_w < 100
    assert found.wall_peak_w is None and found.circuit is None
    # Others may use the rest of that card: beside the card of a run it leaves the peak unknown too.
    beside = estimate(FULL, devices=(card(),), idle=(replace(slice_, name="CUDA1"),))
    assert beside.wall_peak_w is None and beside.circuit is None
    assert beside.wall_w is not None


def test_everything_says_that_it_is_an_estimate() -> None:
    assert estimate(FULL, devices=(card(),)).basis.startswith("estimate")
    assert estimate(work("host", 4, 0.1)).basis.startswith("estimate")


# ---------------------------------------------------------------------------- the host and socket


def test_without_gpus_the_scope_is_the_processors() -> None:
    found = estimate(work("host", 4, 0.1))
    assert found.scope == "CPU package"
    assert found.board_w == found.cpu_w
    assert 0.5 * cpu_limit_w(host()) < found.board_w <= cpu_limit_w(host())
    assert [row.name for row in found.devices] == ["host"]
    assert found.board_low_w is not None and found.board_low_w < found.board_w


def test_a_stated_limit_of_the_processors_is_taken_and_named() -> None:
    server = replace(host(), cpu="AMD EPYC 9654", power_limit_w=360.0, n_cores_physical=96)
    found = estimate(work("host", 4, 0.1), cpu=server)
    assert found.devices[0].limit_w == 360
    assert "360 W as stated" in found.basis


def test_more_of_the_step_on_the_processors_never_draws_less_there() -> None:
    watts = [cpu_w(host(), duty=duty / 10, load=0.8) for duty in range(11)]
    assert watts == sorted(watts)
    assert watts[-1] <= cpu_limit_w(host())


@pytest.mark.parametrize(
    ("cpu", "kind"),
    [
        ("AMD EPYC 7763 64-Core Processor", "server"),
        ("Intel(R) Xeon(R) Platinum 8480+", "server"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "desktop"),
        ("Intel(R) Core(TM) i9-13900K", "desktop"),
        ("Intel(R) Core(TM) i7-1260P", "laptop"),
        ("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", "laptop"),
        ("Intel(R) Core(TM) Ultra 7 155H", "laptop"),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", "compact"),
        ("10 Cortex-X925 and 10 Cortex-A725", "compact"),
        ("Apple M3 Max", "mac"),
    ],
)
def test_the_kind_of_machine_is_read_off_the_processor(cpu: str, kind: str) -> None:
    assert platform(replace(host(), cpu=cpu)).kind == kind


def test_a_small_arm_board_is_no_desktop() -> None:
    pi = replace(host(), cpu="Cortex-A76", machine="aarch64", n_cores_physical=4)
    assert platform(pi).kind == "small board"
    assert cpu_limit_w(pi) < 15


def test_a_gpu_in_the_package_shares_its_limit_with_the_processors() -> None:
    chip = card(
        unified=True, kind="igpu", memory_type="LPDDR5X", memory_bandwidth_gb_s=256.0,
        fp32_tflops=29.7, power_limit_w=None, idle_power_w=None,
    )  # fmt: skip
    halo = replace(host(), cpu="AMD RYZEN AI MAX+ 395", power_limit_w=120.0, n_cores_physical=16)
    both = (work("CUDA0", 1, 0.005), work("host", 4, 0.05))
    found = estimate(*both, devices=(chip,), cpu=halo)
    assert found.cpu_w is None
    assert found.devices[0].limit_w == 120
    assert found.board_w <= 120
    assert found.board_w > estimate(both[0], devices=(chip,), cpu=halo).board_w


def test_an_apple_chip_has_a_limit_by_its_gpu() -> None:
    m1_pro = card(
        backend="metal", unified=True, memory_type="LPDDR5", memory_bandwidth_gb_s=200.0,
        fp32_tflops=5.2, power_limit_w=None, idle_power_w=None,
    )  # fmt: skip
    mac = replace(host(), cpu="Apple M1 Pro", os="darwin", machine="arm64", n_cores_physical=10)
    found = estimate(work("CUDA0", 4.6, 0.044), devices=(m1_pro,), cpu=mac)
    # powermetrics reads 20 to 25 W of the whole chip at such speeds.
    assert found.board_w == pytest.approx(22, rel=0.2)
    assert "Apple" in found.basis


# ------------------------------------------------------------------------------------ the circuit


def test_two_450_w_cards_and_a_host_take_about_1100_watts() -> None:
    halves = (work("CUDA0", 20, 0.03), work("CUDA1", 20, 0.03))
    found = estimate(*halves, devices=(card(), card("CUDA1")))
    assert found.circuit is not None and found.wall_peak_w is not None
    assert found.circuit.startswith("2 x 450 W + host: about 1.1 kW at the socket at most; ")
    assert "fits a 120 V, 15 A circuit" in found.circuit
    assert 900 / 0.9 < found.wall_peak_w < 1440
    assert found.wall_w is not None and found.wall_w < found.wall_peak_w


@pytest.mark.parametrize(
    ("n", "says"),
    [
        (1, "fits a 120 V, 15 A circuit"),
        (3, "20 A or 230 V"),
        (6, "230 V, 16 A bear it"),
        (8, "more than a 230 V, 16 A circuit (3.68 kW): spread over 2"),
    ],
)
def test_the_circuit_grows_with_the_cards(n: int, says: str) -> None:
    names = [f"CUDA{i}" for i in range(n)]
    found = estimate(
        *(work(name, 5, 0.01) for name in names), devices=tuple(card(name) for name in names)
    )
    assert found.circuit is not None
    assert says in found.circuit


def test_unlike_cards_are_counted_apart() -> None:
    found = estimate(FULL, devices=(card(), card("CUDA1", power_limit_w=350.0)))
    assert found.circuit is not None
    assert found.circuit.startswith("450 W + 350 W + host: about ")


def test_the_socket_pays_for_the_supply_and_the_rest() -> None:
    assert socket_w(host(), 300) > 300 / 0.9
    assert socket_w(host(), 400) - socket_w(host(), 300) == pytest.approx(100 / 0.9)


# ---------------------------------------------------------------------------------- a power limit


def test_a_power_limit_bounds_every_board_and_the_peak() -> None:
    free = estimate(FULL, devices=(card(),))
    capped = estimate(FULL, devices=(card(),), power_limit_w=280)
    assert capped.board_w <= 280 < free.board_w
    assert capped.devices[0].limit_w == 280
    assert capped.wall_peak_w is not None and free.wall_peak_w is not None
    assert capped.wall_peak_w < free.wall_peak_w
    assert "capped to 280 W each" in capped.basis


def test_a_board_that_its_cap_slows_draws_the_cap() -> None:
    for cap_w in (120.0, 180.0, 250.0, 280.0):
        factor = power_limited(card(), cap_w, work=FULL).decode
        assert factor < 1
        under = slowed(step(FULL), {"CUDA0": factor}).works
        found = estimate(*under, devices=(card(),), power_limit_w=cap_w)
        assert found.board_w == pytest.approx(cap_w)


@pytest.mark.parametrize("device", [card(), hbm_card(), card(unified=True, memory_type="LPDDR5X")])
@pytest.mark.parametrize("rest_s", [0.0, 0.001, 0.02])
def test_more_bandwidth_under_a_cap_is_never_slower(device: Device, rest_s: float) -> None:
    board = board_of(device)
    assert board is not None
    for cap_w in (least_cap_w(board), 0.4 * board.limit_w, 0.6 * board.limit_w, board.limit_w):
        before = 0.0
        for gb_s in range(100, 6_000, 50):
            faster = replace(device, memory_bandwidth_gb_s=float(gb_s))
            reading = work("CUDA0", 5, 5 / (0.8 * gb_s) + 0.001, launch_s=0.001)
            free = step(reading, *([work("host", 0.1, rest_s)] if rest_s else []))
            duty = reading.seconds / free.seconds
            factors = power_limited(faster, cap_w, duty=duty, work=reading)
            tok_s = slowed(free, {"CUDA0": factors.decode}).tok_s
            assert tok_s >= before * (1 - 1e-12), (cap_w, gb_s)
            before = tok_s


def test_a_device_in_the_package_is_capped_by_the_packages_limit() -> None:
    chip = card(
        unified=True, kind="igpu", memory_type="LPDDR5X", memory_bandwidth_gb_s=256.0,
        fp32_tflops=29.7, power_limit_w=None, idle_power_w=None,
    )  # fmt: skip
    halo = replace(host(), cpu="AMD RYZEN AI MAX+ 395", power_limit_w=120.0, n_cores_physical=16)
    assert power_limited(chip, 120, host=halo).prefill == 1.0
    assert power_limited(chip, 120).prefill < 1.0  # the limit assumed by bandwidth is higher


@pytest.mark.parametrize("device", [card(), hbm_card(), card(idle_power_w=150.0)])
def test_a_cap_below_what_a_board_can_be_held_to_is_refused_with_the_least(device: Device) -> None:
    board = board_of(device)
    assert board is not None
    least_w = least_cap_w(board)
    assert board.idle_w < least_w < 0.5 * board.limit_w
    for too_low in (5.0, least_w - 1):
        for refuse in (
            lambda cap_w: power_limited(device, cap_w),
            lambda cap_w: check_power_limit(cap_w, (device,)),
            lambda cap_w: estimate(FULL, devices=(device,), power_limit_w=cap_w),
        ):
            with pytest.raises(UsageError) as refused:
                refuse(too_low)
            assert refused.value.hint and f"{math.ceil(least_w)} W or more" in refused.value.hint
            assert "assumed" in refused.value.hint
    check_power_limit(5.0)  # of no device in particular
    check_power_limit(math.ceil(least_w), (device,))


def test_a_3090_may_be_capped_to_100_w_as_people_did() -> None:
    check_power_limit(100, (card(power_limit_w=350.0, idle_power_w=20.0),))


@pytest.mark.parametrize("device", [card(), hbm_card(), card(idle_power_w=None)])
@pytest.mark.parametrize("works", [(FULL,), (work("CUDA0", 1, 0.01), work("host", 4, 0.1))])
def test_the_range_is_never_inverted_under_any_cap(device: Device, works: tuple[Work, ...]) -> None:
    board = board_of(device)
    assert board is not None
    for cap_w in range(math.ceil(least_cap_w(board)), 800, 10):
        prompt = step(work("CUDA0", 5, 0.05, compute_s=0.05, memory_s=0.0), n_tokens=512)
        found = estimate(*works, devices=(device,), prefill=prompt, power_limit_w=float(cap_w))
        assert found.board_low_w is not None and found.board_high_w is not None
        most = cap_w + (
            found.devices[-1].limit_w or 0 if found.scope == "GPU boards and CPU" else 0
        )
        assert board.idle_w <= found.board_low_w <= found.board_w <= found.board_high_w <= most
        assert found.devices[0].decode_w <= cap_w
        assert found.prefill_board_w is not None and found.prefill_board_w <= most


@pytest.mark.parametrize("device", [card(), hbm_card(), card(idle_power_w=None)])
@pytest.mark.parametrize("duty", [1.0, 0.5, 0.25])
def test_a_lower_cap_is_never_faster(device: Device, duty: float) -> None:
    board = board_of(device)
    assert board is not None
    caps = range(math.ceil(least_cap_w(board)), 800, 10)
    factors = [power_limited(device, float(cap), duty=duty) for cap in caps]
    for phase in ("decode", "prefill"):
        speeds = [getattr(factor, phase) for factor in factors]
        assert speeds == sorted(speeds)
        assert 0 < speeds[0] <= speeds[-1] == 1.0
    assert factors[0].prefill < 1.0


def test_a_cap_costs_decode_nothing_before_it_costs_prefill() -> None:
    factors = power_limited(card(), 360)
    assert factors.decode == 1.0
    assert 0.85 < factors.prefill < 1.0


def test_a_card_that_takes_turns_is_slowed_less() -> None:
    assert power_limited(card(), 220).decode < power_limited(card(), 220, duty=0.25).decode == 1.0


def test_no_cap_and_an_unknown_board_cost_nothing() -> None:
    bare = card(power_limit_w=None, memory_bandwidth_gb_s=None)
    assert power_limited(card(), None).prefill == 1.0
    assert power_limited(bare, 200).decode == 1.0


@pytest.mark.parametrize("limit_w", [0.0, -250.0, float("nan"), float("inf")])
def test_a_power_limit_that_is_none_is_refused(limit_w: float) -> None:
    with pytest.raises(UsageError) as refused:
        check_power_limit(limit_w)
    assert refused.value.hint
