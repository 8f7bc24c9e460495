"""Whether a plan by formulas may be loaded without asking llama.cpp's allocator first.

The allocator's answer costs a process and a load of the vocabulary, right before the engine does
the same: half of the time to the first token of a small model. It is spared where no answer could
change the plan, and the load, which measures every buffer, is the proof.
"""

from __future__ import annotations

from localllm.core.memory import GPU_OVERHEAD
from localllm.core.plan import DeviceMemory, Plan
from localllm.core.policy import Policy
from localllm.units import GiB

WIDE_BYTES = 1 * GiB
"""The largest error on record of a formula is 0.3 GiB, on rare architectures over several devices
(``core/breakdown.py``)."""
WIDE_SHARE = 0.25
"""Of what a device needs: a large model may be wrong by more than a small one."""


def certain_to_fit(plan: Plan, policy: Policy) -> bool:
    """Whether all of this holds of a plan by formulas:

    - it fits, and the model's file was read (a recorded shape proves nothing);
    - nothing was chosen for want of memory: all layers are on one GPU or there is no GPU, the
      context and the cache are those asked for, weights are rearranged unless nobody wants it;
    - no term is an upper estimate but a GPU's context and pools, which the allocator does not count
      either;
    - on the GPU and in RAM at least ``WIDE_BYTES`` and ``WIDE_SHARE`` of the need stay free.
    """
    return (
        (plan.verdict, plan.basis) == ("fits", "formula")
        and not _was_chosen(plan, policy)
        and set(plan.estimated_terms) <= {GPU_OVERHEAD}
        and all(map(_is_wide, plan.devices))
    )


def _was_chosen(plan: Plan, policy: Policy) -> bool:
    if policy.n_ctx == "max" or "auto" in (policy.type_k, policy.type_v):
        return True
    if policy.repack is None and not plan.repack:
        return True
    whole = plan.n_gpu_layers == plan.n_layer_total and not plan.tensor_overrides
    return bool(plan.hardware.usable_devices) and not (whole and len(plan.device_names) == 1)


def _is_wide(row: DeviceMemory) -> bool:
    spare = row.spare_bytes
    return spare is not None and spare >= max(WIDE_BYTES, WIDE_SHARE * row.needed_bytes)
