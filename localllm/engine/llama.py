"""libllama as the child uses it: the only importer of ``llama_cpp``.

Two things about the package (0.3.36): its ``__init__`` imports numpy and a high-level API that we
do not use, and installs a log callback (0.1 s); and its symbols must all be taken from libllama's
own handle, because opening ``libggml`` by path gives a second copy with a device registry of its
own. So this module imports the ctypes layer alone, and takes ggml's functions from ``C._lib``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import types
from collections import deque
from typing import Any


def _import_ctypes_layer() -> Any:
    """Import ``llama_cpp.llama_cpp`` without running the package's ``__init__``."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp")
    if "llama_cpp" not in sys.modules:
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["llama_cpp"] = package
    from llama_cpp import llama_cpp  # noqa: TID251  (the one importer)

    return llama_cpp


C: Any = _import_ctypes_layer()
"""The ctypes layer: every function of ``llama.h`` with its types set, and the structures."""

_lib: Any = C._lib
_pointer = ctypes.c_void_p
_text = ctypes.c_char_p
_size = ctypes.c_size_t

EMPTY_TOKEN = -1
"""``LLAMA_TOKEN_NULL``: this vocabulary has no such token."""


class DeviceProps(ctypes.Structure):
    """``ggml_backend_dev_props``, capabilities as five booleans."""

    _fields_ = (
        ("name", _text),
        ("description", _text),
        ("memory_free", _size),
        ("memory_total", _size),
        ("type", ctypes.c_int),
        ("device_id", _text),
        ("is_async", ctypes.c_bool),
        ("host_buffer", ctypes.c_bool),
        ("buffer_from_host_ptr", ctypes.c_bool),
        ("events", ctypes.c_bool),
        ("mmap_support", ctypes.c_bool),
    )


class BufferTypeOverride(ctypes.Structure):
    """``llama_model_tensor_buft_override``: tensors matching a regex go to a buffer type."""

    _fields_ = (("pattern", _text), ("buffer_type", _pointer))


class InitParams(ctypes.Structure):
    """``ggml_init_params``."""

    _fields_ = (("mem_size", _size), ("mem_buffer", _pointer), ("no_alloc", ctypes.c_bool))


_SYMBOLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "_Z19llama_graph_reserveP13llama_contextjjj": (
        _pointer,
        (_pointer, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32),
    ),
    "_ZNK13llama_context9get_schedEv": (_pointer, (_pointer,)),
    "ggml_backend_sched_get_n_backends": (ctypes.c_int, (_pointer,)),
    "ggml_backend_sched_get_backend": (_pointer, (_pointer, ctypes.c_int)),
    "ggml_backend_sched_get_buffer_type": (_pointer, (_pointer, _pointer)),
    "ggml_backend_sched_get_buffer_size": (_size, (_pointer, _pointer)),
    "llama_attach_threadpool": (None, (_pointer, _pointer, _pointer)),
    "ggml_threadpool_params_init": (None, (_pointer, ctypes.c_int)),
    "ggml_threadpool_new": (_pointer, (_pointer,)),
    "ggml_commit": (_text, ()),
    "ggml_backend_dev_count": (_size, ()),
    "ggml_backend_dev_get": (_pointer, (_size,)),
    "ggml_backend_dev_by_name": (_pointer, (_text,)),
    "ggml_backend_dev_name": (_text, (_pointer,)),
    "ggml_backend_dev_description": (_text, (_pointer,)),
    "ggml_backend_dev_type": (ctypes.c_int, (_pointer,)),
    "ggml_backend_dev_get_props": (None, (_pointer, ctypes.POINTER(DeviceProps))),
    "ggml_backend_dev_buffer_type": (_pointer, (_pointer,)),
    "ggml_backend_dev_host_buffer_type": (_pointer, (_pointer,)),
    "ggml_backend_dev_backend_reg": (_pointer, (_pointer,)),
    "ggml_backend_reg_get_proc_address": (_pointer, (_pointer, _text)),
    "ggml_backend_cpu_buffer_from_ptr": (_pointer, (_pointer, _size)),
    "ggml_backend_buffer_get_type": (_pointer, (_pointer,)),
    "ggml_backend_buffer_free": (None, (_pointer,)),
    "ggml_backend_cpu_buffer_type": (_pointer, ()),
    "ggml_backend_buft_name": (_text, (_pointer,)),
    "ggml_backend_buft_is_host": (ctypes.c_bool, (_pointer,)),
    "ggml_backend_buft_get_device": (_pointer, (_pointer,)),
    "ggml_backend_buft_get_alignment": (_size, (_pointer,)),
    "ggml_backend_buft_alloc_buffer": (_pointer, (_pointer, _size)),
    "ggml_backend_buffer_get_base": (_pointer, (_pointer,)),
    "ggml_backend_buffer_get_size": (_size, (_pointer,)),
    "ggml_backend_dev_by_type": (_pointer, (ctypes.c_int,)),
    "ggml_backend_dev_memory": (None, (_pointer, ctypes.POINTER(_size), ctypes.POINTER(_size))),
    "ggml_backend_device_register": (None, (_pointer,)),
    "ggml_backend_get_device": (_pointer, (_pointer,)),
    "ggml_backend_free": (None, (_pointer,)),
    "ggml_backend_cpu_init": (_pointer, ()),
    "ggml_backend_cpu_reg": (_pointer, ()),
    "ggml_cpu_has_avx2": (ctypes.c_int, ()),
    "ggml_cpu_has_avx512": (ctypes.c_int, ()),
    "ggml_cpu_has_dotprod": (ctypes.c_int, ()),
    "ggml_cpu_has_matmul_int8": (ctypes.c_int, ()),
    "ggml_op_name": (_text, (ctypes.c_int,)),
    "ggml_nbytes": (_size, (_pointer,)),
    "ggml_nelements": (ctypes.c_int64, (_pointer,)),
    "ggml_row_size": (_size, (ctypes.c_int, ctypes.c_int64)),
    "ggml_is_quantized": (ctypes.c_bool, (ctypes.c_int,)),
    "ggml_version": (_text, ()),
    "ggml_init": (_pointer, (InitParams,)),
    "ggml_free": (None, (_pointer,)),
    "ggml_new_tensor_2d": (
        _pointer,
        (_pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),
    ),
    "ggml_view_2d": (
        _pointer,
        (_pointer, _pointer, ctypes.c_int64, ctypes.c_int64, _size, _size),
    ),
    "ggml_scale": (_pointer, (_pointer, _pointer, ctypes.c_float)),
    "ggml_mul_mat": (_pointer, (_pointer, _pointer, _pointer)),
}


