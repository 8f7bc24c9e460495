"""One engine child from its start to its end: pipes, stderr, signals, and what it left behind.

The child gets requests on stdin, cancellations on a pipe of their own (a short write is atomic
there, however long a request is being written), and answers on a third pipe, because native code
prints to stdout. Its stdout and stderr end in a ring of lines, never on the terminal.

A thread starts the child, drains its output and reaps it. The same thread does all three because
Linux's parent-death signal follows the *thread* that started a process, so that thread has to
live as long as the child does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.engine.children import StderrRing, child_environment
from localllm.engine.protocol import Reply, decode_event
from localllm.errors import EngineError

if TYPE_CHECKING:
    from localllm.engine.death import Autopsy, Phase
    from localllm.engine.devices import SimulatedSpec

_READ_SIZE = 1 << 16


class EngineProcess:
    """A running child. Reading belongs to one thread at a time; everything else to any."""

    def __init__(self, *, beat_s: float, simulated: Sequence[SimulatedSpec] = ()) -> None:
        """Start the child, which sends a sign of life every ``beat_s``.

        ``simulated`` devices are on llama.cpp's list in it. Raises ``EngineError``.
        """
        if os.name != "posix":
            raise EngineError(
                "The engine needs Linux or macOS.", hint="On Windows, run localllm inside WSL 2."
            )
        self.ring = StderrRing()
        self.greeted = False
        """Whether the child has said hello."""
        self._lock = threading.RLock()
        self._disposed = False
        self._oom_kills_before = _kernel_oom_kills()
        self._buffer = b""
        self._replies: deque[tuple[int, Reply]] = deque()
        self._events, events_w = os.pipe()
        control_r, self._control = os.pipe()
        arguments = [
            sys.executable,
            "-P",  # a json.py in the working directory is nobody's business
            "-m",
            "localllm.engine.worker",
            f"--events={events_w}",
            f"--control={control_r}",
            f"--parent={os.getpid()}",
            f"--beat={beat_s}",
            *([f"--simulated={json.dumps(simulated)}"] if simulated else []),
        ]
        started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()
        self._keeper = threading.Thread(
            target=_start_drain_reap,
            args=(arguments, (events_w, control_r), self.ring, started),
            name="localllm-engine-keeper",
            daemon=True,
        )
        self._keeper.start()
        outcome = started.get()
        os.close(events_w)
        os.close(control_r)
        if isinstance(outcome, OSError):
            os.close(self._events)
            os.close(self._control)
            self._disposed = True
            raise EngineError(f"The engine process could not be started: {outcome}.")
        self._process = outcome
        assert outcome.stdin is not None
        self._stdin = outcome.stdin.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._control, False)
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child has not ended yet."""
        return self._process.poll() is None

    def send(self, line: bytes, *, timeout_s: float) -> bool:
        """Write one request line. Return whether the child took all of it in time."""
        deadline = time.monotonic() + timeout_s
        rest = memoryview(line)
        while rest:
            try:
                with self._lock:
                    if self._disposed:
                        return False
                    rest = rest[os.write(self._stdin, rest) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
            except OSError:
                return False
        return True

    def cancel(self, request_id: int) -> None:
        """Ask the child to stop a request; harmless when that request is over."""
        with self._lock, contextlib.suppress(OSError):
            if not self._disposed:
                os.write(self._control, b"%d\n" % request_id)

    def read(self, timeout_s: float) -> tuple[int, Reply] | None:
        """Return the next event and its request, or None after ``timeout_s``.

        Raises ``EOFError`` when the child has closed its end, ``ProtocolError`` on nonsense.
        """
        if not self._replies:
            if not self._poll.poll(timeout_s * 1000):
                return None
            chunk = os.read(self._events, _READ_SIZE)
            if not chunk:
                raise EOFError
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            self._replies.extend(map(decode_event, lines))
        return self._replies.popleft() if self._replies else None

    def end(self, phase: Phase, *, reason: str | None = None, timeout_s: float = 1.5) -> Autopsy:
        """End the child if it has not ended, reap it, and return what it left behind."""
        from localllm.engine.death import Autopsy  # a child that lives needs no autopsy

        with contextlib.suppress(subprocess.TimeoutExpired):
            if reason is None:  # its pipe ended: it is about to be gone, let it die its own death
                self._process.wait(0.5)
        self._process.kill()  # does nothing to a child that has been reaped
        returncode: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            returncode = self._process.wait(timeout_s)
        self._keeper.join(0.5)  # the last words arrive before the pipe ends
        before, after = self._oom_kills_before, _kernel_oom_kills()
        return Autopsy(
            returncode=returncode,
            phase=phase,
            stderr_tail=self.ring.tail(),
            ended_by_us=reason,
            kernel_oom=None if before is None or after is None else after > before,
        )

    def kill(self, timeout_s: float) -> None:
        """End the child now; wait for it at most ``timeout_s``."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def dispose(self) -> None:
        """Close the pipes; the child ends by itself if it has not been killed before."""
        with self._lock:
            if self._disposed:
                return
            self._disposed = True
            os.close(self._events)
            os.close(self._control)
            process = getattr(self, "_process", None)  # None when its start was interrupted
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()

    def __del__(self) -> None:
        """Leave no child and no descriptor behind when the owner forgot to close."""
        if not getattr(self, "_disposed", True) and hasattr(self, "_control"):
            self.dispose()  # the end of its control pipe ends the child


def _start_drain_reap(
    arguments: list[str],
    pass_fds: tuple[int, ...],
    ring: StderrRing,
    started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError],
) -> None:
    """Start the child, read everything it prints until it ends, and take its exit status."""
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=pass_fds,
            env=child_environment(),
            start_new_session=True,  # the terminal's Ctrl-C is for the parent to judge
        )
    except OSError as error:
        started.put(error)
        return
    started.put(process)
    assert process.stdout is not None
    with process.stdout:
        while chunk := process.stdout.read(_READ_SIZE):
            ring.feed(chunk)
    process.wait()


def _kernel_oom_kills() -> int | None:
    """Return Linux's count of out-of-memory kills since boot, or None where there is none."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None
