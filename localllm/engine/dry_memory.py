"""Buffers that claim a size and hold nothing: a dry run allocates no memory, whatever it asks for.

llama.cpp's ``no_alloc`` spares weights, cache and compute buffers, but not recurrent states and the
output buffer; and a real reservation of compute buffers is more exact than its measurement.
"""

from __future__ import annotations

import ctypes

from localllm.engine.devices import REARRANGED
from localllm.engine.llama import ggml
from localllm.engine.structures import (
    BUFFER_CLEAR,
    BUFFER_TYPE,
    DEV_SUPPORTS_TYPE,
    N_TYPE_WORDS,
    TYPE_ALIGNMENT,
    TYPE_ALLOC,
    TYPE_DEVICE,
    TYPE_NAME,
    function_address,
    set_word,
    word,
)

_address = ctypes.c_void_p
_ALLOC = ctypes.CFUNCTYPE(_address, _address, ctypes.c_size_t)
_NAME = ctypes.CFUNCTYPE(_address, _address)
_SUPPORTS = ctypes.CFUNCTYPE(ctypes.c_bool, _address, _address)
_CLEAR = ctypes.CFUNCTYPE(None, _address, ctypes.c_uint8)

NOWHERE = 1 << 44
"""Base of buffers that a dry run asks for: an address that nothing lies at and nothing reads."""


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
        set_word(self._cpu_type, TYPE_ALLOC, function_address(self._alloc))
        self._cpu: int = ggml.ggml_backend_dev_by_type(0)
        self.rearranged = self._rearranged_type()
        """Buffer type of weights that another machine's CPU rearranges: never streamed."""
        self._accepts_before = word(self._cpu, DEV_SUPPORTS_TYPE)
        before, mine = _SUPPORTS(self._accepts_before), self.rearranged
        self._accepts = _SUPPORTS(lambda device, kind: kind == mine or before(device, kind))
        self._accepts_address = function_address(self._accepts)

    def rearrange(self, on: bool) -> None:
        """Make the CPU's device own up to ``rearranged``, or not, as without."""
        set_word(
            self._cpu, DEV_SUPPORTS_TYPE, self._accepts_address if on else self._accepts_before
        )

    def _rearranged_type(self) -> int:
        """Build a buffer type of the CPU that is not host memory, like CPU_REPACK."""
        self._name = ctypes.create_string_buffer(REARRANGED.encode())
        name = ctypes.addressof(self._name)
        self._get_name = _NAME(lambda _type: name)
        self._type = (ctypes.c_uint64 * N_TYPE_WORDS)()
        self._type[TYPE_NAME] = function_address(self._get_name)
        self._type[TYPE_ALLOC] = function_address(self._alloc)
        self._type[TYPE_ALIGNMENT] = word(self._cpu_type, TYPE_ALIGNMENT)
        self._type[TYPE_DEVICE] = self._cpu
        return ctypes.addressof(self._type)

    def buffer(self, buffer_type: int, size: int) -> int:
        """Return a buffer of a type that claims a size and holds nothing."""
        buffer: int = ggml.ggml_backend_cpu_buffer_from_ptr(NOWHERE, size)
        set_word(buffer, BUFFER_TYPE, buffer_type)
        set_word(buffer, BUFFER_CLEAR, function_address(self._clear))
        return buffer
