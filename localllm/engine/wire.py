"""The child's end of the pipes: events out, cancellations in, a sign of life when nothing else is
said.

Three threads share it. The main thread works; a listener waits for cancellations and for the end
of the parent; a beater reports, once per interval, whether work was done. Work is what the main
thread marks, and, unless it is inside a GPU's computation, also processor time and bytes read: a
long load or a prompt chunk on a slow CPU marks nothing for minutes and is well.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from localllm.core.generation import Channel
from localllm.engine.protocol import Beat, Hello, Reply, encode_event, encode_text


class Flag(Protocol):
    """Something that can stop native code."""

    def set(self) -> None:
        """Stop it."""

    def clear(self) -> None:
        """Let it go on."""


class NoFlag:
    """A flag for a child without native code."""

    def set(self) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


class Wire:
    """What the child says and hears while it works."""

    def __init__(self, *, events_fd: int, control_fd: int, beat_s: float) -> None:
        """Take over the descriptors and say hello."""
        self._events_fd, self._control_fd = events_fd, control_fd
        self._beat_s = beat_s
        self._write_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._request_id = 0
        self._cancelled_id = 0
        self._marks = 0
        self._said = 0
        self._native_flag: Flag = NoFlag()
        self.cancelled = False
        """Whether the running request was asked to stop."""
        self.trusts_cpu_time = True
        """False while a GPU computes: a hung driver burns processor time as well."""

    def start(self, version: int) -> None:
        """Say hello, then listen and beat until the process ends."""
        self._write(encode_event(0, Hello(version=version)))
        for work in (self._listen, self._beat):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def stop_with(self, flag: Flag) -> None:
        """Set a flag whenever the running request is cancelled."""
        with self._state_lock:
            self._native_flag = flag

    @contextlib.contextmanager
    def request(self, request_id: int) -> Iterator[None]:
        """Belong to a request while it is worked on."""
        with self._state_lock:
            self._request_id = request_id
            self._native_flag.clear()
            self.cancelled = self._cancelled_id >= request_id
            if self.cancelled:
                self._native_flag.set()
        try:
            yield
        finally:
            with self._state_lock:
                self._request_id = 0
                self._native_flag.clear()

    def mark(self) -> None:
        """Note that some work was done."""
        self._marks += 1

    def emit(self, event: Reply) -> None:
        """Send one event of the running request."""
        self._marks += 1
        self._said += 1
        self._write(encode_event(self._request_id, event))

    def emit_text(self, text: str, channel: Channel, n_tokens: int, tg_s: float) -> None:
        """Send a ``TextDelta`` of the running request: once per token, so without making one."""
        self._marks += 1
        self._said += 1
        self._write(encode_text(self._request_id, text, channel, n_tokens, tg_s))

    def _write(self, line: bytes) -> None:
        with self._write_lock:
            n_written = os.write(self._events_fd, line)
            while n_written < len(line):
                n_written += os.write(self._events_fd, line[n_written:])

    def _listen(self) -> None:
        """Read request ids to cancel. The end of the pipe is the end of the parent, and ours."""
        rest = b""
        while chunk := os.read(self._control_fd, 4096):
            *lines, rest = (rest + chunk).split(b"\n")
            with self._state_lock:
                self._cancelled_id = max(self._cancelled_id, *map(int, lines), 0)
                if self._request_id and self._cancelled_id >= self._request_id:
                    self.cancelled = True
                    self._native_flag.set()
        os._exit(0)

    def _beat(self) -> None:
        evidence, said, progress, marks = _Evidence(), -1, 0, 0
        while True:
            time.sleep(self._beat_s)
            worked = evidence.worked(self._beat_s)
            if self._marks != marks or (self.trusts_cpu_time and worked):
                marks = self._marks
                progress += 1
            request_id = self._request_id
            if request_id and self._said == said:
                self._write(encode_event(request_id, Beat(progress=progress)))
            said = self._said


class _Evidence:
    """Processor time, bytes read and pages faulted in: signs of work inside one native call."""

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._read_bytes = _read_bytes()
        self._faults = _major_faults()

    def worked(self, interval_s: float) -> bool:
        """Return whether the process did something since the last call."""
        cpu_s, read_bytes, faults = time.process_time(), _read_bytes(), _major_faults()
        worked = (
            cpu_s - self._cpu_s > 0.05 * interval_s
            or read_bytes - self._read_bytes > _OWN_READS_BYTES
            or faults > self._faults
        )
        self._cpu_s, self._read_bytes, self._faults = cpu_s, read_bytes, faults
        return worked


_OWN_READS_BYTES = 65536
"""More than looking at these numbers reads itself."""


def _read_bytes() -> int:
    """Return the bytes read by calls and from storage as Linux counts them; 0 elsewhere."""
    total = 0
    try:
        for line in Path("/proc/self/io").read_bytes().splitlines():
            name, _, value = line.partition(b":")
            if name in (b"rchar", b"read_bytes"):
                total += int(value)
    except (OSError, ValueError):
        pass
    return total


def _major_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt
