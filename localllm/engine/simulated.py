"""Devices that do not exist: ggml's backend interface filled with ctypes functions, for a child.

A device of ggml is one structure of function pointers, and needs no registration to be given to
llama.cpp. A simulated one has the memory, alignment and behaviour of a hardware profile; what is
computed on it is computed by the CPU backend. So llama.cpp's own allocator plans for machines that
nobody here owns, and its real partial offload, splits and refusals run without a GPU.

Layouts are ggml's internal ones (``ggml-backend-impl.h``, API version 2); ``layouts.check`` must
have passed before a device is made.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from localllm.engine.devices import SimulatedSpec
from localllm.engine.llama import DeviceProps, ggml

_address = ctypes.c_void_p
_size = ctypes.c_size_t

# Words of ``ggml_backend_device``, ``_buffer_type``, ``_buffer`` and ``ggml_backend``.
N_DEVICE_WORDS = 17
DEV_NAME, DEV_DESCRIPTION, DEV_MEMORY, DEV_TYPE, DEV_PROPS, DEV_INIT, DEV_TYPE_OWN = range(7)
DEV_TYPE_HOST, DEV_FROM_PTR, DEV_SUPPORTS_OP, DEV_SUPPORTS_TYPE, DEV_OFFLOAD = range(7, 12)
DEV_EVENT_NEW, DEV_EVENT_FREE, DEV_EVENT_SYNC, DEV_REG = range(12, 16)
N_TYPE_WORDS = 8
TYPE_NAME, TYPE_ALLOC, TYPE_ALIGNMENT, TYPE_MAX, TYPE_ALLOC_SIZE, TYPE_IS_HOST, TYPE_DEVICE = range(
    7
)
N_BUFFER_WORDS = 15
BUFFER_FREE, BUFFER_BASE, BUFFER_CLEAR, BUFFER_TYPE, BUFFER_SIZE = 0, 1, 9, 11, 13
BACKEND_DEVICE = 17

# Byte offsets in ``ggml_tensor``.
TENSOR_TYPE, TENSOR_NE, TENSOR_OP, TENSOR_SRC = 0, 16, 80, 152
TENSOR_VIEW_SRC, TENSOR_VIEW_OFFSET = 232, 240

_GPU, _IGPU = 1, 2
_OFFLOAD_MIN_BATCH = 32
"""``GGML_OP_OFFLOAD_MIN_BATCH``, the default of every backend that streams weights."""

_F16 = 1
_OPS = ("GET_ROWS", "MUL_MAT", "MUL_MAT_ID", "ROPE", "ROPE_BACK", "FLASH_ATTN_EXT")

_ALLOC = ctypes.CFUNCTYPE(_address, _address, _size)
_FREE = ctypes.CFUNCTYPE(None, _address)
_CLEAR = ctypes.CFUNCTYPE(None, _address, ctypes.c_uint8)
_GET = ctypes.CFUNCTYPE(_address, _address)
_GET_SIZE = ctypes.CFUNCTYPE(_size, _address)
_GET_INT = ctypes.CFUNCTYPE(ctypes.c_int, _address)
_MEMORY = ctypes.CFUNCTYPE(None, _address, ctypes.POINTER(_size), ctypes.POINTER(_size))
_PROPS = ctypes.CFUNCTYPE(None, _address, ctypes.POINTER(DeviceProps))
_INIT = ctypes.CFUNCTYPE(_address, _address, ctypes.c_char_p)
_ASK = ctypes.CFUNCTYPE(ctypes.c_bool, _address, _address)
_TENSOR_SIZE = ctypes.CFUNCTYPE(_size, _address, _address)

_libc = ctypes.CDLL(None)
_libc.posix_memalign.argtypes = (ctypes.POINTER(_address), _size, _size)
_libc.free.argtypes, _libc.free.restype = (_address,), None

NOWHERE = 1 << 44
"""Base of buffers that a dry run asks for: an address that nothing lies at and nothing reads."""


def word(address: int, index: int) -> int:
    """Read a word of a structure."""
    return ctypes.c_uint64.from_address(address + 8 * index).value


def set_word(address: int, index: int, value: int) -> None:
    """Write a word of a structure."""
    ctypes.c_uint64.from_address(address + 8 * index).value = value


class DryMemory:
    """Buffers without memory, and the CPU's buffer type made to give out nothing else.

    ``no_alloc`` keeps weights, cache and compute buffers from being allocated, but not recurrent
    states and the output buffer. In a child that only plans, these are as hollow as the rest.
    """

    def __init__(self) -> None:
        """Patch the CPU's buffer type in this process; keep the object alive."""
        self._clear = _CLEAR(lambda _buffer, _value: None)
        self._cpu_type: int = ggml.ggml_backend_cpu_buffer_type()
        self._alloc = _ALLOC(lambda buffer_type, size: self.buffer(buffer_type, size))
        set_word(self._cpu_type, TYPE_ALLOC, _pointer(self._alloc))

    def buffer(self, buffer_type: int, size: int) -> int:
        """Return a buffer of a type that claims a size and holds nothing."""
        buffer: int = ggml.ggml_backend_cpu_buffer_from_ptr(NOWHERE, size)
        set_word(buffer, BUFFER_TYPE, buffer_type)
        set_word(buffer, BUFFER_CLEAR, _pointer(self._clear))
        return buffer


