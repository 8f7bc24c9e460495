"""Whether the installed llama.cpp is laid out as the dry run and the simulated devices assume.

They reach into structures that ggml keeps to itself, so nothing is believed that was not checked in
this very process: the version is one that was tested, and every structure of the CPU backend,
taken apart word by word, agrees with what ggml's public functions say of it. One failure switches
the exact basis off, and the reason reaches the plan.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

from localllm.engine.llama import C, DeviceProps, InitParams, ggml
from localllm.engine.structures import (
    BACKEND_DEVICE,
    BUFFER_BASE,
    BUFFER_SIZE,
    BUFFER_TYPE,
    DEV_DESCRIPTION,
    DEV_EVENT_FREE,
    DEV_EVENT_NEW,
    DEV_EVENT_SYNC,
    DEV_MEMORY,
    DEV_NAME,
    DEV_PROPS,
    DEV_REG,
    DEV_TYPE,
    DEV_TYPE_OWN,
    TYPE_ALIGNMENT,
    TYPE_DEVICE,
    TYPE_IS_HOST,
    TYPE_NAME,
    word,
)
from localllm.engine.tensors import OFFSET_SRC, OFFSET_VIEW_OFFSET, OFFSET_VIEW_SRC, Tensor

TESTED = (("0.3.36", "0.25.3"),)
"""Versions of llama-cpp-python and of its ggml that the layouts were verified with."""

_API_VERSION = 2
_MODEL_PARAMS_BYTES, _CONTEXT_PARAMS_BYTES, _PROPS_BYTES = 80, 160, 56
_F32, _I32 = 0, 26
_CPU = 0

_address = ctypes.c_void_p
_GET_TEXT = ctypes.CFUNCTYPE(ctypes.c_char_p, _address)
_GET_ADDRESS = ctypes.CFUNCTYPE(_address, _address)
_GET_SIZE = ctypes.CFUNCTYPE(ctypes.c_size_t, _address)
_GET_INT = ctypes.CFUNCTYPE(ctypes.c_int, _address)
_GET_BOOL = ctypes.CFUNCTYPE(ctypes.c_bool, _address)
_GET_PROPS = ctypes.CFUNCTYPE(None, _address, ctypes.POINTER(DeviceProps))
_GET_MEMORY = ctypes.CFUNCTYPE(
    None, _address, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)
)


class UnknownLayout(Exception):
    """The library is not one that the exact basis can be trusted with; the text says why."""


def check(tested: tuple[tuple[str, str], ...] = TESTED) -> None:
    """Verify every layout that is used. Raises ``UnknownLayout`` with the first that is not so."""
    if not sys.platform.startswith("linux"):
        raise UnknownLayout("llama.cpp's allocator is read on Linux only")
    if sys.byteorder != "little" or ctypes.sizeof(_address) != 8:
        raise UnknownLayout("llama.cpp's allocator is read on 64-bit little-endian machines only")
    versions = installed_versions()
    if versions not in tested:
        raise UnknownLayout(
            f"llama-cpp-python {versions[0]} with ggml {versions[1]} has not been tested"
        )
    for what, checked in (
        ("the parameters of llama.cpp", _parameters),
        ("ggml's backend registry", _registry),
        ("ggml's devices", _device),
        ("ggml's buffer types", _buffer_type),
        ("ggml's buffers", _buffer),
        ("ggml's backends", _backend),
        ("ggml's tensors", _tensor),
    ):
        if not checked():
            raise UnknownLayout(f"{what} are not laid out as in the versions tested")


def installed_versions() -> tuple[str, str]:
    """Return the versions of llama-cpp-python and of the ggml that is loaded."""
    found = None
    for folder in sys.modules["llama_cpp"].__path__:  # without running the package's __init__
        path = Path(folder) / "__init__.py"
        if path.is_file():
            found = re.search(r"^__version__ = [\"'](.+)[\"']", path.read_text(), re.MULTILINE)
    return found.group(1) if found else "unknown", ggml.ggml_version().decode()


def _parameters() -> bool:
    return (
        ctypes.sizeof(C.llama_model_params) == _MODEL_PARAMS_BYTES
        and ctypes.sizeof(C.llama_context_params) == _CONTEXT_PARAMS_BYTES
        and ctypes.sizeof(DeviceProps) == _PROPS_BYTES
        and C.llama_model_default_params().n_gpu_layers == -1
        and (C.llama_context_default_params().n_batch, C.llama_context_default_params().n_ubatch)
        == (2048, 512)
    )


def _cpu() -> int:
    device: int = ggml.ggml_backend_dev_by_type(_CPU)
    return device


def _registry() -> bool:
    registry = ggml.ggml_backend_dev_backend_reg(_cpu())
    return bool(
        registry
        and ctypes.c_int.from_address(registry).value == _API_VERSION
        and registry == ggml.ggml_backend_cpu_reg()
    )


def _device() -> bool:
    cpu = _cpu()
    memory = [ctypes.c_size_t() for _ in range(4)]
    ggml.ggml_backend_dev_memory(cpu, memory[0], memory[1])
    _GET_MEMORY(word(cpu, DEV_MEMORY))(cpu, memory[2], memory[3])
    public, own = DeviceProps(), DeviceProps()
    ggml.ggml_backend_dev_get_props(cpu, ctypes.byref(public))
    _GET_PROPS(word(cpu, DEV_PROPS))(cpu, ctypes.byref(own))
    return bool(
        _GET_TEXT(word(cpu, DEV_NAME))(cpu) == ggml.ggml_backend_dev_name(cpu) == own.name
        and _GET_TEXT(word(cpu, DEV_DESCRIPTION))(cpu)
        == ggml.ggml_backend_dev_description(cpu)
        == public.description
        and memory[1].value == memory[3].value == public.memory_total > 0
        and _GET_INT(word(cpu, DEV_TYPE))(cpu) == _CPU == public.type
        and _GET_ADDRESS(word(cpu, DEV_TYPE_OWN))(cpu) == ggml.ggml_backend_dev_buffer_type(cpu)
        and [word(cpu, slot) for slot in (DEV_EVENT_NEW, DEV_EVENT_FREE, DEV_EVENT_SYNC)]
        == [0, 0, 0]
        and word(cpu, DEV_REG) == ggml.ggml_backend_cpu_reg()
    )


def _buffer_type() -> bool:
    kind = ggml.ggml_backend_cpu_buffer_type()
    return bool(
        _GET_TEXT(word(kind, TYPE_NAME))(kind) == ggml.ggml_backend_buft_name(kind)
        and _GET_SIZE(word(kind, TYPE_ALIGNMENT))(kind)
        == ggml.ggml_backend_buft_get_alignment(kind)
        and _GET_BOOL(word(kind, TYPE_IS_HOST))(kind) is True
        and ggml.ggml_backend_buft_is_host(kind)
        and word(kind, TYPE_DEVICE) == (ggml.ggml_backend_buft_get_device(kind) or 0)
    )


def _buffer() -> bool:
    kind = ggml.ggml_backend_cpu_buffer_type()
    buffer = ggml.ggml_backend_buft_alloc_buffer(kind, 4096)
    try:
        return bool(
            word(buffer, BUFFER_TYPE) == kind == ggml.ggml_backend_buffer_get_type(buffer)
            and word(buffer, BUFFER_SIZE) == 4096 == ggml.ggml_backend_buffer_get_size(buffer)
            and _GET_ADDRESS(word(buffer, BUFFER_BASE))(buffer)
            == ggml.ggml_backend_buffer_get_base(buffer)
        )
    finally:
        ggml.ggml_backend_buffer_free(buffer)


def _backend() -> bool:
    backend = ggml.ggml_backend_cpu_init()
    try:
        device: int = ggml.ggml_backend_get_device(backend)
        return word(backend, BACKEND_DEVICE) == device == _cpu()
    finally:
        ggml.ggml_backend_free(backend)


def _tensor() -> bool:
    context = ggml.ggml_init(InitParams(mem_size=1 << 16, mem_buffer=None, no_alloc=True))
    try:
        a = ggml.ggml_new_tensor_2d(context, _F32, 32, 3)
        b = ggml.ggml_new_tensor_2d(context, _F32, 32, 5)
        product = ggml.ggml_mul_mat(context, a, b)
        view = ggml.ggml_view_2d(context, a, 16, 2, 128, 64)
        ids = ggml.ggml_new_tensor_2d(context, _I32, 4, 1)
        return bool(
            ggml.ggml_op_name(Tensor(product).op) == b"MUL_MAT"
            and (Tensor(a).type, Tensor(ids).type) == (_F32, _I32)
            and list(Tensor(product).ne) == [3, 5, 1, 1]
            and list(Tensor(product).nb) == [4, 12, 60, 60]
            and Tensor(ggml.ggml_scale(context, a, 0.5)).param_float(0) == 0.5
            and [word(product + OFFSET_SRC, index) for index in range(3)] == [a, b, 0]
            and word(view + OFFSET_VIEW_SRC, 0) == a
            and word(view + OFFSET_VIEW_OFFSET, 0) == 64
        )
    finally:
        ggml.ggml_free(context)
