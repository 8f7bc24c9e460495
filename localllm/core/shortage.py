"""Where memory ran out, read from what llama.cpp, its backends and the kernel said of it.

Pure: a failure of the engine and its plan in, the rows of the plan that are to blame out. What is
done about it is decided in ``stepping_down.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from localllm.core.generation import Died, Failed
from localllm.core.plan import DeviceMemory, Plan
from localllm.units import MiB

Occasion = Literal["load", "proof", "answer", "bench"]
"""What the engine was doing."""

_NAMED = re.compile(r"failed to allocate (\S+) buffer of size (\d+)")
"""``ggml_gallocr_reserve_n_impl`` and ``alloc_tensor_range`` (``ggml-alloc.c``)."""
_NAMED_ONLY = re.compile(r"unable to allocate (\S+) buffer")
"""``llama_model::load_tensors`` (``src/llama-model.cpp``)."""
_BY_NUMBER = re.compile(r"allocating ([\d.]+) MiB on device (\d+)")
"""``ggml_backend_cuda_buffer_type_alloc_buffer`` (``ggml-cuda.cu``), also of its ROCm build."""
_CURRENT = re.compile(r"current device: (\d+), in function")
"""``ggml_cuda_error`` (``ggml-cuda.cu``), where an allocation of the run itself fails."""
_ON_HOST = re.compile(
    r"failed to allocate buffer of size (\d+)|failed to allocate output buffer"
    r"|bad_alloc|MemoryError|cannot allocate memory|ErrorOutOfHostMemory",
    re.IGNORECASE,
)
"""``ggml_backend_cpu_buffer_type_alloc_buffer`` (``ggml-backend.cpp``), ``llama_context``'s output
buffer, the C++ library, Python, ``strerror(ENOMEM)`` and Vulkan of host memory."""
_SIZE = re.compile(r"allocation of size (\d+) failed|buffer of (\d+) bytes")
"""Vulkan (``ggml-vulkan-buffers.cpp``) and Metal (``ggml-metal.cpp``), which name no device."""

_ROUNDING_BYTES = 16 * 1024
"""CUDA prints MiB with two digits; a buffer of a plan's term is met to about 5 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Memory that ran out under a plan."""

    occasion: Occasion
    places: tuple[str, ...]
    """Names of the plan's rows, ``host`` among them: one, or all GPUs where it is not said."""
    buffer_bytes: int | None = None
    """Size of the buffer that there was no room for, where it is said."""
    loading_weights: bool = False
    """It was the model itself that did not fit, before any cache."""

    @property
    def on_host(self) -> bool:
        """Whether RAM ran out."""
        return self.places == ("host",)


def shortage_of(plan: Plan, failure: Failed | Died, occasion: Occasion) -> Shortage | None:
    """Return where memory ran out under a plan; None where something else went wrong."""
    if isinstance(failure, Failed):
        if failure.code != "out_of_memory":
            return None
        lines: tuple[str, ...] = (failure.message,)
    elif failure.out_of_memory:
        lines = (*failure.stderr_tail, failure.message)
    else:
        return None
    places, n_bytes = _blamed(plan, lines)
    if isinstance(failure, Died) and failure.signal == "SIGKILL":
        places, n_bytes = ("host",), None  # the kernel ends processes for RAM alone
    if not places:
        places = plan.device_names or ("host",)
    return Shortage(
        occasion=occasion,
        places=places,
        buffer_bytes=n_bytes,
        loading_weights=any("could not load the model" in line for line in lines),
    )


def lacking_bytes(row: DeviceMemory, shortage: Shortage, *, attempt: int) -> int:
    """Return how much less should lie in a place where memory ran out: an estimate.

    What would still have come after the buffer that failed is known to be missing. Of that buffer
    itself a part is: a twentieth of what the plan puts there, and half a GiB where that is more but
    no large part of the whole; twice that the second time (``attempt`` 2).
    """
    step = max(row.needed_bytes // 20, min(512 * MiB, row.needed_bytes // 4)) << (attempt - 1)
    return min(_still_to_come(row, shortage) + step, row.self_bytes)


def _still_to_come(row: DeviceMemory, shortage: Shortage) -> int:
    """What llama.cpp allocates after the buffer that failed: weights come first, compute last."""
    if shortage.occasion != "load":
        return 0
    size = shortage.buffer_bytes
    if shortage.loading_weights or _is_near(size, row.model_bytes):
        return row.context_bytes + row.compute_bytes
    return row.compute_bytes if _is_near(size, row.context_bytes) else 0


def _is_near(size: int | None, n_bytes: int) -> bool:
    return size is not None and n_bytes > 0 and abs(size - n_bytes) <= _ROUNDING_BYTES


def _blamed(plan: Plan, lines: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    """Return the rows that the words name, and the size of the buffer; the first word counts."""
    size: int | None = None
    for line in lines:
        if found := _NAMED.search(line):
            return _row_of(plan, found[1]), int(found[2])
        if found := _BY_NUMBER.search(line):
            return _numbered(plan, found[2]), round(float(found[1]) * MiB)
        if found := _NAMED_ONLY.search(line):
            return _row_of(plan, found[1]), None
        if found := _CURRENT.search(line):
            return _numbered(plan, found[1]), None
        if found := _ON_HOST.search(line):
            return ("host",), int(found[1]) if found[1] else None
        if found := _SIZE.search(line):
            size = int(found[1] or found[2])
    return (), size


def _row_of(plan: Plan, buffer_type: str) -> tuple[str, ...]:
    """Return the row that a buffer type belongs to: ``CUDA0``, ``MTL0_Private``, ``CUDA_Host``."""
    if buffer_type.startswith("CPU") or buffer_type.endswith("_Host"):
        return ("host",)
    return tuple(
        name
        for name in plan.device_names
        if buffer_type.partition("_")[0] == name.partition("_")[0]
    )[:1]


def _numbered(plan: Plan, number: str) -> tuple[str, ...]:
    """Return the row of a device by its number within its backend: 1 is ``CUDA1``."""
    return tuple(name for name in plan.device_names if re.fullmatch(rf"[A-Za-z]+{number}", name))[
        :1
    ]
