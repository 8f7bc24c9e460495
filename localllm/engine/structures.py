"""ggml's internal structures as arrays of 8-byte words (``ggml-backend-impl.h``, API version 2).

``layouts`` checks every position that is named here before anybody reads or writes with it.
"""

from __future__ import annotations

import ctypes
from typing import Any

# Positions in ``ggml_backend_device``, ``_buffer_type``, ``_buffer`` and ``ggml_backend``.
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


def word(address: int, index: int) -> int:
    """Read a word of a structure."""
    return ctypes.c_uint64.from_address(address + 8 * index).value


def set_word(address: int, index: int, value: int) -> None:
    """Write a word of a structure."""
    ctypes.c_uint64.from_address(address + 8 * index).value = value


def function_address(function: Any) -> int:
    """Return the address that C calls a ctypes callback by; keep the callback alive."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
