"""Claims about the speed formulas: what physics makes monotone, and what binds where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.estimate import Estimator, estimate_speed, run_of
from localllm.core.hardware import Device, Hardware
from localllm.core.memory import Placement
from localllm.core.model import ModelSpec
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.pricing import constant_name, overlapped
from localllm.core.quants import OFFERED
from localllm.core.requantise import requantised
from localllm.core.speed import decode_step, prefill_step, step_terms
from localllm.core.speed_constants import CONSTANTS, SPREADS
from localllm.core.steps import Run, Step, slowed
from localllm.core.traffic import Traffic, experts_touched, kv_row_bytes, traffic_of
from localllm.hub.known.models import known_model
from localllm.probes.named import named_hardware

MODELS = (
    "llama-3.2-3b",
    "llama-3-8b:Q8_0",
    "llama-3-70b",
    "gpt-oss-120b",
    "qwen3-30b-a3b",
    "gemma-3-27b",
    "deepseek-r1:IQ2_XXS",
    "nemotron-h-8b",
    "falcon-mamba-7b",
)
MACHINES = ("rtx-4090", "2x rtx-3090", "a100-pcie-80gb", "rx-7900-xtx", "apple-m3-max", "epyc-9654")


def spec(name: str) -> ModelSpec:
    found = known_model(name)
    assert found is not None, name
    return found.spec


def run_on(model: ModelSpec, hardware: Hardware, policy: Policy | None = None) -> Run:
    found = solve(MemoryModel(model, (), hardware.host), hardware, policy or Policy())
    return run_of(found, hardware)


def cases() -> Iterator[tuple[Traffic, Run]]:
    for name in MODELS:
        model = spec(name)
        for machine in MACHINES:
            yield traffic_of(model), run_on(model, named_hardware((machine,)))


CASES = tuple(cases())


def steps(traffic: Traffic, run: Run, *, depth: int = 1000) -> tuple[Step, Step]:
    return decode_step(traffic, run, depth=depth), prefill_step(
        traffic, run, n_prompt=512, depth=depth
    )


def with_devices(run: Run, **changed: float | None) -> Run:
    devices = tuple(replace(device, **changed) for device in run.devices)  # type: ignore[arg-type]  # its own fields
    return replace(run, devices=devices)


def scaled_devices(run: Run, factor: float) -> Run:
    def faster(device: Device) -> Device:
        bandwidth = device.memory_bandwidth_gb_s
        return replace(device, memory_bandwidth_gb_s=bandwidth and bandwidth * factor)

    return replace(run, devices=tuple(map(faster, run.devices)))


def test_more_bandwidth_is_never_slower() -> None:
    for traffic, run in CASES:
        host = run.host
        more_ram = replace(
            run, host=replace(host, memory_bandwidth_gb_s=(host.memory_bandwidth_gb_s or 50) * 1.3)
        )
        for better in (scaled_devices(run, 1.3), more_ram):
            for before, after in zip(steps(traffic, run), steps(traffic, better), strict=True):
                assert after.seconds <= before.seconds * (1 + 1e-12)


def test_what_reads_everything_from_faster_memory_is_faster_by_no_more_than_that() -> None:
    for traffic, run in CASES:
        if run.placement.n_gpu_layers == len(traffic.kind_of) + 1:
            before = decode_step(traffic, run, depth=0)
            after = decode_step(traffic, scaled_devices(run, 2.0), depth=0)
            assert before.seconds / 2 <= after.seconds < before.seconds


def test_a_longer_context_is_never_faster() -> None:
    for traffic, run in CASES:
        for phase in (0, 1):
            times = [steps(traffic, run, depth=d)[phase].seconds for d in (0, 100, 4000, 32000)]
            assert times == sorted(times)


@pytest.mark.parametrize("name", ["llama-3.2-3b", "llama-3-8b:Q8_0", "llama-3-70b"])
@pytest.mark.parametrize("machine", ["rtx-4060", "rtx-4090", "a100-pcie-80gb", "h100-sxm5-80gb"])
def test_more_layers_on_a_faster_device_are_never_slower(name: str, machine: str) -> None:
    model, hardware = spec(name), named_hardware((machine,))
    traffic = traffic_of(model)
    base = replace(run_on(model, hardware), devices=hardware.usable_devices)
    times: dict[str, list[float]] = {"decode": [], "prefill": []}
    for n in range(model.n_layer_total + 1):
        run = replace(base, placement=Placement(n_gpu_layers=n, layers_per_device=(n,)))
        decode, prefill = steps(traffic, run)
        times["decode"].append(decode.seconds)
        times["prefill"].append(prefill.seconds)
    assert times["decode"] == sorted(times["decode"], reverse=True)
    streaming = times["prefill"][1:]
    assert streaming == sorted(streaming, reverse=True)


@pytest.mark.parametrize("machine", ["rtx-4090", "rtx-4060-ti-16gb"])
def test_more_experts_on_the_gpu_are_never_slower(machine: str) -> None:
    model, hardware = spec("qwen3-30b-a3b"), named_hardware((machine,))
    traffic = traffic_of(model)
    base = replace(run_on(model, hardware), devices=hardware.usable_devices)
    n = model.n_layer_total
    for phase in (0, 1):
        times = [
            steps(
                traffic,
                replace(
                    base,
                    placement=Placement(
                        n_gpu_layers=n,
                        layers_per_device=(n,),
                        host_expert_layers=frozenset(range(out)),
                    ),
                ),
            )[phase].seconds
            for out in range(0, model.n_layer + 1, 6)
        ]
        assert times == sorted(times)


@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-30b-a3b", "gemma-3-4b"])
def test_a_smaller_quantisation_is_never_more_bytes(name: str) -> None:
    model = spec(f"{name}:Q8_0")
    others = sorted((requantised(model, q) for q in OFFERED), key=lambda m: -m.file_bytes)
    run = run_on(model, named_hardware(("h100-sxm5-80gb",)))
    read = [decode_step(traffic_of(other), run, depth=0).memory_bytes for other in others]
    for before, after in pairwise(read):
        # Of a mixture a token reads little: its attention may be finer where its experts are not.
        assert after <= before * (1.01 if model.n_expert else 1.0)


def test_decode_reads_each_touched_weight_once() -> None:
    model = spec("llama-3-8b")
    run = run_on(model, named_hardware(("rtx-4090",)))
    weights = sum(t.n_bytes for t in model.tensors if t.name != "token_embd.weight")
    assert decode_step(traffic_of(model), run, depth=0).memory_bytes == pytest.approx(
        weights, rel=1e-4
    )
    per_cell = sum(
        count * kv_row_bytes(layer, run.shape)
        for layer, count in traffic_of(model).layers(range(model.n_layer))
    )
    assert per_cell == 32 * 2 * 1024 * 2
    deep = decode_step(traffic_of(model), run, depth=8000).memory_bytes
    assert deep - weights == pytest.approx(8001 * per_cell, rel=1e-3)


def test_experts_count_by_how_many_are_used() -> None:
    model = spec("qwen3-30b-a3b")
    layer = traffic_of(model).kinds[0]
    assert experts_touched(layer, 1) == pytest.approx(8 / 128)
    assert experts_touched(layer, 512) > 0.999
    run = run_on(model, named_hardware(("a100-pcie-80gb",)))
    touched = decode_step(traffic_of(model), run, depth=0).memory_bytes
    assert touched < 0.12 * sum(t.n_bytes for t in model.tensors)


def test_a_window_bounds_what_is_read_of_the_cache() -> None:
    model = spec("gemma-3-27b")
    windowed = [kind for kind in traffic_of(model).kinds if kind.n_swa]
    assert windowed and all(kind.n_swa == 1024 for kind in windowed)
    run = run_on(model, named_hardware(("a100-pcie-80gb",)))
    base, deep = (decode_step(traffic_of(model), run, depth=d).memory_bytes for d in (2000, 4000))
    attending = sum(1 for layer in model.layers if not layer.is_swa)
    row = kv_row_bytes(windowed[0], run.shape)
    assert deep - base == pytest.approx(2000 * row * attending, rel=1e-3)


def test_layers_over_two_cards_do_not_decode_faster() -> None:
    model = spec("llama-3-8b")
    one = run_on(model, named_hardware(("rtx-4090",)))
    two = run_on(
        model, named_hardware(("2x rtx-4090",)), Policy(tensor_split=(1.0, 1.0), n_gpu_layers=33)
    )
    traffic = traffic_of(model)
    assert decode_step(traffic, two, depth=0).seconds >= decode_step(traffic, one, depth=0).seconds
    long = [prefill_step(traffic, run, n_prompt=4096).seconds for run in (one, two)]
    assert long[1] < 0.75 * long[0]


def test_the_bound_is_what_most_of_the_time_goes_to() -> None:
    def bound(name: str, machine: str, **wishes: int) -> tuple[str, str | None]:
        model, hardware = spec(name), named_hardware((machine,))
        run = run_on(model, hardware, Policy(**wishes))  # type: ignore[arg-type]  # its own fields
        speed = estimate_speed(traffic_of(model), run)
        return speed.bound_by, speed.pp_bound_by

    assert bound("llama-3-70b", "rtx-4090") == ("host bandwidth", "PCIe")
    assert bound("llama-3-70b", "2x rtx-4090") == ("VRAM bandwidth", "compute")
    assert bound("llama-3-8b", "epyc-9654")[0] in ("host bandwidth", "compute", "launch")
    assert bound("qwen3-30b-a3b", "h100-sxm5-80gb")[0] == "launch"


def test_a_larger_ubatch_amortises_the_stream_over_the_bus() -> None:
    model, hardware = spec("llama-3-70b"), named_hardware(("rtx-4090",))
    run = run_on(model, hardware)
    traffic = traffic_of(model)
    small, large = (
        prefill_step(
            traffic, replace(run, shape=replace(run.shape, n_ubatch=n)), n_prompt=4096
        ).tok_s
        for n in (512, 2048)
    )
    assert large > 1.5 * small


def test_small_batches_are_not_streamed() -> None:
    model, hardware = spec("llama-3-70b"), named_hardware(("rtx-4090",))
    run, traffic = run_on(model, hardware), traffic_of(spec("llama-3-70b"))
    assert not any(t.pcie_bytes for t in step_terms(traffic, run, n_tokens=31, depth=0))
    assert any(t.pcie_bytes for t in step_terms(traffic, run, n_tokens=32, depth=0))


def test_every_term_of_decode_is_priced_on_every_backend() -> None:
    for traffic, run in CASES:
        for terms in step_terms(traffic, run, n_tokens=1, depth=100):
            for term in ("weights", "matrices"):
                assert constant_name(CONSTANTS, terms.keys, term), (terms.keys, term)


def test_reading_and_arithmetic_hide_each_other() -> None:
    assert overlapped(2.0, 0.0) == overlapped(0.0, 2.0) == 2.0
    assert 1.0 < overlapped(1.0, 1.0) < 2.0
    assert overlapped(0.0, 0.0) == 0.0
    assert overlapped(3.0, 1.0) < overlapped(3.0, 2.0)


def test_times_of_the_places_add_up() -> None:
    for traffic, run in CASES:
        decode, prefill = steps(traffic, run)
        assert decode.seconds == pytest.approx(sum(w.seconds for w in decode.works))
        for work in (*decode.works, *prefill.works):
            apart = work.pcie_s + work.launch_s
            longer = max(work.memory_s, work.compute_s)
            assert longer + apart <= work.seconds * (1 + 1e-9)
            assert work.seconds <= (work.memory_s + work.compute_s + apart) * (1 + 1e-9)
            assert min(work.memory_s, work.compute_s, work.launch_s, work.pcie_s) >= -1e-12


def test_a_slowed_place_takes_its_share_more() -> None:
    traffic, run = CASES[0]
    step = decode_step(traffic, run, depth=0)
    assert slowed(step, {step.works[0].place: 0.5}).seconds == pytest.approx(2 * step.seconds)
    assert slowed(step, {}) == step


def test_a_range_holds_its_estimate() -> None:
    for low, high in SPREADS.values():
        assert 0.1 < low < 1 < high < 5
    traffic, run = CASES[0]
    speed = estimate_speed(traffic, run)
    assert speed.tg_low < speed.tg_tok_s < speed.tg_high


def test_a_power_limit_never_makes_faster() -> None:
    model, hardware = spec("llama-3-8b"), named_hardware(("rtx-3090",))
    found = solve(MemoryModel(model, (), hardware.host), hardware, Policy())
    rates = []
    for limit in (None, 350.0, 280.0, 220.0, 150.0, 100.0):
        estimates = Estimator(model, hardware, Policy(power_limit_w=limit)).estimate(found)
        assert estimates.speed is not None
        assert estimates.speed.pp_tok_s is not None
        assert estimates.power is not None
        assert estimates.power.board_w <= (limit or 350.0) + 1e-9
        rates.append((estimates.speed.tg_tok_s, estimates.speed.pp_tok_s))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1][0] < 0.9 * rates[0][0]


def test_what_does_not_fit_has_no_speed() -> None:
    model, hardware = spec("deepseek-r1:Q4_K_M"), named_hardware(("rtx-4090",))
    found = solve(MemoryModel(model, (), hardware.host), hardware, Policy())
    assert Estimator(model, hardware, Policy()).estimate(found).speed is None
