"""THE speed formulas: what a step of decode or prefill takes, place by place.

A single stream passes through the places one after the other, so their times add up. A place's time
comes from terms, each a physical quantity at its peak (bytes over bandwidth, operations over rate,
kernels to start) times a fitted constant (``speed_constants.py``) that says how far from the peak
llama.cpp stays. Reading and arithmetic hide each other for the most part, launches and the bus do
not. Decode is a batch of one token: bytes over bandwidth, and launches. Prefill is arithmetic, and
where weights lie in RAM beside a GPU, the bus that they are streamed over once per ubatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from localllm.core import rates
from localllm.core.attention_kernels import OFFLOAD_MIN_BATCH
from localllm.core.hardware import Device
from localllm.core.pricing import Constants, Terms, priced
from localllm.core.speed_constants import CONSTANTS
from localllm.core.steps import Run, Step, Work, bound_of, merged, scaled
from localllm.core.traffic import (
    ByType,
    LayerTraffic,
    Traffic,
    cells_read,
    experts_touched,
    kv_row_bytes,
)
from localllm.core.traits import device_traits

FEW_TOKENS = 8
"""Batches of so many tokens take the kernels of one (``MMVQ_MAX_BATCH_SIZE``, ``ggml-cuda``): what
they read is what they cost."""

FORMULA_VERSION = 1
"""Raised when the formulas change: measurements kept beside the old ones say nothing of the new."""

Regime = Literal["decode", "prefill"]
Counted = tuple[LayerTraffic, int]

FAMILIES = {
    **dict.fromkeys(("f32", "f16"), "float"),
    "bf16": "bf16",
    **dict.fromkeys(("q2_K", "q3_K", "q4_K", "q5_K", "q6_K"), "k"),
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"), "i"),
}
"""Kernels by how much they compute to unpack a weight; what is not here is ``legacy`` (q8_0, q4_0,
mxfp4, iq4_nl ...: one scale a block, or a small table)."""

_FAMILY_NAMES = ("float", "bf16", "legacy", "k", "i")
_BF16_EXPERTS = "bf16 experts"
"""Vulkan multiplies chosen experts in BF16 four times slower than it reads them."""

TILE_TOKENS = 16
"""Tokens' worth of work that each expert's last tile wastes: with 16 tokens for each of 256 experts
a mixture's prompt takes twice the time that its operations say."""


@dataclass(slots=True, kw_only=True)
class _Share:
    """What one place computes: whose dense weights, whose experts, whose attention."""

    dense: list[Counted] = field(default_factory=list)
    experts: list[Counted] = field(default_factory=list)
    attention: list[Counted] = field(default_factory=list)
    streamed_dense: list[Counted] = field(default_factory=list)
    streamed_experts: list[Counted] = field(default_factory=list)
    streamed_cache: list[Counted] = field(default_factory=list)
    """The parts of them that lie in RAM and are copied over the bus for each batch."""
    crossings: float = 0.0
    """Times that activations change place for it."""


def decode_step(
    traffic: Traffic, run: Run, *, depth: int, constants: Constants = CONSTANTS
) -> Step:
    """Time of one token of a single stream with ``depth`` tokens in the context."""
    terms = step_terms(traffic, run, n_tokens=1, depth=depth)
    return _step([priced(t, constants) for t in terms], n_tokens=1, depth=depth)


def prefill_step(
    traffic: Traffic, run: Run, *, n_prompt: int, depth: int = 0, constants: Constants = CONSTANTS
) -> Step:
    """Time of a prompt of ``n_prompt`` tokens after ``depth`` others, in batches of ``n_ubatch``.

    Several GPUs that hold the whole model work on several batches at once.
    """
    works: list[Work] = []
    seconds = 0.0
    for count, n_tokens, before in prefill_batches(n_prompt, run.shape.n_ubatch, depth=depth):
        terms = step_terms(traffic, run, n_tokens=n_tokens, depth=before)
        batch = [priced(t, constants) for t in terms]
        one, slowest = sum(w.seconds for w in batch), max(w.seconds for w in batch)
        if _pipelines(run, batch):
            seconds += count * slowest + (0.0 if works else one - slowest)
        else:
            seconds += count * one
        works += [scaled(work, count) for work in batch]
    return replace(_step(merged(works), n_tokens=n_prompt, depth=depth), seconds=seconds)


