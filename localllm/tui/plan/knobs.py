"""The knobs of a plan: what can be turned, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.core.policy import Policy, kv_label
from localllm.tui.plan.knob import BEST, Knob, Scene
from localllm.tui.plan.knob_values import (
    BATCHES,
    KV_RUNGS,
    depth_text,
    depths,
    experts_taken,
    experts_text,
    has_gpus,
    headroom_taken,
    headroom_text,
    headrooms,
    is_mixture,
    kv_text,
    layer_counts,
    layers_text,
    n_ctx_text,
    n_ctxs,
    of_field,
    parse_kv,
    quant_text,
    read_headroom,
    read_kv,
    tokens_text,
    v_text,
    write_headroom,
    write_kv,
)
from localllm.units import format_bytes
from localllm.words.parse import (
    PREFERENCES,
    parse_count,
    parse_flash_attn,
    parse_headroom,
    parse_n_ctx,
    parse_n_gpu_layers,
    parse_preference,
    parse_quant,
    parse_whole,
)


def knobs_of(scene: Scene) -> tuple[Knob, ...]:
    """Return the knobs that change anything for this model on this machine."""
    return tuple(knob for knob in KNOBS if knob.applies(scene))


def _knobs() -> Iterator[Knob]:
    yield Knob(
        **of_field("n_ctx"),
        label="context",
        about="Tokens that the model can look back on; max is the most that costs no GPU layer.",
        left_open="8,192, or what the model was trained for if that is less",
        rungs=n_ctxs,
        taken=lambda plan, policy: plan.n_ctx,
        parse=parse_n_ctx,
        text=n_ctx_text,
        slides=True,
    )
    yield Knob(
        **of_field("quant"),
        label="quantisation",
        about="How many bits the weights have.",
        left_open="the file's own, or chosen where the name leaves it open",
        rungs=lambda scene: [offer.quant for offer in scene.offered],
        taken=lambda plan, policy: plan.model.quant,
        parse=parse_quant,
        text=quant_text,
        applies=lambda scene: len(scene.offered) > 1,
    )
    yield Knob(
        **of_field("prefer", usual="balanced"),
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
        read=read_kv,
        write=write_kv,
        rungs=lambda scene: (*KV_RUNGS, BEST),
        taken=lambda plan, policy: kv_label(plan.type_k, plan.type_v),
        parse=parse_kv,
        text=kv_text,
    )
    yield Knob(
        **of_field("type_v"),
        label="V alone",
        about="Type of the values, where it is not to be that of the keys.",
        left_open="f16, or chosen with the quantisation",
        rungs=lambda scene: (*KV_RUNGS, BEST),
        taken=lambda plan, policy: plan.type_v,
        parse=parse_kv,
        text=v_text,
    )
    yield Knob(
        **of_field("n_gpu_layers"),
        label="GPU layers",
        about="Layers on GPUs, the output layer counted as one.",
        left_open="as many as fit",
        rungs=layer_counts,
        taken=lambda plan, policy: plan.n_gpu_layers,
        parse=parse_n_gpu_layers,
        text=layers_text,
        slides=True,
        applies=has_gpus,
    )
    yield Knob(
        **of_field("n_cpu_moe"),
        label="experts in RAM",
        about="The first so many layers keep their experts in RAM.",
        left_open="as few as fit",
        rungs=lambda scene: tuple(range(scene.plan.model.n_layer + 1)),
        taken=experts_taken,
        parse=parse_whole,
        text=experts_text,
        slides=True,
        applies=is_mixture,
    )
    yield Knob(
        name="headroom",
        label="headroom",
        about="Left free on every GPU: 1GiB, 5%.",
        left_open=format_bytes(Policy().vram_headroom_bytes),
        read=read_headroom,
        write=write_headroom,
        rungs=headrooms,
        taken=headroom_taken,
        parse=parse_headroom,
        text=headroom_text,
        slides=True,
        applies=has_gpus,
    )
    yield Knob(
        **of_field("n_ubatch"),
        label="ubatch",
        about="Tokens of a prompt that are computed at once.",
        left_open="512, or more where that makes prompts faster",
        rungs=lambda scene: BATCHES,
        taken=lambda plan, policy: plan.n_ubatch,
        parse=parse_count,
        text=tokens_text,
    )
    yield Knob(
        **of_field("n_batch"),
        label="batch",
        about="Tokens of a prompt that are submitted at once.",
        left_open="2,048",
        rungs=lambda scene: BATCHES,
        taken=lambda plan, policy: plan.n_batch,
        parse=parse_count,
        text=tokens_text,
    )
    yield Knob(
        **of_field("flash_attn", usual="auto"),
        label="flash attention",
        about="One kernel for all of attention: less memory, and what quantised V needs.",
        left_open="on where the device can",
        rungs=lambda scene: ("off", "on"),
        taken=lambda plan, policy: plan.flash_attn,
        parse=parse_flash_attn,
    )
    yield Knob(
        **of_field("depth", usual=0),
        label="speed at",
        about="Tokens already in the context, for the estimate of the speed.",
        left_open="the start of the context",
        rungs=depths,
        taken=lambda plan, policy: policy.depth,
        parse=parse_whole,
        text=depth_text,
        slides=True,
    )


KNOBS = tuple(_knobs())
"""All of them, in the order in which they are read."""
