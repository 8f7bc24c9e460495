"""llama.cpp's memory breakdown row by row, read from a C++ map it returns by value, and checked.

``llama_get_memory_breakdown`` returns ``std::map<buffer type, {model, context, compute}>``. The
layout is libstdc++'s (Linux): comparator at +0; header node {colour, parent, left, right} at +8;
count at +40. A node has colour +0, parent +8, left +16, right +24, then key +32, model +40,
context +48, compute +56. The header's parent is the root. Everything that this layout implies is
checked before a number is believed; where a check fails there are no numbers, and a reason.

The nodes are never freed: 64 bytes for each buffer type of each question.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from localllm.engine.llama import C, devices, ggml, metadata, metadata_number

_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"
_WORD = 8
_N_DEVICE_TYPE_CPU, _N_DEVICE_TYPE_ACCEL = 0, 3
_MAX_ROWS = 64


class Unreadable(Exception):
    """The breakdown cannot be trusted; the text says why."""


class Row(NamedTuple):
    """What lies in the buffers of one type."""

    buffer_type: int
    model_bytes: int
    context_bytes: int
    compute_bytes: int


class _Map(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint64 * 6),)


def breakdown_rows(model: int, context: int, known: Iterable[int]) -> list[Row]:
    """Return llama.cpp's rows. ``known``: every buffer type that there may be.

    Raises ``Unreadable``.
    """
    if not sys.platform.startswith("linux"):
        raise Unreadable("llama.cpp's breakdown is read on Linux only")
    rows = _rows(context)
    known = set(known)
    if any(row.buffer_type not in known for row in rows):
        raise Unreadable("the breakdown names a buffer type that no device has")
    n_bytes = sum(row.model_bytes for row in rows)
    if n_bytes < C.llama_model_size(model) and not _leaves_blocks_out(model):
        raise Unreadable("the breakdown counts less than the model's tensors")
    return rows


def _leaves_blocks_out(model: int) -> bool:
    """Return whether the file may hold MTP blocks, which llama.cpp counts and mostly skips."""
    key = f"{metadata(model, 'general.architecture')}.nextn_predict_layers"
    return bool(metadata_number(model, key))


def _rows(context: int) -> list[Row]:
    try:
        function: Any = getattr(C._lib, _SYMBOL)
    except AttributeError:
        raise Unreadable("this llama.cpp does not export its breakdown") from None
    function.restype, function.argtypes = _Map, (ctypes.c_void_p,)
    return read_map(function(context))


def read_map(result: ctypes.Structure) -> list[Row]:
    """Return the nodes of a map in order. Raises ``Unreadable`` where it is not as expected."""
    base = ctypes.addressof(result)
    header, count = base + _WORD, _word(base, 5)
    if not 0 < count <= _MAX_ROWS:
        raise Unreadable(f"the breakdown claims {count} rows")
    # The header moved when the map was returned, and the root's parent link moved with it.
    root, leftmost, rightmost = _word(header, 1), _word(header, 2), _word(header, 3)
    if _colour(header) != 0 or _colour(root) != 1:
        raise Unreadable("the breakdown's map is not laid out as expected")
    nodes: list[int] = []
    _walk(root, _word(root, 1), nodes)
    keys = [_word(node, 4) for node in nodes]
    if (
        len(nodes) != count
        or keys != sorted(set(keys))
        or nodes[0] != leftmost
        or nodes[-1] != rightmost
    ):
        raise Unreadable("the breakdown's map is not laid out as expected")
    return [Row(*(_word(node, index) for index in range(4, 8))) for node in nodes]


def _walk(node: int, parent: int, nodes: list[int]) -> None:
    """Collect nodes in order; links must be mutual."""
    if node == 0:
        return
    if len(nodes) > _MAX_ROWS or _word(node, 1) != parent:
        raise Unreadable("the breakdown's map is not laid out as expected")
    _walk(_word(node, 2), node, nodes)
    nodes.append(node)
    _walk(_word(node, 3), node, nodes)


def _word(address: int, index: int) -> int:
    if address == 0 or address % _WORD:
        raise Unreadable("the breakdown's map is not laid out as expected")
    return ctypes.c_uint64.from_address(address + index * _WORD).value


def _colour(address: int) -> int:
    return _word(address, 0) & 0xFFFFFFFF


def known_buffer_types() -> set[int]:
    """Return the buffer types that the devices own up to, those of the CPU, and mapped files."""
    known = {ggml.ggml_backend_cpu_buffer_type(), mapped_buffer_type()}
    for device in devices().values():
        known.add(ggml.ggml_backend_dev_buffer_type(device))
        known.add(ggml.ggml_backend_dev_host_buffer_type(device))
    return known | extra_buffer_types()


def mapped_buffer_type() -> int:
    """Return the type of mapped files (``CPU_Mapped``), which only a buffer of it can name."""
    memory = ctypes.create_string_buffer(256)
    address = -(-ctypes.addressof(memory) // 128) * 128
    buffer = ggml.ggml_backend_cpu_buffer_from_ptr(address, 64)
    kind: int = ggml.ggml_backend_buffer_get_type(buffer)
    ggml.ggml_backend_buffer_free(buffer)
    return kind


def extra_buffer_types() -> set[int]:
    """Return the CPU's extra buffer types (repacked weights, AMX)."""
    found: set[int] = set()
    for device in devices().values():
        registry = ggml.ggml_backend_dev_backend_reg(device)
        get = ggml.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        if get:
            extra = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(get)
            types = extra(device)
            index = 0
            while types and types[index]:
                found.add(types[index])
                index += 1
    return found


def device_of(buffer_type: int) -> str:
    """Return the device that holds a buffer type. CPU_REPACK is host, though not ``is_host``."""
    device = ggml.ggml_backend_buft_get_device(buffer_type)
    if ggml.ggml_backend_buft_is_host(buffer_type) or not device:
        return "host"
    if ggml.ggml_backend_dev_type(device) in (_N_DEVICE_TYPE_CPU, _N_DEVICE_TYPE_ACCEL):
        return "host"
    name: bytes = ggml.ggml_backend_dev_name(device)
    return name.decode()
