"""The inverse: what is missing for a wished speed, and changes that really reach it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial

import pytest

from localllm.core.calibration import Calibration, Observation
from localllm.core.choice import Chooser, Option
from localllm.core.fingerprint import model_key, placement_key
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.policy import Policy
from localllm.core.quality import grade
from localllm.core.requantise import requantised
from localllm.core.target import Reach, Target, parse_target, reach
from localllm.errors import UsageError
from localllm.units import GiB
from tests.support import specs
from tests.support.specs import gpu, llama, machine


@cache
def offered() -> tuple[ModelSpec, ...]:
    model = llama(name="dense", n_layer=8, n_ctx_train=32768)
    return tuple(requantised(model, quant) for quant in ("Q8_0", "Q4_K_M", "IQ3_XXS"))


slow_ram = partial(specs.slow_ram, bandwidth_gb_s=30.0)
PARTLY = slow_ram(gpu(free=2 * GiB, bandwidth_gb_s=300.0))
NO_GPU = slow_ram()
LARGE = replace(machine(gpu(free=24 * GiB)), name="large")
SMALL = replace(machine(gpu(free=8 * GiB, bandwidth_gb_s=700.0)), name="small")


def now_in(quant: str, hardware: Hardware, policy: Policy | None = None) -> Option:
    """What a plan of that quantisation would run, with an f16 cache."""
    (model,) = (model for model in offered() if model.quant == quant)
    fixed = replace(policy or Policy(), type_k="f16", type_v="f16")
    return Chooser([model]).choose(hardware, fixed, alternatives=False).best


def reached(text: str, quant: str, hardware: Hardware, policy: Policy | None = None) -> Reach:
    policy = policy or Policy()
    now = now_in(quant, hardware, policy)
    return reach(offered(), hardware, policy, parse_target(text), now=now, machines=(LARGE, SMALL))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("20tok/s", Target(tok_s=20.0)),
        ("20 t/s", Target(tok_s=20.0)),
        ("20", Target(tok_s=20.0)),
        (" 7.5 tokens/s ", Target(tok_s=7.5)),
        ("0.5J/token", Target(j_per_token=0.5)),
        (".5 j / tok", Target(j_per_token=0.5)),
    ],
)
def test_targets_are_speeds_or_energies(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", "fast", "-5", "0", "0tok/s", "nan", "inf", "10W", "20 tok/min", "1e999", "5 5"]
)
def test_nonsense_is_refused_with_what_is_possible(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert "20tok/s" in str(caught.value.hint)


def test_a_target_that_is_reached_needs_no_step() -> None:
    found = reached("20tok/s", "Q4_K_M", LARGE)
    assert found.reached
    assert found.steps == ()


def test_every_step_really_reaches_the_target_and_effort_grows() -> None:
    effort = ["settings", "quantisation", "cards", "RAM", "machine"]
    for hardware, quant, times in [
        (PARTLY, "Q8_0", 1.3),
        (PARTLY, "Q4_K_M", 1.5),
        (NO_GPU, "Q8_0", 1.3),
        (NO_GPU, "Q4_K_M", 4.0),
    ]:
        wish = times * now_in(quant, hardware).tok_s
        found = reached(f"{wish} tok/s", quant, hardware)
        assert not found.reached
        assert found.steps, (quant, times)
        assert all(step.option.fits and step.option.tok_s >= wish for step in found.steps)
        kinds = [effort.index(step.kind) for step in found.steps]
        assert kinds == sorted(set(kinds))


def test_the_smaller_quantisation_is_the_one_of_least_loss_that_will_do() -> None:
    hardware = slow_ram()
    speeds = {q: now_in(q, hardware).tok_s for q in ("Q8_0", "Q4_K_M", "IQ3_XXS")}
    wish = (speeds["Q8_0"] + speeds["Q4_K_M"]) / 2
    steps = {step.kind: step for step in reached(f"{wish}", "Q8_0", hardware).steps}
    assert steps["quantisation"].option.model.quant == "Q4_K_M"
    assert "loss: slight" in steps["quantisation"].change


def test_a_denser_cache_comes_before_a_smaller_quantisation() -> None:
    policy = Policy(n_ctx=32768)
    hardware = slow_ram(gpu(free=3 * GiB + GiB // 2, bandwidth_gb_s=300.0))
    f16, q8_0 = (
        Chooser([offered()[1]])
        .choose(hardware, replace(policy, type_k=kv, type_v=kv), alternatives=False)
        .best.tok_s
        for kv in ("f16", "q8_0")
    )
    assert q8_0 > f16
    first, *others = reached(f"{(f16 + q8_0) / 2}", "Q4_K_M", hardware, policy).steps
    assert first.kind == "settings"
    assert "KV cache" in first.change
    assert others


def test_a_setting_that_the_person_fixed_is_named() -> None:
    policy = Policy(n_gpu_layers=0)
    found = reached("60tok/s", "Q4_K_M", LARGE, policy)
    assert found.steps[0].change == "the number of GPU layers left to the planner"
    assert found.steps[0].option.solution.whole


def test_one_more_card_holds_what_one_does_not() -> None:
    two = {step.kind: step for step in reached("60tok/s", "Q4_K_M", PARTLY).steps}
    assert two["cards"].change.startswith("one more Test GPU")
    assert len(two["cards"].hardware.devices) == 2


def test_faster_ram_is_no_more_than_it_takes() -> None:
    now = now_in("Q4_K_M", NO_GPU)
    steps = {step.kind: step for step in reached(f"{2 * now.tok_s}", "Q4_K_M", NO_GPU).steps}
    enough = steps["RAM"].hardware.host.memory_bandwidth_gb_s
    assert enough is not None and 30.0 < enough < 120.0
    slower = replace(NO_GPU.host, memory_bandwidth_gb_s=enough - 6)
    less = now_in("Q4_K_M", replace(NO_GPU, host=slower))
    assert less.tok_s < 2 * now.tok_s


def test_the_machine_is_the_smallest_that_will_do() -> None:
    steps = {step.kind: step for step in reached("100tok/s", "Q4_K_M", NO_GPU).steps}
    assert steps["machine"].hardware.name == "small"


def test_what_nothing_reaches_says_what_comes_nearest() -> None:
    found = reached("100000tok/s", "Q4_K_M", PARTLY)
    assert not found.reached
    assert found.steps == ()
    assert found.nearest is not None
    assert found.nearest.hardware.name == "large"
    assert f"{found.now.tok_s:.3g} of 100,000 tok/s" in found.missing


def test_energy_is_a_target_as_well() -> None:
    now = now_in("Q8_0", LARGE)
    assert now.power is not None
    found = reached(f"{0.8 * now.power.j_per_token} J/token", "Q8_0", LARGE)
    assert not found.reached
    assert all(
        step.option.power and step.option.power.j_per_token <= 0.8 * now.power.j_per_token
        for step in found.steps
    )
    assert "J/token" in found.missing


def test_what_does_not_fit_is_short_of_memory_first() -> None:
    found = reached("5tok/s", "Q8_0", slow_ram(ram=3 * GiB))
    assert "memory are missing" in found.missing
    assert found.steps[0].kind == "quantisation"


def measured(ratio: float, now: Option) -> Calibration:
    """Runs of these days that were so many times as fast as the formula says ``now`` is."""
    place = placement_key(now.model, now.solution.devices, now.solution.placement)
    return Calibration(
        Observation(
            model_key=model_key(now.model),
            placement_key=place,
            phase="tg",
            predicted_tok_s=now.tok_s,
            measured_tok_s=ratio * now.tok_s,
            n_tokens=512,
            age_days=float(day),
        )
        for day in range(6)
    )


def reached_as_measured(
    hardware: Hardware, ratio: float, share: float
) -> tuple[Reach, Calibration]:
    """Ask for a share of what the formula says, where it was measured to be another."""
    model = offered()[1]
    formula = now_in("Q4_K_M", hardware)
    calibration = measured(ratio, formula)
    fixed = Policy(type_k="f16", type_v="f16")
    now = Chooser([model]).choose(hardware, fixed, alternatives=False, calibration=calibration).best
    found = reach(
        offered(),
        hardware,
        Policy(),
        Target(tok_s=share * formula.tok_s),
        now=now,
        machines=(LARGE,),
        calibration=calibration,
    )
    return found, calibration


@pytest.mark.parametrize("hardware", [NO_GPU, PARTLY, SMALL], ids=["CPU", "partly", "GPU"])
def test_what_was_measured_here_counts_for_changes_here(hardware: Hardware) -> None:
    """The formula alone would call the target reached by the settings of now."""
    found, calibration = reached_as_measured(hardware, 0.5, 0.9)
    assert not found.reached
    for step in found.steps:
        assert step.kind != "settings" or step.option.solution != found.now.solution
        if step.hardware is hardware:
            again = Chooser([step.option.model]).choose(
                hardware, step.option.policy, alternatives=False, calibration=calibration
            )
            assert step.option.tok_s == again.best.tok_s
    faster_ram = [step for step in found.steps if step.kind == "RAM"]
    if hardware is NO_GPU:
        enough = faster_ram[0].hardware.host.memory_bandwidth_gb_s
        assert enough is not None and enough > 1.5 * 30.0  # half as fast as the formula says


def test_a_card_that_the_weights_do_not_need_is_no_step_because_it_is_not_measured() -> None:
    found, _ = reached_as_measured(SMALL, 0.5, 0.9)
    assert "cards" not in [step.kind for step in found.steps]
    assert "cards" in [step.kind for step in reached_as_measured(PARTLY, 0.8, 1.5)[0].steps]


def test_faster_ram_is_named_by_its_peak_where_the_present_one_was_measured() -> None:
    """30 GB/s of a sequential read come from modules of 35, and what is sold states its peak."""
    read = replace(NO_GPU.host, memory_bandwidth_basis="measured: sequential read, 8 threads")
    peak = replace(NO_GPU.host, memory_bandwidth_gb_s=30.0 / 0.85)
    by_basis = []
    for its_host in (read, peak):
        hardware = replace(NO_GPU, host=its_host)
        wish = 2 * now_in("Q4_K_M", hardware).tok_s
        (step,) = (s for s in reached(f"{wish}", "Q4_K_M", hardware).steps if s.kind == "RAM")
        enough = step.hardware.host.memory_bandwidth_gb_s
        assert enough is not None
        assert f"RAM of {math.ceil(enough)} GB/s instead of 35" in step.change
        by_basis.append(enough)
    assert by_basis[0] == pytest.approx(by_basis[1])


def test_no_large_machine_hides_the_smaller_ones() -> None:
    """Sixty small cards that cannot do it come before the one that can; it is found."""
    base = gpu(free=4 * GiB, bandwidth_gb_s=100.0)
    slow = [replace(machine(base), name=f"slow-{n}") for n in range(60)]
    found = reach(
        offered(),
        NO_GPU,
        Policy(),
        Target(tok_s=100.0),
        now=now_in("Q4_K_M", NO_GPU),
        machines=(LARGE, *slow, SMALL),
    )
    (step,) = (step for step in found.steps if step.kind == "machine")
    assert step.hardware.name == "small"
    assert step.option.model.quant == "Q4_K_M"


def test_a_laptop_is_not_what_a_desktop_lacks() -> None:
    portable = replace(SMALL, name="small-laptop")
    now = now_in("Q4_K_M", NO_GPU)
    target = Target(tok_s=100.0)
    for here, name in ((NO_GPU, "large"), (replace(NO_GPU, name="laptop"), "small-laptop")):
        found = reach(offered(), here, Policy(), target, now=now, machines=(LARGE, portable))
        (step,) = (step for step in found.steps if step.kind == "machine")
        assert step.hardware.name == name


def test_a_large_loss_is_never_the_least_change_where_another_will_do() -> None:
    mixed = False
    offer = (*offered(), requantised(offered()[1], "IQ2_XXS"))
    for hardware in (PARTLY, NO_GPU):
        for times in (1.2, 1.5):
            wish = times * now_in("Q4_K_M", hardware).tok_s
            losses = [
                grade(step.option.loss.kld) == "large"
                for step in reach(
                    offer,
                    hardware,
                    Policy(),
                    Target(tok_s=wish),
                    now=now_in("Q4_K_M", hardware),
                    machines=(LARGE, SMALL),
                ).steps
            ]
            assert losses == sorted(losses)
            mixed = mixed or len(set(losses)) == 2
    assert mixed


def test_the_nearest_is_the_fastest_by_estimate_not_by_bandwidth() -> None:
    """What is read in no time is bound by launches, which more bandwidth does not shorten."""
    card = gpu(free=24 * GiB, bandwidth_gb_s=900.0)
    wide = gpu(free=24 * GiB, bandwidth_gb_s=910.0)
    machines = (
        replace(machine(replace(wide, fp32_tflops=0.5)), name="wide"),
        replace(machine(replace(card, fp32_tflops=80.0)), name="quick"),
    )
    now = now_in("Q4_K_M", NO_GPU)
    found = reach(offered(), NO_GPU, Policy(), Target(tok_s=1e6), now=now, machines=machines)
    assert found.nearest is not None
    best = max(
        Chooser(offered()).choose(m, Policy(prefer="speed"), alternatives=False).best.tok_s
        for m in machines
    )
    assert found.nearest.option.tok_s == best