class SimulatedDevice:
    """One device. ``address`` is its ``ggml_backend_dev_t``; keep the object alive."""

    def __init__(self, spec: SimulatedSpec, *, dry: DryMemory | None = None) -> None:
        """Build the structures. With ``dry`` buffers are hollow and no limit is held."""
        self.spec = spec
        self.denied: list[int] = []
        """Sizes of the buffers that were refused for lack of memory."""
        self._dry = dry
        self._live: dict[int, tuple[int, int, bool]] = {}
        self._keep: list[Any] = []
        self._ops = _op_numbers()
        self._quantised: dict[int, bool] = {}
        self._device = (ctypes.c_uint64 * N_DEVICE_WORDS)()
        self._own = (ctypes.c_uint64 * N_TYPE_WORDS)()
        self._pinned = (ctypes.c_uint64 * N_TYPE_WORDS)()
        self.address = ctypes.addressof(self._device)
        self.buffer_type = ctypes.addressof(self._own)
        self.host_buffer_type = ctypes.addressof(self._pinned) if spec.host_buffer else 0
        self._name = self._text(spec.name)
        self._description = self._text(spec.description)
        self._fill_types()
        self._fill_device()

    @property
    def live_bytes(self) -> int:
        """Bytes in buffers of the device that have not been freed."""
        return sum(size for _base, size, counted in self._live.values() if counted)

    @property
    def free_bytes(self) -> int:
        """What the device says is free."""
        return max(0, self.spec.free_bytes - self.live_bytes)

    def register(self) -> None:
        """Put the device on llama.cpp's list, so that it is found by name."""
        ggml.ggml_backend_device_register(self.address)

    # -- structures ----------------------------------------------------------------------------

    def _text(self, text: str) -> int:
        buffer = ctypes.create_string_buffer(text.encode())
        self._keep.append(buffer)
        return ctypes.addressof(buffer)

    def _function(self, kind: Any, function: Callable[..., Any]) -> int:
        pointer = kind(function)
        self._keep.append(pointer)
        return _pointer(pointer)

    def _fill_types(self) -> None:
        cpu = ggml.ggml_backend_cpu_buffer_type()
        spec, own, pinned = self.spec, self._own, self._pinned
        own[TYPE_NAME] = self._function(_GET, lambda _type: self._name)
        own[TYPE_ALLOC] = self._function(_ALLOC, self._alloc)
        own[TYPE_ALIGNMENT] = self._function(_GET_SIZE, lambda _type: spec.alignment_bytes)
        if spec.scratch != "none" or spec.row_padding > 1:
            own[TYPE_ALLOC_SIZE] = self._function(_TENSOR_SIZE, self._alloc_size)
        host_name = self._text(f"{spec.name}_Host")
        pinned[TYPE_NAME] = self._function(_GET, lambda _type: host_name)
        pinned[TYPE_ALLOC] = self._function(_ALLOC, self._alloc)
        pinned[TYPE_ALIGNMENT] = word(cpu, TYPE_ALIGNMENT)
        pinned[TYPE_IS_HOST] = word(cpu, TYPE_IS_HOST)
        own[TYPE_DEVICE] = pinned[TYPE_DEVICE] = self.address

    def _fill_device(self) -> None:
        device, spec = self._device, self.spec
        cpu = ggml.ggml_backend_dev_by_type(0)
        device[DEV_NAME] = self._function(_GET, lambda _device: self._name)
        device[DEV_DESCRIPTION] = self._function(_GET, lambda _device: self._description)
        device[DEV_MEMORY] = self._function(_MEMORY, self._memory)
        kind = _IGPU if spec.integrated else _GPU
        device[DEV_TYPE] = self._function(_GET_INT, lambda _device: kind)
        device[DEV_PROPS] = self._function(_PROPS, self._props)
        device[DEV_INIT] = self._function(_INIT, self._init)
        device[DEV_TYPE_OWN] = self._function(_GET, lambda _device: self.buffer_type)
        if spec.host_buffer:
            device[DEV_TYPE_HOST] = self._function(_GET, lambda _device: self.host_buffer_type)
        # "Yes" to every operation: the CPU's is_host answers true whatever it is asked, natively.
        device[DEV_SUPPORTS_OP] = word(ggml.ggml_backend_cpu_buffer_type(), TYPE_IS_HOST)
        own = self.buffer_type
        device[DEV_SUPPORTS_TYPE] = self._function(_ASK, lambda _device, other: other == own)
        if spec.streams != "none":
            device[DEV_OFFLOAD] = self._function(_ASK, self._offloads)
        device[DEV_REG] = ggml.ggml_backend_dev_backend_reg(cpu)

    # -- what the slots do ---------------------------------------------------------------------

    def _memory(self, _device: int, free: Any, total: Any) -> None:
        free[0], total[0] = self.free_bytes, self.spec.total_bytes

    def _props(self, _device: int, props: Any) -> None:
        spec, to = self.spec, props[0]
        to.name = ctypes.cast(self._name, ctypes.c_char_p)
        to.description = ctypes.cast(self._description, ctypes.c_char_p)
        to.memory_free, to.memory_total = self.free_bytes, spec.total_bytes
        to.type = _IGPU if spec.integrated else _GPU
        to.device_id = None
        to.is_async = to.events = spec.pipelines
        to.host_buffer = spec.host_buffer
        to.buffer_from_host_ptr = False
        to.mmap_support = not spec.integrated

    def _init(self, _device: int, _params: bytes | None) -> int:
        backend: int = ggml.ggml_backend_cpu_init()
        set_word(backend, BACKEND_DEVICE, self.address)
        return backend

    def _alloc(self, buffer_type: int, size: int) -> int | None:
        if self._dry is not None:
            return self._dry.buffer(buffer_type, size)
        counted = buffer_type == self.buffer_type
        base = ctypes.c_void_p()
        if (counted and size > self.free_bytes) or _libc.posix_memalign(
            ctypes.byref(base), max(self.spec.alignment_bytes, 64), size
        ):
            self.denied.append(size)
            return None
        assert base.value is not None
        buffer: int = ggml.ggml_backend_cpu_buffer_from_ptr(base.value, size)
        if not self._live:
            self._free = _FREE(self._release)
        set_word(buffer, BUFFER_TYPE, buffer_type)
        set_word(buffer, BUFFER_FREE, _pointer(self._free))
        self._live[buffer] = (base.value, size, counted)
        return buffer

    def _release(self, buffer: int) -> None:
        base, _size, _counted = self._live.pop(buffer)
        _libc.free(base)

    def _offloads(self, _device: int, tensor: int) -> bool:
        op, ops = ctypes.c_int32.from_address(tensor + TENSOR_OP).value, self._ops
        ne = (ctypes.c_int64 * 4).from_address(tensor + TENSOR_NE)
        if op == ops["GET_ROWS"]:
            return False
        if op == ops["MUL_MAT"]:
            return ne[1] >= _OFFLOAD_MIN_BATCH
        if op == ops["MUL_MAT_ID"]:
            return ne[2] >= _OFFLOAD_MIN_BATCH
        if self.spec.streams == "products":
            return False
        if op in (ops["ROPE"], ops["ROPE_BACK"]):
            return ne[2] >= _OFFLOAD_MIN_BATCH
        return ne[1] * ne[2] * ne[3] >= _OFFLOAD_MIN_BATCH

    def _alloc_size(self, _type: int, tensor: int) -> int:
        size: int = ggml.ggml_nbytes(tensor)
        kind = ctypes.c_int32.from_address(tensor + TENSOR_TYPE).value
        if self._is_quantised(kind) and self.spec.row_padding > 1:
            rest = ctypes.c_int64.from_address(tensor + TENSOR_NE).value % self.spec.row_padding
            if rest:
                size += ggml.ggml_row_size(kind, self.spec.row_padding - rest)
        elif self.spec.scratch == "cuda":
            op = ctypes.c_int32.from_address(tensor + TENSOR_OP).value
            if op == self._ops["FLASH_ATTN_EXT"]:
                size = _with_f16_copies(tensor, size)
        return size

    def _is_quantised(self, kind: int) -> bool:
        found = self._quantised.get(kind)
        if found is None:
            found = self._quantised[kind] = bool(ggml.ggml_is_quantized(kind))
        return found