def _bind(name: str) -> Any:
    restype, argtypes = _SYMBOLS[name]
    function = getattr(_lib, name)
    function.restype, function.argtypes = restype, argtypes
    return function


class _Ggml:
    """ggml's functions, bound on first use: ``ggml.ggml_type_name(2)``."""

    def __getattr__(self, name: str) -> Any:
        function = _bind(name) if name in _SYMBOLS else getattr(_lib, name)
        setattr(self, name, function)
        return function


ggml = _Ggml()

_strlen = ctypes.CDLL(None).strlen
_strlen.restype, _strlen.argtypes = _size, (_pointer,)


class AbortFlag:
    """A flag that native code can read between two operations of a graph, without Python.

    llama.cpp's abort callback is ``bool callback(void *)``, called after every graph node on the
    CPU: about a thousand times a token, too often for a Python function. libc's ``strlen`` has a
    fitting signature: on a buffer with an empty string it returns 0, go on, and on one with one
    character it returns 1, stop.
    """

    def __init__(self) -> None:
        """Start unset."""
        self._buffer = ctypes.create_string_buffer(2)
        self.callback = ctypes.cast(_strlen, C.ggml_abort_callback)
        self.callback_data = ctypes.cast(self._buffer, _pointer)

    def set(self) -> None:
        """Stop the graph that is running, and every later one."""
        self._buffer[0] = b"x"

    def clear(self) -> None:
        """Let graphs run again."""
        self._buffer[0] = b"\0"

    def __bool__(self) -> bool:
        """Whether the flag is set."""
        return self._buffer[0] != b"\0"


class Log:
    """llama.cpp's log: every line to stderr (the client's ring), the recent complaints kept."""

    _DEBUG, _WARN, _ERROR, _CONTINUED = 1, 3, 4, 5

    def __init__(self) -> None:
        """Install the callback; keep this object alive as long as llama.cpp may log."""
        self.complaints: deque[str] = deque(maxlen=20)
        self._level = 0
        self._callback = C.llama_log_callback(self._receive)
        # A native function that does nothing with what it is given.
        self._silence = ctypes.cast(ggml.ggml_cpu_has_avx2, C.llama_log_callback)
        self.listen()

    def listen(self) -> None:
        """Hear llama.cpp out, from here on."""
        self.complaints.clear()
        C.llama_log_set(self._callback, None)

    def ignore(self) -> None:
        """Hear nothing: a context logs thousands of lines, each a call into Python."""
        C.llama_log_set(self._silence, None)

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level != self._CONTINUED:
            self._level = level
        if self._level == self._DEBUG:
            return
        os.write(2, text)
        line = text.decode("utf-8", "replace").strip()
        if self._level in (self._WARN, self._ERROR) and line.strip("."):
            self.complaints.append(line)


CACHE_TYPES: dict[str, int] = {
    "f32": 0,
    "f16": 1,
    "bf16": 30,
    "q8_0": 8,
    "q5_0": 6,
    "q5_1": 7,
    "q4_0": 2,
    "q4_1": 3,
    "iq4_nl": 20,
}
"""Types that a KV cache may have (``--cache-type-k``), and ggml's numbers, which never change."""


CACHE_BITS: dict[str, float] = {
    "f32": 32,
    "f16": 16,
    "bf16": 16,
    "q8_0": 8.5,
    "q5_1": 6,
    "q5_0": 5.5,
    "q4_1": 5,
    "q4_0": 4.5,
    "iq4_nl": 4.5,
}
"""Bits per element of the same types, scales included."""


def devices() -> dict[str, int]:
    """Return llama.cpp's devices by name, in its order; values are ``ggml_backend_dev_t``."""
    found = {}
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        found[ggml.ggml_backend_dev_name(device).decode()] = device
    return found


def device_props(device: int) -> DeviceProps:
    """Return the properties of a device."""
    props = DeviceProps()
    ggml.ggml_backend_dev_get_props(device, ctypes.byref(props))
    return props


def metadata(model: int, key: str) -> str:
    """Return a scalar of the file's metadata as text; empty without one."""
    buffer = ctypes.create_string_buffer(256)
    n = C.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if n >= 0 else ""


def metadata_number(model: int, key: str) -> int | None:
    """Return a number of the file's metadata, or None without one."""
    text = metadata(model, key)
    return int(text) if text.isdigit() else None
