"""Buffers that claim a size and hold nothing: a dry run allocates no memory, whatever it asks for.

llama.cpp's ``no_alloc`` spares weights, cache and compute buffers, but not recurrent states and the
output buffer; and a real reservation of compute buffers is more exact than its measurement.
"""

from __future__ import annotations

import ctypes

from localllm.engine.llama import ggml
from localllm.engine.structures import (
    BUFFER_CLEAR,
    BUFFER_TYPE,
    TYPE_ALLOC,
    function_address,
    set_word,
)

_address = ctypes.c_void_p
_ALLOC = ctypes.CFUNCTYPE(_address, _address, ctypes.c_size_t)
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

    def buffer(self, buffer_type: int, size: int) -> int:
        """Return a buffer of a type that claims a size and holds nothing."""
        buffer: int = ggml.ggml_backend_cpu_buffer_from_ptr(NOWHERE, size)
        set_word(buffer, BUFFER_TYPE, buffer_type)
        set_word(buffer, BUFFER_CLEAR, function_address(self._clear))
        return buffer
