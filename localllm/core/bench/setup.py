"""How a model was loaded for a bench: the fields that are known before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from localllm.core.generation import EngineInfo
from localllm.core.plan import Plan

Mode = Literal["standard", "quick", "steady"]
"""``standard``: llama-bench's method; ``quick``: fewer and shorter tests; ``steady``: warmed up,
with long windows and pauses between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSetup:
    """What all tests of one loaded model have in common."""

    plan: Plan
    engine: EngineInfo
    name: str
    """What the model is called here."""
    model_path: str
    model_type: str
    """``llama_model_desc``: ``llama 8B Q4_K - Medium``."""
    n_batch: int
    """As asked for: llama.cpp itself limits a batch to the context."""
    n_ubatch: int
    n_cpu_moe: int = 0
    split_mode: str = "layer"
    main_gpu: int = 0
    measured_bytes: int | None = None
    """Model, context and compute buffers of all devices together, as llama.cpp allocated them."""
    content_id: str | None = None
    version: str | None = None
    """Of localllm."""
    mode: Mode = "standard"

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

    @property
    def driver(self) -> str | None:
        """Versions of the drivers of the GPUs in use; None without GPUs, or where unknown."""
        used = set(self.plan.device_names)
        versions = dict.fromkeys(
            device.driver
            for device in self.plan.hardware.devices
            if device.name in used and device.driver
        )
        return ", ".join(versions) or None


def settings_row(setup: BenchSetup) -> dict[str, Any]:
    """Return the fields that are known before anything is measured, in llama-bench's order."""
    plan, model = setup.plan, setup.plan.model
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
        "split_mode": setup.split_mode,
        "main_gpu": setup.main_gpu,
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
    }


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