def _with_f16_copies(tensor: int, size: int) -> int:
    """CUDA's flash attention: an F16 copy of K and of V behind the result, where they are not F16.

    ``ggml_cuda_flash_attn_ext_get_f16_extra_data``. A V that is a view of K (latent attention) is
    not copied again.
    """
    k, v = word(tensor + TENSOR_SRC, 1), word(tensor + TENSOR_SRC, 2)
    if _type_of(k) != _F16:
        size = -(-size // 128) * 128 + 2 * ggml.ggml_nelements(k)
    if _type_of(v) != _F16 and not _is_view_of(v, k):
        size = -(-size // 128) * 128 + 2 * ggml.ggml_nelements(v)
    return size


def _is_view_of(v: int, k: int) -> bool:
    view_of = word(v + TENSOR_VIEW_SRC, 0)
    if not view_of:
        return False
    return view_of == k or (
        view_of == word(k + TENSOR_VIEW_SRC, 0)
        and word(v + TENSOR_VIEW_OFFSET, 0) == word(k + TENSOR_VIEW_OFFSET, 0)
    )


def _type_of(tensor: int) -> int:
    return ctypes.c_int32.from_address(tensor + TENSOR_TYPE).value


def _op_numbers() -> dict[str, int]:
    """Return the numbers of ggml's operations by name: they change from version to version."""
    found: dict[str, int] = {}
    for number in range(64 + 32):
        name: bytes = ggml.ggml_op_name(number)
        if name.decode() in _OPS:
            found[name.decode()] = number
            if len(found) == len(_OPS):
                return found
    raise RuntimeError("ggml does not name its operations as expected")


def _pointer(function: Any) -> int:
    value = ctypes.cast(function, _address).value
    assert value is not None
    return value
