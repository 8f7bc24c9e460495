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
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from localllm.engine.backend_rules import RULES, pulls
from localllm.engine.devices import SimulatedSpec
from localllm.engine.dry_memory import DryMemory
from localllm.engine.llama import DeviceProps, ggml
from localllm.engine.structures import (
    BACKEND_DEVICE,
    BUFFER_FREE,
    BUFFER_TYPE,
    DEV_DESCRIPTION,
    DEV_INIT,
    DEV_MEMORY,
    DEV_NAME,
    DEV_OFFLOAD,
    DEV_PROPS,
    DEV_REG,
    DEV_SUPPORTS_OP,
    DEV_SUPPORTS_TYPE,
    DEV_TYPE,
    DEV_TYPE_HOST,
    DEV_TYPE_OWN,
    N_DEVICE_WORDS,
    N_TYPE_WORDS,
    TYPE_ALIGNMENT,
    TYPE_ALLOC,
    TYPE_ALLOC_SIZE,
    TYPE_DEVICE,
    TYPE_IS_HOST,
    TYPE_MAX,
    TYPE_NAME,
    function_address,
    set_word,
    word,
)
from localllm.engine.tensors import OFFSET_NE, OFFSET_OP, OFFSET_VIEW_SRC, Tensor

_address = ctypes.c_void_p
_size = ctypes.c_size_t

_Rule = TypeVar("_Rule")

_GPU, _IGPU = 1, 2
_N_OPS_AT_LEAST = 96
"""Operations that the tested versions have at least; past the last there is no name to read."""
_PICKED = ("GET_ROWS", "MUL_MAT", "MUL_MAT_ID", "ROPE", "ROPE_BACK")
"""Operations whose batch is not the number of rows."""

_REFUSED, _EXTRA, _PADDED = 1, 2, 4
"""Rules that a graph has met: an operation refused, one that takes more, a row padded."""

_op_of = ctypes.c_int32.from_address
_address_at = ctypes.c_uint64.from_address

