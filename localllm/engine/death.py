"""Why an engine child ended: exit status and the end of its stderr in, one sentence and a hint out.

Pure: the process is observed in ``process``, judged here.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from localllm.core.generation import Died

Phase = Literal["start", "load", "prompt", "generate", "bench", "idle"]

_DOING: dict[Phase, str] = {
    "start": "while starting",
    "load": "while loading the model",
    "prompt": "while reading the prompt",
    "generate": "while answering",
    "bench": "during the benchmark",
    "idle": "while idle",
}

_OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate|unable to allocate|cannot allocate memory|bad_alloc"
    r"|not enough (?:space|memory)|ErrorOutOfDeviceMemory|ErrorOutOfHostMemory|cudaMalloc failed"
    r"|MemoryError",
    re.IGNORECASE,
)
"""How ggml, its backends, the C++ library and Python say that memory is exhausted."""

_GGML_ABORT = re.compile(r"[\w.+/\\-]+\.(?:c|cpp|cc|cu|cuh|h|hpp|m|mm|metal|inc):\d+: .+")
"""``ggml_abort`` prints ``file:line: message``."""

_BACKEND_ERROR = re.compile(r"\b(?:CUDA|ROCm|HIP|MUSA|SYCL|Vulkan|Metal) error: .+")
_TERMINATE = re.compile(r"terminate called|what\(\):|\b\w*(?:Error|Exception)\b:? ")
_ERROR_LINE = re.compile(r"\b(?:error|failed|fatal|cannot|unable|invalid)\b", re.IGNORECASE)
_MAX_CAUSE = 240
_N_LAST_WORDS = 12
"""Lines at the end of stderr that belong to the death; earlier ones may be survived warnings."""

_OOM_HINT = (
    "Use a smaller context (--ctx), a smaller KV cache (--kv q8_0), fewer GPU layers "
    "(--n-gpu-layers) or a smaller quantisation of the model."
)
_CRASH_HINT = (
    "Ask again: a new engine starts by itself. If it keeps happening, `localllm doctor` shows the "
    "installed llama.cpp, and --n-gpu-layers 0 runs without the GPU."
)
_HUNG_HINT = (
    "Ask again: a new engine starts by itself. A hung GPU driver often needs a reset or a reboot."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Autopsy:
    """What is known about an ended child."""

    returncode: int | None
    """As ``subprocess`` reports it: negative for a signal. None when it could not be reaped."""
    phase: Phase
    stderr_tail: Sequence[str]
    ended_by_us: str | None = None
    """Why the client ended it ("it sent no sign of life for 30 s"), when the client did."""
    kernel_oom: bool | None = None
    """Whether the kernel's count of out-of-memory kills rose meanwhile; None: not readable."""


def died(autopsy: Autopsy, *, closed: bool = False) -> Died:
    """Return the event that says what died and why; ``closed``: the engine was told to end."""
    if closed:
        return Died(
            message="The engine was closed.",
            hint="Start it again to go on.",
            phase=autopsy.phase,
            signal=None,
            out_of_memory=False,
        )
    signal_name = _signal_name(autopsy.returncode)
    cause = find_cause(autopsy.stderr_tail)
    last_words = autopsy.stderr_tail[-_N_LAST_WORDS:]
    doing = _DOING[autopsy.phase]
    killed = signal_name == "SIGKILL" and autopsy.ended_by_us is None
    out_of_memory = autopsy.ended_by_us is None and (
        any(_OUT_OF_MEMORY.search(line) for line in last_words)
        or (killed and (autopsy.kernel_oom or (autopsy.kernel_oom is None and _loads(autopsy))))
    )
    hint = _OOM_HINT if out_of_memory else _CRASH_HINT
    if autopsy.ended_by_us is not None:
        message = f"The engine was stopped {doing}: {autopsy.ended_by_us}."
        hint = _HUNG_HINT
    elif killed and autopsy.kernel_oom:
        message = f"The engine was killed {doing}: the kernel ran out of memory (SIGKILL)."
    elif killed and out_of_memory:
        message = f"The engine was killed {doing} (SIGKILL), most likely for lack of memory."
    elif killed:
        message = f"The engine was killed {doing} (SIGKILL), from outside localllm."
    elif signal_name == "SIGBUS":
        message = (
            f"The engine crashed {doing} (SIGBUS): the model file was cut short or became "
            "unreadable while in use."
        )
        hint = "Check the file and its disk, then load the model again."
    elif signal_name == "SIGILL":
        message = f"The engine crashed {doing} (SIGILL): llama.cpp was built for another processor."
        hint = (
            "Reinstall llama-cpp-python from source on this machine; `localllm doctor` shows how."
        )
    elif signal_name is not None:
        because = f": {cause}" if cause else ", and left no message"
        message = f"The engine crashed {doing} ({signal_name}){because}."
    else:
        because = f": {cause}" if cause else ", and left no message"
        code = "" if autopsy.returncode is None else f" (exit code {autopsy.returncode})"
        message = f"The engine ended {doing}{code}{because}."
    return Died(
        message=message,
        hint=hint,
        phase=autopsy.phase,
        signal=signal_name,
        out_of_memory=bool(out_of_memory),
        stderr_tail=tuple(autopsy.stderr_tail),
    )


def _loads(autopsy: Autopsy) -> bool:
    return autopsy.phase in ("load", "prompt")


def find_cause(stderr_tail: Sequence[str]) -> str | None:
    """Return the line of stderr that says most about a death, or None.

    ggml's own abort message wins, then exhausted memory, an uncaught exception, and last any line
    that reads like an error; of several, the latest.
    """
    for pattern in (_GGML_ABORT, _OUT_OF_MEMORY, _TERMINATE, _ERROR_LINE):
        for index in reversed(range(len(stderr_tail))):
            found = pattern.search(stderr_tail[index])
            if found is not None:
                text = found.group() if pattern is _GGML_ABORT else stderr_tail[index]
                return _shorten(text.strip().rstrip(".") + _backend_detail(stderr_tail[:index]))
    return None


def _backend_detail(before: Sequence[str]) -> str:
    """Return what a GPU backend printed just before it aborted: ``CUDA error: out of memory``."""
    for line in reversed(before[-6:]):
        found = _BACKEND_ERROR.search(line)
        if found is not None:
            return f" ({found.group().strip()})"
    return ""


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CAUSE else text[: _MAX_CAUSE - 1] + "…"


def _signal_name(returncode: int | None) -> str | None:
    if returncode is None or returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
