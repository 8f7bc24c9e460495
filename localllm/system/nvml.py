"""NVML without exceptions: a session that always ends, and calls whose failures become reasons.

The binding is ``nvidia-ml-py`` (module ``pynvml``). It looks up each function of the driver's
library by name, so an old driver fails one call and not the rest.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

Failure = tuple[int, str]
"""NVML's return code, and a reason for a person."""

UNINITIALIZED = 1
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
ARGUMENT_VERSION_MISMATCH = 25

REASONS = {
    UNINITIALIZED: "NVML was closed while in use",
    NOT_SUPPORTED: "not supported by this GPU or driver",
    NO_PERMISSION: "needs administrator rights",
    NOT_FOUND: "not found",
    DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    LIBRARY_NOT_FOUND: "no NVIDIA driver is installed (its library libnvidia-ml is not found)",
    FUNCTION_NOT_FOUND: "the NVIDIA driver is older than this query",
    GPU_IS_LOST: "the GPU is lost: reset it, or restart the machine",
    RESET_REQUIRED: "the GPU must be reset before it can be used again",
    17: "the operating system refused the query",
    LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated while in use: restart the machine",
    ARGUMENT_VERSION_MISMATCH: "the NVIDIA driver is older than this query",
}

_MORE_LIBRARIES = (
    "usr/lib/wsl/lib/libnvidia-ml.so.1",  # WSL, when ld.so.conf does not name it
    "run/opengl-driver/lib/libnvidia-ml.so.1",  # NixOS
    "usr/local/nvidia/lib64/libnvidia-ml.so.1",  # containers of Google Kubernetes Engine
)


class NvmlUnavailable(Exception):
    """NVML cannot be used at all; ``reason`` is for a person, ``code`` is NVML's."""

    def __init__(self, reason: str, code: int) -> None:
        """Keep the code beside the sentence."""
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Nvml:
    """An open NVML. ``api`` is the binding's module."""

    def __init__(self, api: Any) -> None:
        """Take an initialised binding."""
        self.api = api

    def read(
        self,
        unknown: dict[str, str],
        field: str,
        function: Callable[..., T],
        *arguments: object,
    ) -> T | None:
        """Return a call's answer; or None, with the reason in ``unknown[field]``."""
        value, failure = self.attempt(function, *arguments)
        if failure is not None:
            unknown[field] = failure[1]
        return value

    def attempt(
        self, function: Callable[..., T], *arguments: object
    ) -> tuple[T | None, Failure | None]:
        """Return a call's answer, or None with NVML's code and a reason."""
        try:
            return function(*arguments), None
        except self.api.NVMLError as error:
            code = int(error.value)
            return None, (code, reason_of(code))
        except self.api.NVMLLibraryMismatchError:
            # What the binding makes of a missing function whose newest version it was asked for.
            return None, (FUNCTION_NOT_FOUND, REASONS[FUNCTION_NOT_FOUND])
        except UnicodeDecodeError:
            # The binding decodes strict UTF-8; some boards hold other bytes in their name.
            return None, (-1, "the driver's answer is not readable text")

    def field(self, handle: Any, field: int, scope: int = 0) -> int:
        """Return one of NVML's numbered field values; each has a return code of its own.

        ``scope`` is that of a power field: 0 the GPU, 1 its module. Raises the binding's error.
        """
        # The scope is always written: the binding takes a bare number to mean that of the GPU.
        (answer,) = self.api.nvmlDeviceGetFieldValues(handle, [(field, scope)])
        if answer.nvmlReturn != 0:
            raise self.api.NVMLError(answer.nvmlReturn)
        value = answer.value
        by_type = {
            self.api.NVML_VALUE_TYPE_UNSIGNED_INT: value.uiVal,
            self.api.NVML_VALUE_TYPE_UNSIGNED_LONG: value.ulVal,
            self.api.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: value.ullVal,
        }
        if answer.valueType not in by_type:
            raise self.api.NVMLError(NOT_SUPPORTED)
        return int(by_type[answer.valueType])


def reason_of(code: int) -> str:
    """Return a sentence for one of NVML's return codes."""
    return REASONS.get(code, f"NVML error {code}")


@contextmanager
def nvml_session(root: Path) -> Iterator[Nvml]:
    """Open NVML, and close it again whatever happens: an open NVML keeps a laptop's GPU awake.

    Raises NvmlUnavailable with the reason where it cannot be opened.
    """
    if not _library_loads(root):  # before the binding, which takes 10 ms to import
        raise NvmlUnavailable(reason_of(LIBRARY_NOT_FOUND), LIBRARY_NOT_FOUND)
    try:
        import pynvml
    except ImportError as error:
        raise NvmlUnavailable("nvidia-ml-py is not installed", LIBRARY_NOT_FOUND) from error
    try:
        _init(pynvml, root)
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(reason_of(int(error.value)), int(error.value)) from error
    try:
        yield Nvml(pynvml)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


class SharedNvml:
    """One open NVML for several holders: the last to let go closes it.

    Opening raises NvmlUnavailable; whoever opens holds a share.
    """

    def __init__(self, root: Path) -> None:
        """Open NVML."""
        self._stack = ExitStack()
        self.session = self._stack.enter_context(nvml_session(root))
        self._holders = 1
        self._lock = Lock()

    def hold(self) -> None:
        """Take one more share."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Give one share back; NVML is closed with the last."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._stack.close()


def _library_loads(root: Path) -> bool:
    """Whether the driver's library can be loaded, as the binding will ask for it on Linux."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        found = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return _preload(root)
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(found._handle))  # the binding holds its own
    return True


def _init(api: Any, root: Path) -> None:
    try:
        api.nvmlInit()
    except api.NVMLError as error:
        if error.value != LIBRARY_NOT_FOUND or not _preload(root):
            raise
        api.nvmlInit()


def _preload(root: Path) -> bool:
    """Load the library from a place that the loader does not search; True if one was there.

    The loader then finds it by its SONAME when the binding asks for it by name.
    """
    for name in _MORE_LIBRARIES:
        path = root / name
        if path.is_file():
            with suppress(OSError):
                ctypes.CDLL(str(path))
                return True
    return False
