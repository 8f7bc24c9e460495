"""What the knobs' values are: how each is read, written, parsed and told, and its rungs.

Pure functions; ``knobs.py`` makes the table of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from localllm.core.change import Change
from localllm.core.plan import Plan
from localllm.core.policy import KV_TYPES, Policy, kv_label
from localllm.core.prediction import run_of_plan
from localllm.core.settings import headroom_bytes
from localllm.tui.plan.knob import BEST, LARGEST, Scene, Value
from localllm.units import GiB, MiB, format_bytes
from localllm.words.parse import parse_kv_type

SHORTEST_N_CTX = 512
LONGEST_N_CTX = 131_072
"""Of a model that does not say for how much it was trained."""

KV_RUNGS = tuple(sorted(KV_TYPES, key=("q4_0", "q8_0", "f16", "bf16", "f32").index))
BATCHES = tuple(2**n for n in range(5, 14))
_HEADROOMS = (0, 128 * MiB, 256 * MiB, 512 * MiB, *(n * GiB for n in (1, 2, 3, 4, 6, 8, 12, 16)))


def of_field(name: str, usual: Any = None) -> dict[str, Any]:
    """Return read and write of a field; ``usual`` stands there where nobody fixes it."""

    def read(policy: Policy) -> Value | None:
        value: Value | None = getattr(policy, name)
        return None if value == usual else value

    def write(policy: Policy, value: Value | None) -> Policy:
        return Change(wishes={name: usual if value is None else value}).of(policy)

    return {"name": name, "read": read, "write": write}


# -- context -------------------------------------------------------------------------------------


def n_ctxs(scene: Scene) -> tuple[Value, ...]:
    """Return the lengths of a context, and the most that costs nothing."""
    return (*_lengths(scene), LARGEST)


def _lengths(scene: Scene) -> tuple[int, ...]:
    """Powers of two, and what the model was trained for."""
    longest = scene.plan.model.n_ctx_train or LONGEST_N_CTX
    powers = tuple(2**n for n in range(SHORTEST_N_CTX.bit_length() - 1, longest.bit_length()))
    return powers if longest in powers else (*powers, longest)


def n_ctx_text(value: Value, scene: Scene) -> str:
    """Return a length; with the most, what it comes to."""
    return f"max {scene.plan.n_ctx:,}" if value == LARGEST else f"{value:,}"


def depths(scene: Scene) -> tuple[Value, ...]:
    """Return how full a context of the plan can be."""
    n_ctx = scene.plan.n_ctx
    powers = (n for n in _lengths(scene) if n < n_ctx)
    return (0, *powers, n_ctx - 1)


def depth_text(value: Value, scene: Scene) -> str:
    """Return how full it is."""
    return f"{value:,} tokens in" if value else "an empty context"


# -- the cache -----------------------------------------------------------------------------------


def write_kv(policy: Policy, value: Value | None) -> Policy:
    """Return the policy with one type for keys and values."""
    kv = None if value is None else str(value)
    return replace(policy, type_k=kv, type_v=kv)


def read_kv(policy: Policy) -> Value | None:
    """Return the type of both, ``K/V`` where they differ."""
    if policy.type_k is None and policy.type_v is None:
        return None
    if policy.type_k == policy.type_v:
        return policy.type_k
    return kv_label(policy.type_k or "f16", policy.type_v or "f16")


def parse_kv(text: str) -> Value:
    """Return a type as a person writes it. Raises ValueError."""
    return parse_kv_type("auto" if text.strip().lower() == "best" else text)


def kv_text(value: Value, scene: Scene) -> str:
    """Return a type; with the best, which that is."""
    taken = kv_label(scene.plan.type_k, scene.plan.type_v)
    return f"best {taken}" if value == BEST else f"{value}"


def v_text(value: Value, scene: Scene) -> str:
    """Return a type; with the best, which that is."""
    return f"best {scene.plan.type_v}" if value == BEST else f"{value}"


# -- weights and where they lie ------------------------------------------------------------------


def quant_text(value: Value, scene: Scene) -> str:
    """Return a quantisation and what the model weighs in it."""
    sizes = {offer.quant: offer.n_bytes for offer in scene.offered}
    size = sizes.get(str(value))
    return f"{value}" if size is None else f"{value} {format_bytes(size)}"


def has_gpus(scene: Scene) -> bool:
    """Whether there is a GPU to put layers on."""
    return bool(scene.plan.hardware.usable_devices)


def layer_counts(scene: Scene) -> tuple[Value, ...]:
    """Return how many layers may lie on GPUs."""
    return tuple(range(scene.plan.n_layer_total + 1))


def layers_text(value: Value, scene: Scene) -> str:
    """Return how many layers, of how many."""
    total = scene.plan.n_layer_total
    return f"{min(int(value), total)} of {total}"


def experts_taken(plan: Plan, policy: Policy) -> Value:
    """Return how many layers have their experts in RAM."""
    return len(run_of_plan(plan).placement.host_expert_layers)


def experts_text(value: Value, scene: Scene) -> str:
    """Return of how many layers, of how many."""
    return f"{value} of {scene.plan.model.n_layer}" if value else "none"


def read_headroom(policy: Policy) -> Value | None:
    """Return bytes, or a share of a device's memory."""
    if policy.vram_headroom_fraction is not None:
        return policy.vram_headroom_fraction
    usual = Policy().vram_headroom_bytes
    return None if policy.vram_headroom_bytes == usual else policy.vram_headroom_bytes


def write_headroom(policy: Policy, value: Value | None) -> Policy:
    """Return the policy with a headroom in bytes, or as a share."""
    if isinstance(value, float):
        return replace(policy, vram_headroom_fraction=value)
    n_bytes = Policy().vram_headroom_bytes if value is None else int(value)
    return replace(policy, vram_headroom_bytes=n_bytes, vram_headroom_fraction=None)


def headroom_taken(plan: Plan, policy: Policy) -> Value:
    """Return it in bytes, of the largest device."""
    devices = plan.hardware.usable_devices
    return max((headroom_bytes(device, policy) for device in devices), default=0)


def headrooms(scene: Scene) -> tuple[Value, ...]:
    """Return what may be left free, at most half of the largest device."""
    most = max((d.total_bytes or 0 for d in scene.plan.hardware.usable_devices), default=0)
    return tuple(n for n in _HEADROOMS if n <= most // 2) or (0,)


def headroom_text(value: Value, scene: Scene) -> str:
    """Return a share as such, else bytes."""
    if isinstance(value, float):
        return f"{100 * value:g} %"
    return format_bytes(int(value)) if value else "none"


def is_mixture(scene: Scene) -> bool:
    """Whether there are experts that could lie elsewhere than the rest."""
    return bool(scene.plan.model.n_expert) and has_gpus(scene)


def tokens_text(value: Value, scene: Scene) -> str:
    """Return a number of tokens."""
    return f"{value:,}"
