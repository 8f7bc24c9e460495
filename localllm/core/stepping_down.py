"""What a plan becomes after memory ran out under it: which policies to plan with, in which order.

Layers or experts leave a GPU first, by raising what is left free there: where they then lie is the
planner's to decide, as always. A coarser KV cache comes second, and only where the person left its
type open. In RAM, where nothing can be moved elsewhere, the weights stay as they are in the file,
then the file is mapped. What the person fixed stays, and the context is never made smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from localllm.core.generation import Died, Failed
from localllm.core.hardware import Device, Hardware
from localllm.core.plan import DeviceMemory, Plan
from localllm.core.plan_changes import changes
from localllm.core.policy import KV_CHOICES, Policy
from localllm.core.settings import headroom_bytes
from localllm.core.shortage import Occasion, Shortage, lacking_bytes
from localllm.core.split import free_bytes
from localllm.units import format_bytes

MAX_STEPS = 2
"""A third smaller plan would be a guess: by then something else is wrong."""

_DOING: Mapping[Occasion, str] = {
    "load": "while loading",
    "proof": "in the proof run",
    "answer": "while answering",
    "bench": "during the benchmark",
}


def smaller_policies(
    policy: Policy,
    plan: Plan,
    shortage: Shortage,
    *,
    attempt: int,
    hardware: Hardware,
    may_fall: tuple[bool, bool] = (False, False),
) -> Iterator[Policy]:
    """Yield policies for a plan that takes less where memory ran out, the first to be tried first.

    ``attempt``: 1 or 2. ``hardware``: with what is free now. ``may_fall``: see ``open_kv_types``.
    """
    # A type that the planner chose would fall before layers do: the first step keeps it.
    kept = replace(policy, type_k=plan.type_k, type_v=plan.type_v)
    coarser = _with_coarser_kv(kept, may_fall)
    if shortage.on_host:
        yield from _smaller_in_ram(kept, plan)
        if coarser is not None:
            yield coarser
        return
    order = [kept] if coarser is None else [kept, coarser] if attempt == 1 else [coarser, kept]
    for each in order:
        yield with_more_headroom(each, plan, shortage, attempt=attempt, hardware=hardware)


def with_more_headroom(
    policy: Policy, plan: Plan, shortage: Shortage, *, attempt: int, hardware: Hardware
) -> Policy:
    """Return a policy that leaves so much more free on the GPUs that ran out that less fits."""
    more = dict(policy.headroom_by_device)
    for row, device in _rows(plan, shortage.places, hardware):
        free = free_bytes(device, policy)
        if free is None:
            continue
        wanted = free - (row.needed_bytes - lacking_bytes(row, shortage, attempt=attempt))
        usual = headroom_bytes(device, replace(policy, headroom_by_device=()))
        more[row.name] = max(more.get(row.name, 0), wanted - usual)
    return replace(policy, headroom_by_device=tuple(sorted(more.items())))


def is_less(before: Plan, after: Plan, places: Sequence[str]) -> bool:
    """Whether a plan fits and takes less where memory ran out; a mapped file can be evicted."""
    taken = {
        row.name: row.needed_bytes - row.mapped_bytes for row in after.devices if row.name in places
    }
    return (
        after.verdict == "fits"
        and after.refusal is None
        and all(
            taken.get(row.name, 0) < row.needed_bytes - row.mapped_bytes
            for row in before.devices
            if row.name in places
        )
    )


def step_sentence(
    shortage: Shortage, before: Plan, after: Plan, *, because: str = "", since: str = "Now"
) -> str:
    """Return what happened and what is done about it, for a person.

    ``because``: a clause that explains it. ``since``: when it is done.
    """
    room = ""
    if shortage.buffer_bytes is not None:
        room = f" (no room for {format_bytes(shortage.buffer_bytes)} more)"
    why = f": {because}" if because else ""
    return (
        f"{_whose(shortage)} ran out {_DOING[shortage.occasion]}{room}{why}. "
        f"{since}: {changes(before, after)}."
    )


def gave_up(failure: Failed | Died, n_steps: int) -> Failed | Died:
    """Return the failure of the last of several plans, with what that means."""
    if not n_steps:
        return failure
    plans = "A smaller plan" if n_steps == 1 else f"{n_steps} smaller plans"
    return replace(
        failure,
        hint=f"{plans} ran out of memory as well: close what else takes it, or use a smaller "
        f"context (--ctx) or a smaller quantisation of the model.",
    )


def fixed_flags(policy: Policy) -> tuple[str, ...]:
    """Return the flags by which the person decided what lies on GPUs."""
    wishes = {
        "--n-gpu-layers": policy.n_gpu_layers is not None and policy.n_gpu_layers >= 0,
        "--n-cpu-moe": policy.n_cpu_moe is not None,
        "--tensor-split": policy.tensor_split is not None,
    }
    return tuple(flag for flag, given in wishes.items() if given)


def left_open(policy: Policy) -> Policy:
    """Return a policy with nothing fixed of what lies on GPUs."""
    return replace(policy, n_gpu_layers=None, n_cpu_moe=None, tensor_split=None)


def kept_as_asked(failure: Failed | Died, policy: Policy, instead: Plan) -> Failed | Died:
    """Return a failure under layers that the person fixed, with a number that would fit."""
    flags = fixed_flags(policy)
    if flags == ("--n-gpu-layers",) and not instead.tensor_overrides:
        better = f"{instead.n_gpu_layers} would leave more room"
    else:
        better = "less would fit"
    return replace(
        failure,
        hint=f"{' and '.join(flags)} {'were' if len(flags) > 1 else 'was'} kept as asked, and "
        f"{better}. Left out, it is chosen.",
    )


def _smaller_in_ram(policy: Policy, plan: Plan) -> Iterator[Policy]:
    """The weights as they are in the file, which the kernel may evict; then the file mapped."""
    rearranged = plan.repack and plan.host.model_bytes > plan.host.mapped_bytes
    plain = policy
    if policy.repack is None and rearranged:
        plain = replace(policy, repack=False)
        yield plain
    if policy.use_mmap is None and not plan.use_mmap:
        yield replace(plain, use_mmap=True)


def open_kv_types(policy: Policy, asked: Policy) -> tuple[bool, bool]:
    """Return whether the types of K and V may fall: they were left to the planner, or to a choice.

    ``asked``: the person's own policy, which ``policy`` may have filled in; else the same one.
    """
    pairs = ((asked.type_k, policy.type_k), (asked.type_v, policy.type_v))
    k, v = (wish == "auto" or (wish is None and now is not None) for wish, now in pairs)
    return k, v


def _with_coarser_kv(kept: Policy, may_fall: tuple[bool, bool]) -> Policy | None:
    """Return a policy with the next coarser type where one may fall; None where none can."""
    now = (kept.type_k, kept.type_v)
    type_k, type_v = (
        _coarser(kv_type) if may else kv_type for kv_type, may in zip(now, may_fall, strict=True)
    )
    changed = replace(kept, type_k=type_k, type_v=type_v)
    return None if changed == kept else changed


def _coarser(kv_type: str | None) -> str | None:
    """Return the next of ``KV_CHOICES``, or the same where there is none."""
    if kv_type not in KV_CHOICES[:-1]:
        return kv_type
    return KV_CHOICES[KV_CHOICES.index(kv_type) + 1]


def _rows(
    plan: Plan, places: Sequence[str], hardware: Hardware
) -> Iterator[tuple[DeviceMemory, Device]]:
    by_name = {device.name: device for device in hardware.devices}
    for row in plan.devices:
        if row.name in places and row.name in by_name:
            yield row, by_name[row.name]


def _whose(shortage: Shortage) -> str:
    if shortage.on_host:
        return "RAM"
    if len(shortage.places) == 1:
        return f"The memory of {shortage.places[0]}"
    return f"The memory of a GPU ({' or '.join(shortage.places)})"
