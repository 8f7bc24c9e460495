"""The dry run: llama.cpp's own allocator, asked in a child what a placement would take.

``DryRun`` starts the child in the background, so that its start hides behind whatever the caller
does first; the first question waits for it. A child that crashes or hangs is replaced once per
question, and never hurts this process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from localllm.core.buffers import BufferMemory
from localllm.core.hardware import Device
from localllm.engine.devices import simulated_spec
from localllm.engine.dryrun_process import DryRunProcess, ExactUnavailable, Gone
from localllm.errors import EngineError

__all__ = [
    "ContextMemory",
    "DryRun",
    "DryRunAnswer",
    "DryRunContext",
    "DryRunRefused",
    "DryRunRequest",
    "ExactUnavailable",
    "as_message",
]

_IS_LINUX = sys.platform.startswith("linux")
_START_S = 30.0
_ANSWER_S = 60.0


class DryRunRefused(EngineError):
    """llama.cpp refused this model or context; the message is its complaint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunContext:
    """What a context is created with."""

    n_ctx: int
    n_ubatch: int = 512
    n_batch: int = 2048
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attn: Literal["auto", "on", "off"] = "auto"
    n_seq: int = 1
    n_outputs_max: int = 1
    swa_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunRequest:
    """One placement of one model, and the contexts to try on it."""

    paths: tuple[str | Path, ...]
    contexts: tuple[DryRunContext, ...]
    devices: tuple[Device, ...] = ()
    n_gpu_layers: int = 0
    tensor_split: tuple[float, ...] = ()
    tensor_overrides: tuple[tuple[str, str], ...] = ()
    """Regular expression over tensor names, and a buffer type: ``CPU`` or a device's name."""
    repack: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextMemory:
    """Bytes of one context, or the reason why llama.cpp refused it."""

    devices: tuple[BufferMemory, ...] = ()
    """One per device of the request, in its order, then ``host``."""
    repacked_bytes: int = 0
    """The part of the host's ``model_bytes`` that the CPU backend rearranges (CPU_REPACK, AMX)."""
    refused: str | None = None

    @property
    def host(self) -> BufferMemory:
        """The host's row."""
        return self.devices[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunAnswer:
    """What llama.cpp answered, context by context, and how long it took in the child."""

    contexts: tuple[ContextMemory, ...]
    load_s: float
    contexts_s: float


class DryRun:
    """A dry-run child and its life. Use as a context manager; from one thread at a time."""

    def __init__(self, *, answer_s: float = _ANSWER_S) -> None:
        """Start nothing yet: ``start`` or the first question does."""
        self._answer_s = answer_s
        self._child: DryRunProcess | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> Self:
        """Start the child in the background and return at once."""
        with self._lock:
            if self._child is None and not self._closed and _IS_LINUX:
                self._child = DryRunProcess()
        return self

    def check(self) -> None:
        """Wait until the child is ready. Raises ``ExactUnavailable`` where no dry run is to be."""
        self.start()
        with self._lock:
            self._ready()

    @property
    def pid(self) -> int | None:
        """Process id of the child once it has answered; None before."""
        child = self._child
        return None if child is None else child.pid

    @property
    def isa(self) -> frozenset[str]:
        """Instruction sets that the installed llama.cpp uses here, by ``core.hardware``'s names.

        Raises ``ExactUnavailable``.
        """
        self.check()
        assert self._child is not None
        return self._child.isa

    def measure(self, request: DryRunRequest) -> DryRunAnswer:
        """Return what llama.cpp would allocate.

        Raises ``ExactUnavailable``; ``DryRunRefused`` when llama.cpp refuses the model, or when its
        process dies or hangs over the question, twice.
        """
        line = json.dumps(as_message(request), separators=(",", ":")).encode() + b"\n"
        self.start()
        with self._lock:
            for is_last in (False, True):
                child = self._ready()
                try:
                    message = child.ask(line, self._answer_s)
                    break
                except Gone as error:
                    child.close()
                    self._child = None
                    if self._closed:
                        raise ExactUnavailable("The dry run was closed.") from None
                    if is_last:
                        raise DryRunRefused(str(error), hint="Run `localllm doctor`.") from None
                    self._child = DryRunProcess()
        if message.get("refused") is not None:
            raise DryRunRefused(f"llama.cpp refused the model: {message['refused']}.")
        return _decode(message)

    def close(self) -> None:
        """End the child, also over a question that another thread waits for."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            if self._child is not None:
                self._child.close()
                self._child = None

    def __enter__(self) -> Self:
        """Start the child."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()

    def _ready(self) -> DryRunProcess:
        if self._closed:
            raise ExactUnavailable("The dry run is closed.")
        if not _IS_LINUX:
            raise ExactUnavailable("llama.cpp's allocator is read on Linux only")
        assert self._child is not None
        try:
            self._child.greet(_START_S)
        except Gone as error:
            raise ExactUnavailable(str(error)) from None
        return self._child


def as_message(request: DryRunRequest) -> dict[str, Any]:
    """Return a question as the child reads it."""
    return {
        "paths": [os.fspath(path) for path in request.paths],
        "devices": [list(simulated_spec(device)) for device in request.devices],
        "n_gpu_layers": request.n_gpu_layers,
        "tensor_split": request.tensor_split,
        "overrides": request.tensor_overrides,
        "repack": request.repack,
        "contexts": [asdict(context) for context in request.contexts],
    }


def _decode(message: dict[str, Any]) -> DryRunAnswer:
    return DryRunAnswer(
        contexts=tuple(_decode_context(context) for context in message["contexts"]),
        load_s=message["load_s"],
        contexts_s=message["contexts_s"],
    )


def _decode_context(context: dict[str, Any]) -> ContextMemory:
    if context.get("refused") is not None:
        return ContextMemory(refused=context["refused"])
    rows: Sequence[Sequence[Any]] = context["devices"]
    return ContextMemory(
        devices=tuple(
            BufferMemory(name=name, model_bytes=model, context_bytes=kv, compute_bytes=compute)
            for name, model, kv, compute, _ in rows
        ),
        repacked_bytes=rows[-1][4],
    )