_ALLOC = ctypes.CFUNCTYPE(_address, _address, _size)
_FREE = ctypes.CFUNCTYPE(None, _address)
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
        self._rules = RULES[spec.rules]
        self._named = _op_names({*_PICKED, *self._rules.computes, *self._rules.extra})
        self._computes = self._by_number(self._rules.computes)
        self._extra = self._by_number(self._rules.extra)
        self._met = 0
        self._met_before: dict[Hashable, int] = {}
        self._n_bytes = ggml.ggml_nbytes
        self._quantised: dict[int, bool] = {}
        self._device = (ctypes.c_uint64 * N_DEVICE_WORDS)()
        self._own = (ctypes.c_uint64 * N_TYPE_WORDS)()
        self._pinned = (ctypes.c_uint64 * N_TYPE_WORDS)()
        self.address = ctypes.addressof(self._device)
        self.buffer_type = ctypes.addressof(self._own)
        self.host_buffer_type = ctypes.addressof(self._pinned) if spec.host_buffer else 0
        self._name = self._text(spec.name)
        self._description = self._text(spec.description)
        self._free = self._function(_FREE, self._release)
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

    @property
    def refuses(self) -> bool:
        """Whether the context that was expected last has an operation that the device refuses."""
        return bool(self._met & _REFUSED)

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
        return function_address(pointer)

    def _fill_types(self) -> None:
        cpu = ggml.ggml_backend_cpu_buffer_type()
        spec, own, pinned = self.spec, self._own, self._pinned
        own[TYPE_NAME] = self._function(_GET, lambda _type: self._name)
        own[TYPE_ALLOC] = self._function(_ALLOC, self._alloc)
        own[TYPE_ALIGNMENT] = self._function(_GET_SIZE, lambda _type: spec.alignment_bytes)
        self._sizes = self._function(_TENSOR_SIZE, self._size_of)
        self._sizes_by_operation = self._function(_TENSOR_SIZE, self._size_by_operation)
        own[TYPE_ALLOC_SIZE] = self._sizes
        if spec.max_buffer_bytes:
            own[TYPE_MAX] = self._function(_GET_SIZE, lambda _type: spec.max_buffer_bytes)
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
        # A native "yes": the CPU's is_host answers true whatever it is asked.
        self._yes = word(ggml.ggml_backend_cpu_buffer_type(), TYPE_IS_HOST)
        self._asks = self._function(_ASK, self._supports)
        device[DEV_SUPPORTS_OP] = self._asks
        own = self.buffer_type
        device[DEV_SUPPORTS_TYPE] = self._function(_ASK, lambda _device, other: other == own)
        if spec.streams:
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
        set_word(buffer, BUFFER_TYPE, buffer_type)
        set_word(buffer, BUFFER_FREE, self._free)
        self._live[buffer] = (base.value, size, counted)
        return buffer

    def _release(self, buffer: int) -> None:
        base, _size, _counted = self._live.pop(buffer)
        _libc.free(base)

    def _offloads(self, _device: int, tensor: int) -> bool:
        name = self._named.get(_op_of(tensor + OFFSET_OP).value)
        return pulls(self._rules, Tensor(tensor), name)

    def _supports(self, _device: int, tensor: int) -> bool:
        rule = self._computes.get(_op_of(tensor + OFFSET_OP).value)
        if rule is None or rule(Tensor(tensor)):
            return True
        self._met |= _REFUSED
        return False

    def _size_of(self, _type: int, tensor: int) -> int:
        size = self._size_by_operation(_type, tensor)
        padding = self.spec.row_padding
        if padding > 1:
            rest = ctypes.c_int64.from_address(tensor + OFFSET_NE).value % padding
            if rest and self._is_quantised(kind := Tensor(tensor).type):
                size += ggml.ggml_row_size(kind, padding - rest)
                if not _address_at(tensor + OFFSET_VIEW_SRC).value:  # views take no memory
                    self._met |= _PADDED
        return size

    def _size_by_operation(self, _type: int, tensor: int) -> int:
        size: int = self._n_bytes(tensor)
        extra = self._extra.get(_op_of(tensor + OFFSET_OP).value)
        if extra is None:
            return size
        more = extra(Tensor(tensor), size)
        if more != size:
            self._met |= _EXTRA
        return more

    def _is_quantised(self, kind: int) -> bool:
        found = self._quantised.get(kind)
        if found is None:
            found = self._quantised[kind] = bool(ggml.ggml_is_quantized(kind))
        return found

    # -- fewer questions -----------------------------------------------------------------------

    def expect(self, kind: Hashable) -> None:
        """Before a context of a kind: rules that none of that kind met need not be asked again.

        Most graphs refuse nothing and take nothing extra. To ask Python about each of their ten
        thousand tensors all the same would take longer than llama.cpp takes to plan them.
        """
        met = self._met_before.get(kind, _REFUSED | _EXTRA | _PADDED)
        sizes = self._sizes if met & _PADDED else self._sizes_by_operation if met & _EXTRA else 0
        self._own[TYPE_ALLOC_SIZE] = sizes
        self._device[DEV_SUPPORTS_OP] = self._asks if met & _REFUSED else self._yes
        self._met = 0

    def learn(self, kind: Hashable) -> None:
        """After that context: remember the rules that were met."""
        self._met_before.setdefault(kind, self._met)

    def _by_number(self, rules: Mapping[str, _Rule]) -> dict[int, _Rule]:
        return {number: rules[name] for number, name in self._named.items() if name in rules}


def _op_names(wanted: set[str]) -> dict[int, str]:
    """Return ggml's numbers of operations: they change from version to version, so by name."""
    found: dict[int, str] = {}
    for number in range(_N_OPS_AT_LEAST):
        name: str = ggml.ggml_op_name(number).decode()
        if name in wanted:
            found[number] = name
    if len(found) != len(wanted):
        raise RuntimeError("ggml does not name its operations as expected")
    return found
