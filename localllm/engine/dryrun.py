"""The dry run: llama.cpp's own allocator, asked in a child what a placement would take.

``DryRun`` starts the child in the background, so that its start hides behind whatever the caller
does first; the first question waits for it. A child that crashes or hangs is replaced once per
question, and never hurts this process.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from localllm.core.generation import BufferMemory
from localllm.core.hardware import Device
from localllm.engine.death import Autopsy, died
from localllm.engine.devices import simulated_spec
from localllm.engine.process import StderrRing, child_environment
from localllm.errors import EngineError

VERSION = 1
"""Of the lines between this file and ``dryrun_child``."""

_START_S = 30.0
_ANSWER_S = 60.0
_READ_SIZE = 1 << 16
_NO_GPU = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
)
"""Emptied in the child: a plan needs no GPU, and a sleeping one shall not be woken for it."""


class ExactUnavailable(EngineError):
    """No dry run can be made with the llama.cpp that is installed; the message says why."""


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
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> Self:
        """Start the child in the background and return at once."""
        with self._lock:
            if self._child is None and not self._closed:
                self._child = _Child()
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
                except _Gone as error:
                    child.close()
                    self._child = None
                    if is_last:
                        raise DryRunRefused(str(error), hint="Run `localllm doctor`.") from None
                    self._child = _Child()
        if message.get("refused") is not None:
            raise DryRunRefused(f"llama.cpp refused the model: {message['refused']}.")
        return _decode(message)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._closed = True
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

    def _ready(self) -> _Child:
        if self._closed:
            raise ExactUnavailable("The dry run is closed.")
        assert self._child is not None
        try:
            self._child.greet(_START_S)
        except _Gone as error:
            raise ExactUnavailable(str(error)) from None
        return self._child


class _Gone(Exception):
    """The child ended or was ended; the text says why."""


class _Child:
    """One process. A thread starts it, drains its stderr and reaps it.

    It is the same thread because Linux's parent-death signal follows the thread that started a
    process.
    """

    def __init__(self) -> None:
        self._ring = StderrRing()
        self._buffer = b""
        self._greeted = False
        self._unavailable: str | None = None
        self.isa: frozenset[str] = frozenset()
        self._process: subprocess.Popen[bytes] | None = None
        self._started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()
        self._keeper = threading.Thread(
            target=self._keep, name="localllm-dryrun-keeper", daemon=True
        )
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _keep(self) -> None:
        environment = child_environment() | dict.fromkeys(_NO_GPU, "")
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "localllm.engine.dryrun_child", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,  # the terminal's Ctrl-C is for the parent to judge
            )
        except OSError as error:
            self._started.put(error)
            return
        self._started.put(process)
        assert process.stderr is not None
        with process.stderr:
            while chunk := process.stderr.read(_READ_SIZE):
                self._ring.feed(chunk)
        process.wait()

    def greet(self, timeout_s: float) -> None:
        """Wait for the child's first line. Raises ``_Gone``, ``ExactUnavailable``."""
        if self._greeted:
            if self._unavailable is not None:
                raise ExactUnavailable(self._unavailable)
            return
        if self._process is None:
            outcome = self._started.get()
            if isinstance(outcome, OSError):
                self._started.put(outcome)
                raise _Gone(f"The dry run could not be started: {outcome}.")
            self._process = outcome
        hello = self._read(timeout_s)
        if hello.get("version") != VERSION:
            raise _Gone("The dry run comes from another version of localllm.")
        self._greeted = True
        self._unavailable = hello["unavailable"]
        self.isa = frozenset(hello["isa"])
        self.greet(timeout_s)

    def ask(self, line: bytes, timeout_s: float) -> dict[str, Any]:
        """Send a question and return the answer. Raises ``_Gone``."""
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(line)
        except OSError:
            raise _Gone(self._epitaph(None)) from None
        return self._read(timeout_s)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Gone(self._epitaph(f"it gave no answer for {timeout_s:g} s"))
            chunk = os.read(pipe.fileno(), _READ_SIZE)
            if not chunk:
                raise _Gone(self._epitaph(None))
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _epitaph(self, reason: str | None) -> str:
        """End the child if it has not ended, and return the sentence that says why it did."""
        assert self._process is not None
        if reason is None:
            self._keeper.join(0.5)
        self._process.kill()
        self._keeper.join(1.5)
        autopsy = Autopsy(
            returncode=self._process.returncode,
            phase="load",
            stderr_tail=self._ring.tail(),
            ended_by_us=reason,
        )
        return died(autopsy).message

    def close(self) -> None:
        """End the child now and close its pipes."""
        if self._process is None:
            outcome = self._started.get()
            if isinstance(outcome, OSError):
                return
            self._process = outcome
        self._process.kill()
        self._keeper.join(1.5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


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
