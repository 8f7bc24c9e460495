"""llama.cpp's parameter structures from plain values: one place, so that a dry run, a simulated
run and a real one cannot differ.

Light on purpose: the dry-run child imports this before its first answer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from localllm.engine.llama import CACHE_TYPES, BufferTypeOverride, C, ggml

FLASH_ATTN = {
    "auto": C.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": C.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": C.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


def model_params(
    *,
    devices: Sequence[int],
    n_gpu_layers: int,
    tensor_split: Sequence[float],
    overrides: Sequence[tuple[str, int]],
    repack: bool,
    keep_alive: list[Any],
) -> Any:
    """Return model parameters: layer split, these devices and no other, no mmap.

    What C points at is appended to ``keep_alive``. Overrides are pairs of a regular expression over
    tensor names and a buffer type's address.
    """
    params = C.llama_model_default_params()
    pointers = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
    split = (ctypes.c_float * C.llama_max_devices())(*tensor_split)
    keep_alive += [pointers, split]
    params.devices = ctypes.cast(pointers, ctypes.c_void_p)
    params.n_gpu_layers = n_gpu_layers if devices else 0
    params.split_mode = C.LLAMA_SPLIT_MODE_LAYER
    if tensor_split:
        params.tensor_split = split
    if overrides:
        array = (BufferTypeOverride * (len(overrides) + 1))()
        for slot, (pattern, buffer_type) in zip(array, overrides, strict=False):
            slot.pattern, slot.buffer_type = pattern.encode(), buffer_type
        keep_alive.append(array)
        params.tensor_buft_overrides = ctypes.cast(array, ctypes.c_void_p)
    params.load_mode = C.LLAMA_LOAD_MODE_NONE
    params.use_extra_bufts = repack
    return params


def buffer_types(devices: Sequence[int]) -> dict[str, int]:
    """Return the buffer types of devices by name: their own, and their pinned host memory."""
    types: dict[str, int] = {}
    for device in devices:
        for buffer_type in (
            ggml.ggml_backend_dev_buffer_type(device),
            ggml.ggml_backend_dev_host_buffer_type(device),
        ):
            if buffer_type:
                types[ggml.ggml_backend_buft_name(buffer_type).decode()] = buffer_type
    return types


def context_params(
    *,
    n_ctx: int,
    n_batch: int,
    n_ubatch: int,
    n_seq: int,
    n_outputs_max: int,
    type_k: str,
    type_v: str,
    flash_attn: str,
    swa_full: bool,
) -> Any:
    """Return context parameters; threads and callbacks are left to the caller."""
    params = C.llama_context_default_params()
    params.n_ctx = n_ctx
    params.n_batch = n_batch
    params.n_ubatch = n_ubatch
    params.n_seq_max = n_seq
    params.n_outputs_max = n_outputs_max
    params.flash_attn_type = FLASH_ATTN[flash_attn]
    params.type_k = CACHE_TYPES[type_k.lower()]
    params.type_v = CACHE_TYPES[type_v.lower()]
    params.swa_full = swa_full
    params.no_perf = True
    return params