def prefill_batches(
    n_prompt: int, n_ubatch: int, *, depth: int
) -> tuple[tuple[int, int, int], ...]:
    """Return how often, of how many tokens, after how many on average a prompt's batches come.

    Whole ubatches, and a last one of what is left.
    """
    n_whole, rest = divmod(n_prompt, n_ubatch)
    batches = []
    if n_whole:
        batches.append((n_whole, n_ubatch, depth + (n_whole - 1) * n_ubatch // 2))
    if rest:
        batches.append((1, rest, depth + n_whole * n_ubatch))
    return tuple(batches)


def step_terms(traffic: Traffic, run: Run, *, n_tokens: int, depth: int) -> list[Terms]:
    """Return what each place does for one batch, in the order in which a batch passes through.

    One token is computed where the weights lie. For a larger batch weights in RAM are copied to
    the first GPU, where its backend does so, and with them the cache of their layers: attention is
    computed between them.
    """
    on_devices, on_host = _shares(traffic, run, streams=n_tokens >= OFFLOAD_MIN_BATCH)
    places = [
        _terms(share, run, device=device, n_tokens=n_tokens, depth=depth)
        for device, share in zip(run.devices, on_devices, strict=True)
        if share.dense
    ]
    if on_host.dense or on_host.experts or on_host.attention:
        places.append(_terms(on_host, run, device=None, n_tokens=n_tokens, depth=depth))
    return places


def _shares(traffic: Traffic, run: Run, *, streams: bool) -> tuple[list[_Share], _Share]:
    """Divide the layers over the places as the placement says."""
    placement, n_layer = run.placement, len(traffic.kind_of)
    first = n_layer + 1 - placement.n_gpu_layers
    left = traffic.layers(range(first))
    shares: list[_Share] = []
    bounced: list[Counted] = []
    for count in placement.layers_per_device:
        blocks = range(first, first + count)
        out = placement.host_expert_layers.intersection(blocks)
        here = traffic.layers(blocks)
        kept = traffic.layers(i for i in blocks if i not in out) if out else here
        bounced += traffic.layers(out)
        shares.append(_Share(dense=here, experts=kept, attention=here))
        first += count
    host = _Share(dense=left, experts=[*left, *bounced], attention=left)
    host.crossings = bool(left and shares) + 2.0 * sum(count for _, count in bounced)
    for index in range(1, len(shares)):
        shares[index].crossings = float(bool(shares[index].dense))
    streaming = next(
        (i for i, device in enumerate(run.devices) if device_traits(device).streams_weights), None
    )
    if streams and streaming is not None:
        gpu = shares[streaming]
        gpu.dense, gpu.streamed_dense = [*gpu.dense, *left], left
        gpu.streamed_experts = host.experts
        gpu.experts = [*gpu.experts, *host.experts]
        gpu.attention, gpu.streamed_cache = [*gpu.attention, *left], left
        gpu.crossings += host.crossings
        host = _Share()
    return shares, host


def _terms(
    share: _Share,
    run: Run,
    *,
    device: Device | None,
    n_tokens: int,
    depth: int,
) -> Terms:
    """Sum what a place's share of a batch takes. ``device`` None: the host."""
    unpacked = dict.fromkeys((*_FAMILY_NAMES, _BF16_EXPERTS), 0.0)
    products = dict.fromkeys(_FAMILY_NAMES, 0.0)
    weight_bytes = kv_bytes = attention_flops = score_bytes = n_matrices = 0.0
    for layer, count in share.dense:
        n_rows = min(n_tokens, run.shape.n_outputs_max) if layer.is_output else n_tokens
        n_matrices += count * layer.n_matrices
        for kind, (n_bytes, n_elements) in layer.dense.items():
            family = FAMILIES.get(kind, "legacy")
            weight_bytes += count * n_bytes
            unpacked[family] += count * n_elements
            products[family] += 2.0 * n_rows * count * n_elements
    flops = sum(products.values())
    for layer, count in share.experts:
        touched = experts_touched(layer, n_tokens)
        passes = n_tokens * layer.n_expert_used / layer.n_expert if layer.n_expert else 0.0
        for kind, (n_bytes, n_elements) in layer.experts.items():
            family = FAMILIES.get(kind, "legacy")
            weight_bytes += count * touched * n_bytes
            unpacked[_BF16_EXPERTS if family == "bf16" else family] += count * touched * n_elements
            flops += 2.0 * passes * count * n_elements
            # An expert with few tokens still computes whole tiles.
            products[family] += 2.0 * (passes + touched * TILE_TOKENS) * count * n_elements
    for layer, count in share.attention:
        cells = cells_read(layer, depth + n_tokens)
        kv_bytes += count * (cells * kv_row_bytes(layer, run.shape) + layer.state_bytes)
        attention_flops += count * n_tokens * cells * layer.attention_flops
        score_bytes += count * n_tokens * cells * layer.n_head * 4.0
    pcie_bytes = _streamed_bytes(share, run, n_tokens=n_tokens, depth=depth)
    if device is None:
        peak = rates.host_rates(run.host, run.n_threads)
    else:
        peak = rates.device_rates(device)
    few = 1 if device is None else FEW_TOKENS
    regime: Regime = "decode" if n_tokens <= few else "prefill"
    return Terms(
        place="host" if device is None else device.name,
        kind="host" if device is None else "gpu",
        keys=tuple(f"{regime} {name}" for name in peak.classes),
        quantities={
            "weights": weight_bytes / peak.bandwidth,
            "latency": (weight_bytes + kv_bytes) / peak.clock,
            "kv": kv_bytes / peak.bandwidth,
            "scores": 0.0 if run.shape.flash_attn else score_bytes / peak.bandwidth,
            **{f"unpack {name}": n / peak.clock for name, n in unpacked.items()},
            **{f"matmul {name}": n / peak.rate(name) for name, n in products.items()},
            "feed": (products["float"] + products["bf16"]) / peak.quantised_rate,
            "attention": attention_flops / peak.float_rate,
            "matrices": n_matrices * peak.clock_s,
            "crossing": share.crossings,
            "stream": pcie_bytes / peak.slot,
        },
        memory_bytes=weight_bytes + kv_bytes,
        pcie_bytes=pcie_bytes,
        flops=flops + attention_flops,
    )


def _streamed_bytes(share: _Share, run: Run, *, n_tokens: int, depth: int) -> float:
    """Bytes that one batch copies over the bus: weights, experts that it touches, cache."""
    weights = sum(count * _bytes(layer.dense) for layer, count in share.streamed_dense)
    experts = sum(
        count * experts_touched(layer, n_tokens) * _bytes(layer.experts)
        for layer, count in share.streamed_experts
    )
    cache = sum(
        count * cells_read(layer, depth + n_tokens) * kv_row_bytes(layer, run.shape)
        for layer, count in share.streamed_cache
    )
    return weights + experts + cache


def _bytes(weights: ByType) -> float:
    return sum(n_bytes for n_bytes, _ in weights.values())


def _pipelines(run: Run, works: list[Work]) -> bool:
    return (
        len(works) > 1
        and all(device_traits(device).pipelines for device in run.devices)
        and all(work.kind == "gpu" for work in works)
    )


def _step(works: list[Work], *, n_tokens: int, depth: int) -> Step:
    return Step(
        n_tokens=n_tokens,
        depth=depth,
        works=tuple(works),
        seconds=sum(work.seconds for work in works),
        bound_by=bound_of(works),
    )
