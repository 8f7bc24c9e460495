"""The JSON documents that scripts rely on: ``localllm.plan/1`` and ``localllm.bench/1``.

Pure: values in, plain dictionaries out. Names are fixed, more may be added; a value that is not
known is ``None``. A bench row has llama-bench's fields in llama-bench's order, then ours.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from localllm.core.hardware_document import hardware_document
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.prediction import predicted_test

if TYPE_CHECKING:
    from localllm.core.generation import BenchTest, EngineInfo

PLAN_SCHEMA = "localllm.plan/1"
BENCH_SCHEMA = "localllm.bench/1"

NO_POWER_REASON = "localllm does not measure power yet"


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
        "counterfactuals": [asdict(other) for other in plan.counterfactuals],
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSetup:
    """What all tests of one bench run have in common."""

    plan: Plan
    engine: EngineInfo
    model_path: str
    model_type: str
    """``llama_model_desc``: ``llama 8B Q4_K - Medium``."""
    n_batch: int
    """As asked for: llama.cpp itself limits a batch to the context."""
    n_ubatch: int
    n_cpu_moe: int = 0
    measured_bytes: int | None = None
    """Model, context and compute buffers of all devices together, as llama.cpp allocated them."""

    @property
    def backends(self) -> str:
        """llama-bench's ``backends``: all but the CPU's, or ``CPU``."""
        names = [device.name.rstrip("0123456789") for device in self.engine.devices]
        others = dict.fromkeys(
            name
            for name, device in zip(names, self.engine.devices, strict=True)
            if device.type != "cpu"
        )
        return ",".join(others) or "CPU"


def bench_row(
    setup: BenchSetup, test: BenchTest, samples_ns: Sequence[int], *, test_time: str
) -> dict[str, Any]:
    """Return one test as llama-bench's JSON object, with our fields after its own.

    ``t/s = 1e9 * (n_prompt + n_gen) / ns`` for each repetition; mean and sample standard deviation
    (n - 1; 0 for a single repetition) are taken of these. ``test_time`` is RFC 3339, UTC.
    ``predicted_ts`` is the plan's estimate at the test's depth, with its 80 % range.
    """
    plan, model = setup.plan, setup.plan.model
    samples_ts = tokens_per_second(test, samples_ns)
    # As it is measured: without the mapped file, of which llama.cpp counts the whole span.
    predicted_bytes = sum(row.self_bytes - row.mapped_bytes for row in plan.devices)
    estimate = predicted_test(plan, n_prompt=test.n_prompt, n_gen=test.n_gen, depth=test.n_depth)
    return {
        "build_commit": setup.engine.build_commit or "unknown",
        "build_number": 0,
        "cpu_info": _descriptions(setup.engine, "cpu", "accel"),
        "gpu_info": _descriptions(setup.engine, "gpu", "igpu"),
        "backends": setup.backends,
        "model_filename": setup.model_path,
        "model_type": setup.model_type,
        "model_size": sum(tensor.n_bytes for tensor in model.tensors),
        "model_n_params": model.n_params,
        "n_batch": setup.n_batch,
        "n_ubatch": setup.n_ubatch,
        "n_threads": plan.n_threads,
        "cpu_mask": "0x0",
        "cpu_strict": False,
        "poll": 50,
        "type_k": plan.type_k,
        "type_v": plan.type_v,
        "n_gpu_layers": plan.n_gpu_layers,
        "n_cpu_moe": setup.n_cpu_moe,
        "split_mode": "layer",
        "main_gpu": 0,
        "no_kv_offload": False,
        "flash_attn": {"auto": -1, "off": 0, "on": 1}[plan.flash_attn],
        "devices": _devices(plan),
        "tensor_split": "/".join(f"{share:.2f}" for share in plan.tensor_split) or "0.00",
        "tensor_buft_overrides": _overrides(setup),
        "load_mode": "mmap" if plan.use_mmap else "none",
        "lazy_mode": "auto",
        "embeddings": False,
        "no_op_offload": 0,
        "no_host": False,
        "repack": plan.repack,
        "fit_target": 0,
        "fit_min_ctx": 0,
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "test_time": test_time,
        "avg_ns": sum(samples_ns) // len(samples_ns),
        "stddev_ns": round(_deviation([float(ns) for ns in samples_ns])),
        "avg_ts": statistics.fmean(samples_ts),
        "stddev_ts": _deviation(samples_ts),
        "samples_ns": list(samples_ns),
        "samples_ts": samples_ts,
        "schema": BENCH_SCHEMA,
        "llama_cpp_python": setup.engine.version,
        "power_w": None,
        "energy_j": None,
        "j_per_token": None,
        "power_source": None,
        "power_unknown": NO_POWER_REASON,
        "predicted_ts": estimate.tok_s if estimate else None,
        "predicted_ts_low": estimate.low if estimate else None,
        "predicted_ts_high": estimate.high if estimate else None,
        "predicted_ts_basis": plan.speed.basis if estimate and plan.speed else None,
        "predicted_bytes": predicted_bytes,
        "measured_bytes": setup.measured_bytes,
    }


def tokens_per_second(test: BenchTest, samples_ns: Sequence[int]) -> list[float]:
    """Tokens per second of each repetition, prompt and generated tokens together."""
    n_tokens = test.n_prompt + test.n_gen
    return [1e9 * n_tokens / ns for ns in samples_ns]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _descriptions(engine: EngineInfo, *types: str) -> str:
    return ", ".join(device.description for device in engine.devices if device.type in types)


def _devices(plan: Plan) -> str:
    """llama-bench's ``devices``: ``auto`` where there is no choice, ``none`` for the CPU alone."""
    if plan.device_names:
        return "/".join(plan.device_names)
    return "none" if plan.hardware.usable_devices else "auto"


def _overrides(setup: BenchSetup) -> str:
    if setup.n_cpu_moe or not setup.plan.tensor_overrides:
        return "none"
    return ";".join(f"{o.pattern}={o.buffer_type}" for o in setup.plan.tensor_overrides)
