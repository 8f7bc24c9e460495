"""Speed, power and cost of one solution: the formulas asked together, with their ranges.

The range is that of the residuals of the public measurements that the constants were fitted to
(``speed_constants.SPREADS``), by the kind of run: it covers 80 % of sources that were left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from localllm.core import rates
from localllm.core.board_power import CapFactors, power_limited
from localllm.core.cost import cost_estimate
from localllm.core.energy import power_estimate
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import CostEstimate, PowerEstimate, SpeedEstimate
from localllm.core.policy import Policy
from localllm.core.solution import Solution
from localllm.core.speed import decode_step, prefill_step
from localllm.core.speed_constants import SPREADS
from localllm.core.steps import Run, Step, slowed
from localllm.core.traffic import Traffic, traffic_of

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

N_PROMPT = 512
"""Tokens of the prompt that prefill is estimated for, as in llama-bench; a whole ubatch if that is
more."""

Kind = Literal[
    "one GPU", "several GPUs", "CPU only", "dense offload", "expert offload", "Apple", "AMD"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What one solution would do; nothing where it does not fit."""

    speed: SpeedEstimate | None = None
    power: PowerEstimate | None = None
    """None as well where the device's draw is unknown."""
    cost: CostEstimate | None = None


class Estimator:
    """Estimates of one model on one machine, for as many solutions as are asked."""

    def __init__(
        self,
        model: ModelSpec,
        hardware: Hardware,
        policy: Policy,
        *,
        calibration: Calibration | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """Count the model's traffic once, unless it is given (``traffic_of(model)``).

        ``calibration``: what was measured on this machine.
        """
        self._model = model
        self._traffic = traffic_of(model) if traffic is None else traffic
        self._hardware = hardware
        self._policy = policy
        self._calibration = calibration

    def estimate(self, solution: Solution) -> Estimates:
        """Return speed, power and cost at the policy's depth."""
        if solution.verdict != "fits":
            return Estimates()
        policy = self._policy
        run = run_of(solution, self._hardware)
        # Where the largest context was asked for, it may be shorter than the depth.
        depth = min(policy.depth, run.shape.n_ctx // run.shape.n_seq - 1)
        formula = estimate_speed(
            self._traffic, run, depth=depth, power_limit_w=policy.power_limit_w
        )
        assert formula.decode is not None
        speed = self._moved(formula, solution)
        power = power_estimate(
            self._hardware,
            run,
            decode=formula.decode,
            prefill=formula.prefill,
            power_limit_w=policy.power_limit_w,
        )
        if power is not None and speed is not formula:
            power = _at_speed(power, formula, speed)
        cost = None
        if policy.prices is not None:
            cost = cost_estimate(tok_s=speed.tg_tok_s, power=power, prices=policy.prices)
        return Estimates(speed=speed, power=power, cost=cost)

    def _moved(self, formula: SpeedEstimate, solution: Solution) -> SpeedEstimate:
        if self._calibration is None:
            return formula
        from localllm.core.fingerprint import model_key, placement_key

        return self._calibration.applied(
            formula,
            model_key=model_key(self._model),
            placement_key=placement_key(self._model, solution.devices, solution.placement),
        )


def run_of(solution: Solution, hardware: Hardware) -> Run:
    """What speed depends on, of a solution."""
    return Run(
        devices=solution.devices,
        host=hardware.host,
        placement=solution.placement,
        shape=solution.settings.shape,
        n_threads=solution.settings.n_threads,
    )


def estimate_speed(
    traffic: Traffic, run: Run, *, depth: int = 0, power_limit_w: float | None = None
) -> SpeedEstimate:
    """Return tokens per second of decode at a depth, and of a prompt after so many tokens."""
    n_prompt = max(N_PROMPT, run.shape.n_ubatch)
    decode = decode_step(traffic, run, depth=depth)
    prefill = prefill_step(traffic, run, n_prompt=n_prompt, depth=depth)
    if power_limit_w is not None:
        decode = slowed(decode, {n: f.decode for n, f in _caps(run, decode, power_limit_w)})
        prefill = slowed(prefill, {n: f.prefill for n, f in _caps(run, prefill, power_limit_w)})
    kind, assumed = kind_of(traffic, run), assumptions(run, decode, prefill)
    tg_low, tg_high = _widened(SPREADS[f"decode {kind}"], assumed)
    pp_low, pp_high = _widened(SPREADS[f"prefill {kind}"], assumed)
    return SpeedEstimate(
        tg_tok_s=decode.tok_s,
        tg_low=decode.tok_s * tg_low,
        tg_high=decode.tok_s * tg_high,
        pp_tok_s=prefill.tok_s,
        pp_low=prefill.tok_s * pp_low,
        pp_high=prefill.tok_s * pp_high,
        at_depth=depth,
        basis=", ".join(("formula", *assumed)),
        bound_by=decode.bound_by,
        pp_bound_by=prefill.bound_by,
        n_prompt=n_prompt,
        decode=decode,
        prefill=prefill,
    )


def assumptions(run: Run, decode: Step, prefill: Step) -> tuple[str, ...]:
    """Return what nobody knows of the hardware and the estimate takes for granted, in words."""
    found = []
    for device in run.devices:
        if not device.memory_bandwidth_gb_s:
            found.append(f"{device.name} assumed at {rates.bandwidth(device) / 1e9:.0f} GB/s")
        elif not device.fp32_tflops:
            found.append(f"arithmetic of {device.name} assumed")
        streams = any(work.pcie_bytes and work.place == device.name for work in prefill.works)
        if streams and not device.unified and not rates.slot_known(device):
            found.append(f"bus of {device.name} assumed PCIe 3.0 x16")
    if any(work.kind == "host" for work in decode.works) and not run.host.memory_bandwidth_gb_s:
        found.append(f"RAM assumed at {rates.host_bandwidth(run.host) / 1e9:.0f} GB/s")
    return tuple(found)


def _widened(spread: tuple[float, float], assumed: tuple[str, ...]) -> tuple[float, float]:
    """Widen a range for what is assumed: real machines lie up to half as much again either way."""
    return (spread[0] / 1.5, spread[1] * 1.5) if assumed else spread


def kind_of(traffic: Traffic, run: Run) -> Kind:
    """The kind of run, of which the range of its residuals is known."""
    placement = run.placement
    if not any(placement.layers_per_device):
        return "CPU only"
    if placement.host_expert_layers:
        return "expert offload"
    if placement.n_gpu_layers < len(traffic.kind_of) + 1:
        return "dense offload"
    if any(device.backend == "metal" for device in run.devices):
        return "Apple"
    if any(device.backend == "rocm" for device in run.devices):
        return "AMD"
    return "several GPUs" if len(run.devices) > 1 else "one GPU"


def _caps(run: Run, step: Step, power_limit_w: float) -> list[tuple[str, CapFactors]]:
    """What a cap leaves of each board's speed, given for how much of the step it works."""
    devices = {device.name: device for device in run.devices}
    return [
        (
            work.place,
            power_limited(
                devices[work.place],
                power_limit_w,
                duty=min(work.seconds / step.seconds, 1.0),
                host=run.host,
                work=work,
            ),
        )
        for work in step.works
        if work.place in devices
    ]


def _at_speed(power: PowerEstimate, formula: SpeedEstimate, moved: SpeedEstimate) -> PowerEstimate:
    """The same watts at a measured speed: joules per token follow it."""
    slower = formula.tg_tok_s / moved.tg_tok_s
    prefill, at_wall = power.prefill_j_per_token, power.wall_j_per_token
    if prefill is not None and formula.pp_tok_s and moved.pp_tok_s:
        prefill *= formula.pp_tok_s / moved.pp_tok_s
    return replace(
        power,
        j_per_token=power.j_per_token * slower,
        wall_j_per_token=None if at_wall is None else at_wall * slower,
        prefill_j_per_token=prefill,
    )
