"""Where llama.cpp is the wrong engine for a machine: which one is right, and by what arithmetic.

One stream on one GPU is what llama.cpp is best at, and then there is nothing to say. Others win:

- Many streams at once. A decoded token reads every weight that it passes; a batch of B streams
  reads them once for all. Until the arithmetic takes as long as the reading, B streams cost what
  one costs: ``B = peak operations / bandwidth * bytes per weight / 2``, times experts over experts
  used in a mixture, whose experts each see only their share of the batch. vLLM and SGLang are built
  for that batch (paged caches, continuous batching); measured against llama.cpp on H200s they gain
  with every further stream where llama.cpp's throughput stays flat
  (developers.redhat.com/articles/2025/09/30/vllm-or-llamacpp-choosing-right-llm-inference-engine-your-use-case).
- FP8 on data-centre GPUs. GGUF has no FP8 type and ggml no FP8 product (``ggml.h``), so half of
  what an H100 can compute lies idle. vLLM computes in FP8 from compute capability 8.9 and on
  MI300X (docs.vllm.ai, "FP8 W8A8"), SGLang on the same (docs.sglang.io, "Quantization"); four bits
  are AWQ there, computed in FP16.
- Several equal cards. llama.cpp's default split is by layers: for one stream the cards work one
  after another. Tensor parallelism reads from all at once; it needs a fast link
  (docs.vllm.ai, "Distributed serving"). llama.cpp's own (``--split-mode tensor``) is marked
  experimental in its ``docs/multi-gpu.md``, and localllm does not plan it.

Apple's MLX is not advised: comparisons with llama.cpp go both ways once both run the same model
without faults (famstack.dev/guides/mlx-vs-gguf-part-2-isolating-variables).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.hardware import Device, Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import SpeedEstimate
from localllm.core.policy import Policy
from localllm.core.quality import published_quant
from localllm.core.solution import Solution
from localllm.units import format_rate

MANY_STREAMS = 8
"""From so many on another engine is worth its set-up; a few llama.cpp batches well enough."""

FP8_SINCE = (8, 9)
"""CUDA compute capability with FP8 arithmetic: Ada, Hopper, Blackwell."""

_DATA_CENTRE = {(9, 0), (10, 0), (10, 3)}
_FP8_AMD = ("gfx942", "gfx950")
_USABLE_SHARE = 0.9
"""Of a GPU's memory: vLLM's own default (``gpu_memory_utilization``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What another engine would hold the weights in."""

    name: str
    bytes_per_weight: float
    """Scales and what stays in 16 bits included."""
    in_fp8: bool


_FP8 = Format(name="FP8", bytes_per_weight=1.04, in_fp8=True)
_AWQ = Format(name="AWQ (4-bit)", bytes_per_weight=0.56, in_fp8=False)
_MXFP4 = Format(name="its own MXFP4", bytes_per_weight=0.56, in_fp8=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How another engine would hold a model."""

    kept_in: Format
    devices: tuple[Device, ...]
    """Several work by tensor parallelism."""

    @property
    def text(self) -> str:
        """As a person would set it up."""
        n = len(self.devices)
        parallel = f" over {n} cards (--tensor-parallel-size {n})" if n > 1 else ""
        return f"vLLM or SGLang with {self.kept_in.name} weights{parallel}"


def advice(
    model: ModelSpec,
    hardware: Hardware,
    policy: Policy,
    solution: Solution,
    speed: SpeedEstimate | None,
) -> str | None:
    """Return in a sentence or two which engine would do better here, and why; usually None."""
    devices = solution.devices
    if not devices or not solution.whole or solution.verdict != "fits":
        return None
    if any(device.backend not in ("cuda", "rocm") for device in devices):
        return None
    taking_turns = len(devices) > 1 and _linked(devices)
    serving = best_serving(model, hardware, solution)
    if serving is None:
        serving = best_serving(model, hardware, solution, n_streams=1) if taking_turns else None
        return _all_at_once(serving, len(devices)) if serving else None
    if policy.n_seq >= MANY_STREAMS:
        return (
            f"For {policy.n_seq} streams at once {serving.text} is the better engine: "
            f"{_why(model, solution, serving, speed)}."
        )
    if all(_has_fp8(device) and _in_data_centre(device) for device in devices):
        idle = "; llama.cpp computes nothing in FP8" if serving.kept_in.in_fp8 else ""
        return (
            f"For several people or agents at once {serving.text} is the better engine: "
            f"{_why(model, solution, serving, speed)}{idle}."
        )
    return _all_at_once(serving, len(devices)) if taking_turns else None


def _all_at_once(serving: Serving, n_devices: int) -> str:
    return (
        f"The {n_devices} cards work one after another here, so one stream reads at the bandwidth "
        f"of one of them; {serving.text} reads from all at once. llama.cpp's own --split-mode "
        "tensor does so too, experimentally and unplanned."
    )


def best_serving(
    model: ModelSpec, hardware: Hardware, solution: Solution, *, n_streams: int = MANY_STREAMS
) -> Serving | None:
    """Return the best way to serve several streams: FP8 on as few cards as hold it, or four bits.

    The cards of the plan, or more where they are equal and linked. None where nothing holds the
    weights and so many streams' caches.
    """
    used = solution.devices
    groups = [used]
    equal = [d for d in hardware.usable_devices if _alike(d) == _alike(used[0])]
    if _linked(equal):
        powers = [2**n for n in range(1, 8) if 2**n <= len(equal)]
        groups += [tuple(equal[:n]) for n in powers if n > len(used)]
    formats = [_FP8, _AWQ] if all(map(_has_fp8, used)) else [_AWQ]
    if published_quant(model) == "MXFP4":
        formats = [_MXFP4]
    ways = [Serving(kept_in=f, devices=group) for f in formats for group in groups]
    return next((w for w in ways if streams_by_memory(model, solution, w) >= n_streams), None)


def streams_by_memory(model: ModelSpec, solution: Solution, serving: Serving) -> float:
    """Return how many caches of the plan's context fit beside the weights."""
    cache = sum(row.context_bytes for row in solution.rows) / solution.settings.shape.n_seq
    room = _USABLE_SHARE * sum(device.total_bytes or 0 for device in serving.devices)
    room -= serving.kept_in.bytes_per_weight * model.n_params
    if room <= 0:
        return 0.0
    return room / cache if cache else float("inf")


def breakeven_streams(model: ModelSpec, device: Device, kept_in: Format) -> float | None:
    """Return the batch at which arithmetic takes as long as reading the weights.

    ``peak / bandwidth`` is operations per byte; a weight takes two per stream. None where a peak
    is not known.
    """
    peak, bandwidth = _peak(device, kept_in), device.memory_bandwidth_gb_s
    if peak is None or not bandwidth:
        return None
    streams = peak / (bandwidth * 1e9) * kept_in.bytes_per_weight / 2
    if model.n_expert and model.n_expert_used:
        streams *= model.n_expert / model.n_expert_used
    return streams


def _why(
    model: ModelSpec, solution: Solution, serving: Serving, speed: SpeedEstimate | None
) -> str:
    """The arithmetic: what one stream leaves idle, and how many streams would share a read."""
    shape = solution.settings.shape
    parts = [_arithmetic_used(solution.devices, serving.kept_in, speed)]
    by_memory = streams_by_memory(model, solution, serving)
    by_compute = breakeven_streams(model, serving.devices[0], serving.kept_in)
    if by_compute is not None and by_compute <= by_memory:
        parts.append(
            f"about {_rounded(by_compute)} streams would share each read of the weights before the "
            "arithmetic takes as long"
        )
    else:
        parts.append(
            f"about {_rounded(by_memory)} streams would share each read of the weights until their "
            f"caches of {shape.n_ctx // shape.n_seq:,} tokens fill the memory"
        )
    return ", and ".join(part for part in parts if part)


def _arithmetic_used(
    devices: Sequence[Device], kept_in: Format, speed: SpeedEstimate | None
) -> str:
    peaks = [_peak(device, kept_in) for device in devices]
    known = [peak for peak in peaks if peak is not None]
    if speed is None or speed.decode is None or len(known) < len(peaks):
        return ""
    share = 100 * speed.decode.flops * speed.tg_tok_s / sum(known)
    kind = "FP8" if kept_in.in_fp8 else "FP16"
    whose = f"the {devices[0].description}" if len(devices) == 1 else f"the {len(devices)} cards"
    return f"one stream uses {format_rate(share, digits=2)} % of the {kind} arithmetic of {whose}"


def _peak(device: Device, kept_in: Format) -> float | None:
    """Operations per second in which another engine computes with the format."""
    tflops = device.fp8_tflops if kept_in.in_fp8 else device.fp16_tflops
    return tflops * 1e12 if tflops else None


def _has_fp8(device: Device) -> bool:
    if device.fp8_tflops:
        return True
    if device.compute_capability is not None:
        return device.compute_capability >= FP8_SINCE
    return (device.arch or "").startswith(_FP8_AMD)


def _in_data_centre(device: Device) -> bool:
    if device.compute_capability is not None:
        return device.compute_capability in _DATA_CENTRE
    return (device.arch or "").startswith(_FP8_AMD)


def _linked(devices: Sequence[Device]) -> bool:
    """Whether cards are equal and joined by NVLink."""
    return len({_alike(device) for device in devices}) == 1 and all(
        device.nvlink_gb_s for device in devices
    )


def _alike(device: Device) -> tuple[str, int | None]:
    return device.description, device.total_bytes


def _rounded(streams: float) -> str:
    return f"{float(f'{streams:.2g}'):,.0f}"
