"""A policy made definite for one model: context, batch sizes and KV types, checked.

What the user fixed is checked and kept; what was left open gets its default here.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.cache import cache_refusal
from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.hardware import THIS_MACHINE, Device, Hardware, Host
from localllm.core.memory import RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.policy import KV_TYPES, FlashAttn, Policy
from localllm.errors import UsageError
from localllm.units import MiB

DEFAULT_N_CTX = 8192
"""Enough for a long conversation; small beside the weights of any model with grouped heads."""

BASE_N_CTX = 4096
"""``--ctx max`` keeps the layers that fit on GPUs at this context, as llama.cpp's own fit does."""

DEFAULT_N_BATCH = 2048
DEFAULT_N_UBATCH = 512
"""llama.cpp's own defaults (``common.h``)."""


WEIGHTS_PER_THREAD_BYTES = 8 * MiB
"""Under this a further thread costs more in waiting for the others than it computes. Measured on 2
cores: 2.7 MiB of weights generate 4 times faster on one thread, 32 MiB 1.3 times faster on two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything but the placement."""

    shape: RunShape
    n_batch: int
    flash_attn: FlashAttn
    n_threads: int
    use_mmap: bool


def settle(model: ModelSpec, hardware: Hardware, policy: Policy, *, n_ctx: int) -> Settings:
    """Return definite settings for a context. Raises UsageError for a wish llama.cpp refuses."""
    type_k, type_v = policy.type_k or "f16", policy.type_v or "f16"
    _check_kv_type("K", type_k)
    _check_kv_type("V", type_v)
    if policy.flash_attn == "off" and TYPES_BY_NAME[type_v].quantised:
        raise UsageError(
            f"A {type_v} V cache needs flash attention, which is switched off.",
            hint="Leave --flash-attn at auto, or use --type-v f16.",
        )
    n_ctx = padded_n_ctx(n_ctx, n_seq=policy.n_seq)
    n_ubatch = policy.n_ubatch or DEFAULT_N_UBATCH
    n_batch = min(max(policy.n_batch or DEFAULT_N_BATCH, n_ubatch), n_ctx)
    if policy.n_batch is not None and policy.n_batch < n_ubatch:
        n_batch = min(policy.n_batch, n_ctx)
    shape = RunShape(
        n_ctx=n_ctx,
        n_ubatch=min(n_ubatch, n_batch),
        type_k=type_k,
        type_v=type_v,
        flash_attn=policy.flash_attn != "off",
        n_seq=policy.n_seq,
        n_outputs_max=policy.n_seq,
        repack=policy.repack is not False,
    )
    refusal = cache_refusal(model, shape)
    if refusal is not None:
        raise UsageError(refusal, hint="Use --kv f16 for this model, or --kv auto.")
    return Settings(
        shape=shape,
        n_batch=n_batch,
        flash_attn=policy.flash_attn,
        n_threads=policy.n_threads or default_n_threads(model, hardware.host),
        use_mmap=maps_by_default(hardware) if policy.use_mmap is None else policy.use_mmap,
    )


def check_wishes(model: ModelSpec, hardware: Hardware, policy: Policy) -> None:
    """Raise UsageError for wishes that contradict the model or the machine."""
    n_ctx = wanted_n_ctx(model, policy)
    if (
        n_ctx is not None
        and policy.depth >= padded_n_ctx(n_ctx, n_seq=policy.n_seq) // policy.n_seq
    ):
        raise UsageError(
            f"--depth {policy.depth:,} leaves no room in a context of {n_ctx:,} tokens.",
            hint="Ask for a larger --ctx, or a speed further from its end.",
        )
    n_devices = len(hardware.usable_devices)
    split = policy.tensor_split
    if (policy.n_gpu_layers or split is not None) and not n_devices:
        here = hardware.source == THIS_MACHINE
        raise UsageError(
            "Layers on GPUs were asked for, and llama.cpp has no GPU "
            f"{'here' if here else f'on {hardware.name}'}.",
            hint=f"Leave out {'--n-gpu-layers' if split is None else '--tensor-split'}"
            f"{', or see `localllm doctor` for what is missing' if here else ''}.",
        )
    if split is not None and (len(split) != n_devices or min(split) < 0 or sum(split) <= 0):
        raise UsageError(
            f"--tensor-split needs one share per GPU ({n_devices} here), none negative.",
            hint="For two equal cards: --tensor-split 1,1.",
        )
    if policy.n_cpu_moe and not model.n_expert:
        raise UsageError(
            f"{model.name} has no experts, so --n-cpu-moe has nothing to keep in RAM.",
            hint="Use --n-gpu-layers for dense models.",
        )


def maps_by_default(hardware: Hardware) -> bool:
    """Whether to map the file. Not where a GPU shares the RAM and copies its weights there.

    CUDA and Vulkan do not take mapped pages on integrated devices (``mmap_support``), so the page
    cache would hold the weights a second time. Metal computes from the mapped pages themselves.
    """
    return not any(d.unified and d.backend != "metal" for d in hardware.usable_devices)


def wanted_n_ctx(model: ModelSpec, policy: Policy) -> int | None:
    """Return the context asked for, or its default; None when the largest that fits is wanted.

    Raises UsageError for a context that the model was not trained for.
    """
    if policy.n_ctx == "max":
        return None
    trained = model.n_ctx_train
    if policy.n_ctx is None:
        return min(DEFAULT_N_CTX, trained) if trained else DEFAULT_N_CTX
    if policy.n_ctx < 1:
        raise UsageError("The context must hold at least one token.", hint="Try --ctx 4096.")
    if trained and policy.n_ctx > trained:
        raise UsageError(
            f"{model.name} was trained for a context of {trained:,} tokens; "
            f"{policy.n_ctx:,} were asked for.",
            hint=f"Use --ctx {trained} or less, or --ctx max for the largest that fits.",
        )
    return policy.n_ctx


def default_n_threads(model: ModelSpec, host: Host) -> int:
    """Threads for a model: the host's cores for decoding, fewer for a very small model."""
    enough = max(1, model.file_bytes // WEIGHTS_PER_THREAD_BYTES)
    return min(host.n_threads_default, enough)


def headroom_bytes(device: Device, policy: Policy) -> int:
    """Memory to leave free on a device."""
    more = dict(policy.headroom_by_device).get(device.name, 0)
    if policy.vram_headroom_fraction is not None and device.total_bytes is not None:
        return more + round(device.total_bytes * policy.vram_headroom_fraction)
    return more + policy.vram_headroom_bytes


def _check_kv_type(which: str, type_name: str) -> None:
    if type_name not in KV_TYPES:
        raise UsageError(
            f"{type_name} is no type for the {which} cache.",
            hint=f"Choose one of {', '.join(KV_TYPES)}.",
        )
