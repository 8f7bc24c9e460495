"""ggml's own GGUF reader and type table, through the libraries that llama-cpp-python installed.

Every symbol is looked up through libllama's handle: loading ``libggml.so`` by its path would give a
second copy of the library.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as bindings


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


class GgmlTensor(NamedTuple):
    """A tensor as ``gguf_get_tensor_*`` and the ggml context report it."""

    name: str
    type: str
    n_bytes: int
    offset: int
    """From the start of the data section."""


@bindings.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, user_data: object) -> None:
    """Drop llama.cpp's log: the mutants make it talk without end."""


@cache
def library() -> Any:
    """The handle, with the result and argument types of everything that tests call."""
    lib = bindings._lib
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "gguf_init_from_file": (ctypes.c_void_p, [ctypes.c_char_p, _InitParams]),
        "gguf_free": (None, [ctypes.c_void_p]),
        "gguf_get_n_kv": (ctypes.c_int64, [ctypes.c_void_p]),
        "gguf_get_key": (ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_kv_type": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_arr_type": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_arr_n": (ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_data_offset": (ctypes.c_size_t, [ctypes.c_void_p]),
        "gguf_get_n_tensors": (ctypes.c_int64, [ctypes.c_void_p]),
        "gguf_get_tensor_name": (ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_tensor_type": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_tensor_size": (ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_int64]),
        "gguf_get_tensor_offset": (ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_int64]),
        "ggml_type_name": (ctypes.c_char_p, [ctypes.c_int]),
        "ggml_blck_size": (ctypes.c_int64, [ctypes.c_int]),
        "ggml_type_size": (ctypes.c_size_t, [ctypes.c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@contextmanager
def silence() -> Iterator[None]:
    """No log of llama.cpp while the block runs."""
    bindings.llama_log_set(_silent, None)
    yield


@contextmanager
def opened(path: Path) -> Iterator[int | None]:
    """ggml's view of a file, or None when ggml refuses it."""
    lib = library()
    context = lib.gguf_init_from_file(str(path).encode(), _InitParams(no_alloc=True, ctx=None))
    try:
        yield context
    finally:
        if context:
            lib.gguf_free(context)


def accepts(path: Path) -> bool:
    """Whether ggml reads the header of a file."""
    with opened(path) as context:
        return context is not None


def tensors(context: int) -> list[GgmlTensor]:
    """Every tensor in the order of the file."""
    lib = library()
    return [
        GgmlTensor(
            name=lib.gguf_get_tensor_name(context, i).decode(),
            type=lib.ggml_type_name(lib.gguf_get_tensor_type(context, i)).decode(),
            n_bytes=lib.gguf_get_tensor_size(context, i),
            offset=lib.gguf_get_tensor_offset(context, i),
        )
        for i in range(lib.gguf_get_n_tensors(context))
    ]


@contextmanager
def memory_file() -> Iterator[Path]:
    """A path for a small file that is rewritten often: in RAM where there is such a place."""
    shm = Path("/dev/shm")
    folder = shm if shm.is_dir() and os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name) / "mutant.gguf"
