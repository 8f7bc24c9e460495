"""The JSON document of a plan, on which scripts rely: ``localllm.plan/1``.

Pure: values in, plain dictionaries out. Names are fixed, more may be added; a value that is not
known is ``None``. Bench rows are in ``bench/row.py``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from localllm.core.hardware_document import hardware_document
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan

PLAN_SCHEMA = "localllm.plan/1"


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as its JSON document.

    ``hardware`` is what ``localllm hardware --json`` prints, so the plan can be made again from it.
    """
    return {
        "schema": PLAN_SCHEMA,
        "basis": plan.basis,
        "memory_basis": plan.memory_basis,
        "basis_reason": plan.basis_reason,
        "refusal": plan.refusal,
        "estimated_terms": list(plan.estimated_terms),
        "verdict": plan.verdict,
        "model": _model_part(plan.model),
        "hardware": hardware_document(plan.hardware),
        "n_ctx": plan.n_ctx,
        "n_ubatch": plan.n_ubatch,
        "n_batch": plan.n_batch,
        "type_k": plan.type_k,
        "type_v": plan.type_v,
        "flash_attn": plan.flash_attn,
        "n_gpu_layers": plan.n_gpu_layers,
        "n_layer_total": plan.n_layer_total,
        "tensor_split": list(plan.tensor_split),
        "tensor_overrides": [asdict(override) for override in plan.tensor_overrides],
        "n_seq": plan.n_seq,
        "n_outputs_max": plan.n_outputs_max,
        "swa_full": plan.swa_full,
        "n_threads": plan.n_threads,
        "use_mmap": plan.use_mmap,
        "repack": plan.repack,
        "devices": [
            {
                "name": row.name,
                "kind": row.kind,
                "total_bytes": row.total_bytes,
                "free_bytes": row.free_bytes,
                "model_bytes": row.model_bytes,
                "context_bytes": row.context_bytes,
                "compute_bytes": row.compute_bytes,
                "overhead_bytes": row.overhead_bytes,
                "headroom_bytes": row.headroom_bytes,
                "mapped_bytes": row.mapped_bytes,
                "cached_bytes": row.cached_bytes,
                "shared_bytes": row.shared_bytes,
                "spare_bytes": row.spare_bytes,
                "n_layers": row.n_layers,
            }
            for row in plan.devices
        ],
        "power_limit_w": plan.power_limit_w,
        "speed": _listed(asdict(plan.speed)) if plan.speed else None,
        "power": _listed(asdict(plan.power)) if plan.power else None,
        "cost": _listed(asdict(plan.cost)) if plan.cost else None,
        "reasons": list(plan.reasons),
        "cliff": asdict(plan.cliff) if plan.cliff else None,
        "counterfactuals": [
            {
                "change": other.change,
                "n_gpu_layers": other.n_gpu_layers,
                "tg_tok_s": other.tg_tok_s,
                "verdict": other.verdict,
            }
            for other in plan.counterfactuals
        ],
        "differences": [asdict(difference) for difference in plan.differences],
        "llama_args": list(plan.llama_args),
    }


def _listed(value: Any) -> Any:
    """The same with lists for tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, list | tuple) else value


def _model_part(model: ModelSpec) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "arch": model.arch,
        "quant": model.quant,
        "n_params": model.n_params,
        "n_layer": model.n_layer,
        "file_bytes": model.file_bytes,
        "n_ctx_train": model.n_ctx_train,
        "n_expert": model.n_expert,
    }
