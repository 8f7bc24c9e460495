"""The knobs of a plan: what can be turned, through which values, and how each is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from localllm.core.change import Change
from localllm.core.plan import Plan
from localllm.core.policy import KV_TYPES, Policy, kv_label
from localllm.core.prediction import run_of_plan
from localllm.core.settings import headroom_bytes
from localllm.tui.plan.knob import BEST, LARGEST, Knob, Scene, Value
from localllm.units import GiB, MiB, format_bytes
from localllm.words.parse import (
    PREFERENCES,
    parse_count,
    parse_flash_attn,
    parse_headroom,
    parse_kv_type,
    parse_n_ctx,
    parse_n_gpu_layers,
    parse_preference,
    parse_quant,
    parse_whole,
)

SHORTEST_N_CTX = 512
LONGEST_N_CTX = 131_072
"""Of a model that does not say for how much it was trained."""

_KV_RUNGS = tuple(sorted(KV_TYPES, key=("q4_0", "q8_0", "f16", "bf16", "f32").index))
_BATCHES = tuple(2**n for n in range(5, 14))
_HEADROOMS = (0, 128 * MiB, 256 * MiB, 512 * MiB, *(n * GiB for n in (1, 2, 3, 4, 6, 8, 12, 16)))


def knobs_of(scene: Scene) -> tuple[Knob, ...]:
    """Return the knobs that change anything for this model on this machine."""
    return tuple(knob for knob in KNOBS if knob.applies(scene))


def _field(name: str, usual: Any = None) -> dict[str, Any]:
    """Read and write of a field of the policy; ``usual`` stands there where nobody fixes it."""

    def read(policy: Policy) -> Value | None:
        value: Value | None = getattr(policy, name)
        return None if value == usual else value

    def write(policy: Policy, value: Value | None) -> Policy:
        return Change(wishes={name: usual if value is None else value}).of(policy)

    return {"name": name, "read": read, "write": write}


# -- context -------------------------------------------------------------------------------------


def _n_ctxs(scene: Scene) -> tuple[Value, ...]:
    return (*_lengths(scene), LARGEST)


def _lengths(scene: Scene) -> tuple[int, ...]:
    """Powers of two, and what the model was trained for."""
    longest = scene.plan.model.n_ctx_train or LONGEST_N_CTX
    powers = tuple(2**n for n in range(SHORTEST_N_CTX.bit_length() - 1, longest.bit_length()))
    return powers if longest in powers else (*powers, longest)


def _n_ctx_text(value: Value, scene: Scene) -> str:
    return f"max {scene.plan.n_ctx:,}" if value == LARGEST else f"{value:,}"


def _depths(scene: Scene) -> tuple[Value, ...]:
    n_ctx = scene.plan.n_ctx
    powers = (n for n in _lengths(scene) if n < n_ctx)
    return (0, *powers, n_ctx - 1)


def _depth_text(value: Value, scene: Scene) -> str:
    return f"{value:,} tokens in" if value else "an empty context"


# -- the cache -----------------------------------------------------------------------------------


def _write_kv(policy: Policy, value: Value | None) -> Policy:
    kv = None if value is None else str(value)
    return replace(policy, type_k=kv, type_v=kv)


def _read_kv(policy: Policy) -> Value | None:
    if policy.type_k is None and policy.type_v is None:
        return None
    if policy.type_k == policy.type_v:
        return policy.type_k
    return kv_label(policy.type_k or "f16", policy.type_v or "f16")


def _parse_kv(text: str) -> Value:
    return parse_kv_type("auto" if text.strip().lower() == "best" else text)


def _kv_text(value: Value, scene: Scene) -> str:
    taken = kv_label(scene.plan.type_k, scene.plan.type_v)
    return f"best {taken}" if value == BEST else f"{value}"


def _v_text(value: Value, scene: Scene) -> str:
    return f"best {scene.plan.type_v}" if value == BEST else f"{value}"


# -- weights and where they lie ------------------------------------------------------------------


def _quant_text(value: Value, scene: Scene) -> str:
    sizes = {offer.quant: offer.n_bytes for offer in scene.offered}
    size = sizes.get(str(value))
    return f"{value}" if size is None else f"{value} {format_bytes(size)}"


def _has_gpus(scene: Scene) -> bool:
    return bool(scene.plan.hardware.usable_devices)


def _layers(scene: Scene) -> tuple[Value, ...]:
    return tuple(range(scene.plan.n_layer_total + 1))


def _layers_text(value: Value, scene: Scene) -> str:
    total = scene.plan.n_layer_total
    return f"{min(int(value), total)} of {total}"


def _n_cpu_moe(plan: Plan, policy: Policy) -> Value:
    return len(run_of_plan(plan).placement.host_expert_layers)


def _experts_text(value: Value, scene: Scene) -> str:
    return f"{value} of {scene.plan.model.n_layer}" if value else "none"


def _read_headroom(policy: Policy) -> Value | None:
    if policy.vram_headroom_fraction is not None:
        return policy.vram_headroom_fraction
    usual = Policy().vram_headroom_bytes
    return None if policy.vram_headroom_bytes == usual else policy.vram_headroom_bytes


def _write_headroom(policy: Policy, value: Value | None) -> Policy:
    if isinstance(value, float):
        return replace(policy, vram_headroom_fraction=value)
    n_bytes = Policy().vram_headroom_bytes if value is None else int(value)
    return replace(policy, vram_headroom_bytes=n_bytes, vram_headroom_fraction=None)


def _headroom_taken(plan: Plan, policy: Policy) -> Value:
    """In bytes, of the largest device."""
    devices = plan.hardware.usable_devices
    return max((headroom_bytes(device, policy) for device in devices), default=0)


def _headrooms(scene: Scene) -> tuple[Value, ...]:
    most = max((d.total_bytes or 0 for d in scene.plan.hardware.usable_devices), default=0)
    return tuple(n for n in _HEADROOMS if n <= most // 2) or (0,)


def _headroom_text(value: Value, scene: Scene) -> str:
    if isinstance(value, float):
        return f"{100 * value:g} %"
    return format_bytes(int(value)) if value else "none"


def _is_mixture(scene: Scene) -> bool:
    return bool(scene.plan.model.n_expert) and _has_gpus(scene)


def _tokens(value: Value, scene: Scene) -> str:
    return f"{value:,}"


def _knobs() -> Iterator[Knob]:
    yield Knob(
        **_field("n_ctx"),
        label="context",
        about="Tokens that the model can look back on; max is the most that costs no GPU layer.",
        left_open="8,192, or what the model was trained for if that is less",
        rungs=_n_ctxs,
        taken=lambda plan, policy: plan.n_ctx,
        parse=parse_n_ctx,
        text=_n_ctx_text,
        slides=True,
    )
    yield Knob(
        **_field("quant"),
        label="quantisation",
        about="How many bits the weights have.",
        left_open="the file's own, or chosen where the name leaves it open",
        rungs=lambda scene: [offer.quant for offer in scene.offered],
        taken=lambda plan, policy: plan.model.quant,
        parse=parse_quant,
        text=_quant_text,
        applies=lambda scene: len(scene.offered) > 1,
    )
    yield Knob(
        **_field("prefer", usual="balanced"),
        label="choose for",
        about="What the choice of quantisation, cache and batch is for.",
        left_open="balanced: the best quality that decodes at 10 tok/s",
        rungs=lambda scene: PREFERENCES,
        taken=lambda plan, policy: policy.prefer,
        parse=parse_preference,
        applies=lambda scene: scene.is_open,
    )
    yield Knob(
        name="kv",
        label="KV cache",
        about="Type of the keys and values; best is the best that costs no GPU layer.",
        left_open="f16, or chosen with the quantisation",
        read=_read_kv,
        write=_write_kv,
        rungs=lambda scene: (*_KV_RUNGS, BEST),
        taken=lambda plan, policy: kv_label(plan.type_k, plan.type_v),
        parse=_parse_kv,
        text=_kv_text,
    )
    yield Knob(
        **_field("type_v"),
        label="V alone",
        about="Type of the values, where it is not to be that of the keys.",
        left_open="f16, or chosen with the quantisation",
        rungs=lambda scene: (*_KV_RUNGS, BEST),
        taken=lambda plan, policy: plan.type_v,
        parse=_parse_kv,
        text=_v_text,
    )
    yield Knob(
        **_field("n_gpu_layers"),
        label="GPU layers",
        about="Layers on GPUs, the output layer counted as one.",
        left_open="as many as fit",
        rungs=_layers,
        taken=lambda plan, policy: plan.n_gpu_layers,
        parse=parse_n_gpu_layers,
        text=_layers_text,
        slides=True,
        applies=_has_gpus,
    )
    yield Knob(
        **_field("n_cpu_moe"),
        label="experts in RAM",
        about="The first so many layers keep their experts in RAM.",
        left_open="as few as fit",
        rungs=lambda scene: tuple(range(scene.plan.model.n_layer + 1)),
        taken=_n_cpu_moe,
        parse=parse_whole,
        text=_experts_text,
        slides=True,
        applies=_is_mixture,
    )
    yield Knob(
        name="headroom",
        label="headroom",
        about="Left free on every GPU: 1GiB, 5%.",
        left_open=format_bytes(Policy().vram_headroom_bytes),
        read=_read_headroom,
        write=_write_headroom,
        rungs=_headrooms,
        taken=_headroom_taken,
        parse=parse_headroom,
        text=_headroom_text,
        slides=True,
        applies=_has_gpus,
    )
    yield Knob(
        **_field("n_ubatch"),
        label="ubatch",
        about="Tokens of a prompt that are computed at once.",
        left_open="512, or more where that makes prompts faster",
        rungs=lambda scene: _BATCHES,
        taken=lambda plan, policy: plan.n_ubatch,
        parse=parse_count,
        text=_tokens,
    )
    yield Knob(
        **_field("n_batch"),
        label="batch",
        about="Tokens of a prompt that are submitted at once.",
        left_open="2,048",
        rungs=lambda scene: _BATCHES,
        taken=lambda plan, policy: plan.n_batch,
        parse=parse_count,
        text=_tokens,
    )
    yield Knob(
        **_field("flash_attn", usual="auto"),
        label="flash attention",
        about="One kernel for all of attention: less memory, and what quantised V needs.",
        left_open="on where the device can",
        rungs=lambda scene: ("off", "on"),
        taken=lambda plan, policy: plan.flash_attn,
        parse=parse_flash_attn,
    )
    yield Knob(
        **_field("depth", usual=0),
        label="speed at",
        about="Tokens already in the context, for the estimate of the speed.",
        left_open="the start of the context",
        rungs=_depths,
        taken=lambda plan, policy: policy.depth,
        parse=parse_whole,
        text=_depth_text,
        slides=True,
    )


KNOBS = tuple(_knobs())
"""All of them, in the order in which they are read."""
