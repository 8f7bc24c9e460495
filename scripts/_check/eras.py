"""What llama.cpp did by default when a log was written, where that moves bytes.

Our formulas are those of the llama.cpp that localllm runs (2026). A log of 2024 is compared with
its own time's defaults, as far as they are only settings; where the code itself was another, the
difference is a reason (``explain.py``), not a setting.
"""

from __future__ import annotations

from dataclasses import replace

from _check.logs import LoggedRun
from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.memory import DeviceTerms, MemoryBreakdown, RunShape
from localllm.core.model import ModelSpec
from localllm.core.ownership import owner

FLASH_ATTN_BY_DEFAULT = "2025-09"
"""llama.cpp#15434 (end of August 2025)."""
SHORT_WINDOWS = "2025-05-20"
"""llama.cpp#13194: sliding-window layers store their window only."""
SET_ROWS = "2025-08"
"""llama.cpp#14285 and #14959 (July 2025): K and V are written by row indices, graph inputs."""
OUTPUT_FIRST = "2025-12-18"
"""llama.cpp#18148: of ``-ngl N`` the output layer is the first; before, it was the last."""
OUTPUTS_LIMITED = "2026-05-30"
"""llama.cpp#23861: llama-server reserves logits for one token per sequence."""
STREAMING = "2024-03-18"
"""llama.cpp#6083: batches of 32 tokens and more are computed on the GPU with host weights."""
OWN_SUM = "2024-02"
"""llama.cpp#4766 (January 2024): one "VRAM used" that llama.cpp added up itself; since, buffers."""
BIG_BATCH = "2024-03-13"
"""llama.cpp#6017: n_batch 2048 with n_ubatch 512; before, one n_batch of 512."""


def run_shape(run: LoggedRun, model: ModelSpec) -> RunShape:
    """Return the settings of a run, its runner's defaults where the log is silent."""
    n_ctx = run.n_ctx or min(model.n_ctx_train or 4096, 4096)
    n_batch = run.n_batch or (512 if run.date < BIG_BATCH else 2048)
    n_ubatch = min(run.n_ubatch or 512, n_batch, n_ctx)
    n_seq = run.n_seq or 1
    limited = run.date >= OUTPUTS_LIMITED and run.runner == "llama.cpp"
    return RunShape(
        n_ctx=n_ctx,
        n_ubatch=n_ubatch,
        type_k=_cache_type(run.type_k),
        type_v=_cache_type(run.type_v or run.type_k),
        flash_attn=_flash_attn(run),
        n_seq=1 if run.unified_cache else n_seq,
        n_outputs_max=n_seq if limited else n_batch,
        repack=any("REPACK" in name.upper() for name in run.host_buffers),
    )


def _flash_attn(run: LoggedRun) -> bool:
    if run.flash_attn is not None:
        return run.flash_attn
    words = run.command.split()
    if "-fa" in words or "--flash-attn" in words:
        return True
    return run.date >= FLASH_ATTN_BY_DEFAULT and run.runner == "llama.cpp"


def _cache_type(name: str | None) -> str:
    return name if name in TYPES_BY_NAME else "f16"


def as_stored(run: LoggedRun, model: ModelSpec) -> ModelSpec:
    """Return the model as the runner keeps its cache.

    Whole where windows were not stored short; a window for each sequence where several share one
    cache (``src/llama-kv-cache-iswa.cpp``).
    """
    if model.n_swa and run.unified_cache and (run.n_seq or 1) > 1:
        model = replace(model, n_swa=model.n_swa * (run.n_seq or 1))
    whole = run.runner == "ik_llama.cpp" or run.date < SHORT_WINDOWS or bool(run.swa_full)
    if not model.n_swa or not whole:
        return model
    layers = tuple(replace(layer, is_swa=False) for layer in model.layers)
    return replace(model, n_swa=0, layers=layers)


def with_states(
    memory: MemoryBreakdown, several: MemoryBreakdown, model: ModelSpec
) -> MemoryBreakdown:
    """Return a breakdown of one shared cache with the recurrent states of several sequences."""
    if not any(layer.is_recurrent for layer in model.layers):
        return memory

    def with_context(terms: DeviceTerms, other: DeviceTerms) -> DeviceTerms:
        return replace(terms, context_bytes=other.context_bytes)

    devices = tuple(map(with_context, memory.devices, several.devices))
    return replace(memory, devices=devices, host=with_context(memory.host, several.host))


def output_was_last(run: LoggedRun, model: ModelSpec) -> bool:
    """Whether the run's GPUs hold whole blocks only, the output layer being left in RAM."""
    old = run.date < OUTPUT_FIRST or run.runner == "ik_llama.cpp"
    return old and run.offloaded is not None and 0 < run.offloaded <= model.n_layer


def with_output_in_ram(memory: MemoryBreakdown, model: ModelSpec) -> MemoryBreakdown:
    """Return a breakdown with the output matrix and norm moved from the last GPU to the host."""
    n_bytes = sum(
        tensor.n_bytes for tensor in model.tensors if owner(model, tensor).kind == "output"
    )
    at_home = n_bytes  # tied: the host has the matrix already
    if model.tied_embeddings:
        n_bytes += sum(t.n_bytes for t in model.tensors if t.name == "token_embd.weight")
    last = max(i for i, terms in enumerate(memory.devices) if terms.model_bytes)
    devices = [
        _plus(terms, -n_bytes) if i == last else terms for i, terms in enumerate(memory.devices)
    ]
    return replace(memory, devices=tuple(devices), host=_plus(memory.host, at_home))


def _plus(terms: DeviceTerms, n_bytes: int) -> DeviceTerms:
    return replace(terms, model_bytes=terms.model_bytes + n_bytes)
