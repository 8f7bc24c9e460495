"""One dry-run child from its start to its end: a question is a line in, an answer a line out."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from typing import Any

from localllm.engine.children import StderrRing, child_environment
from localllm.errors import EngineError

VERSION = 1
"""Of the lines between this file and ``dryrun_child``."""

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


class Gone(Exception):
    """The child ended or was ended; the text says why."""


class DryRunProcess:
    """One child. A thread starts it, drains its stderr and reaps it.

    It is the same thread because Linux's parent-death signal follows the thread that started a
    process.
    """

    def __init__(self) -> None:
        """Start it in the background and return at once."""
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
        """Process id, once the first line was waited for."""
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
        """Wait for the child's first line. Raises ``Gone``, ``ExactUnavailable``."""
        if self._greeted:
            if self._unavailable is not None:
                raise ExactUnavailable(self._unavailable)
            return
        if self._process is None:
            outcome = self._started.get()
            if isinstance(outcome, OSError):
                self._started.put(outcome)
                raise Gone(f"The dry run could not be started: {outcome}.")
            self._process = outcome
        hello = self._read(timeout_s)
        if hello.get("version") != VERSION:
            raise Gone("The dry run comes from another version of localllm.")
        self._greeted = True
        self._unavailable = hello["unavailable"]
        self.isa = frozenset(hello["isa"])
        self.greet(timeout_s)

    def ask(self, line: bytes, timeout_s: float) -> dict[str, Any]:
        """Send a question and return the answer. Raises ``Gone``."""
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(line)
        except OSError:
            raise Gone(self._epitaph(None)) from None
        return self._read(timeout_s)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Gone(self._epitaph(f"it gave no answer for {timeout_s:g} s"))
            chunk = os.read(pipe.fileno(), _READ_SIZE)
            if not chunk:
                raise Gone(self._epitaph(None))
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _epitaph(self, reason: str | None) -> str:
        """End the child if it has not ended, and return the sentence that says why it did."""
        from localllm.engine.death import Autopsy, died  # a child that lives needs no autopsy

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

    def kill(self) -> None:
        """End the child; safe from any thread, while another waits for its answer."""
        if self._process is not None:
            self._process.kill()

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
