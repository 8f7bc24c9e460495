"""A person at a terminal: the real command on a pseudo-terminal, its screen kept by an emulator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pyte

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "localllm"]


def environment(state_dir: Path, **more: str) -> dict[str, str]:
    """The environment of a person who has none of our variables set."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LOCALLLM_") and name not in ("NO_COLOR", "COLUMNS", "LINES")
    }
    inherited |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    inherited |= {"LOCALLLM_STATE_DIR": str(state_dir), "LOCALLLM_THREADS": "1"}
    return inherited | more


class Terminal:
    """Runs ``localllm`` with arguments; ``wait_for`` watches the screen, ``type`` presses keys."""

    def __init__(
        self,
        *args: str,
        state_dir: Path,
        columns: int = 80,
        lines: int = 24,
        command: list[str] | None = None,
        **env: str,
    ) -> None:
        """``command``: what to run with the arguments, if not ``COMMAND``."""
        command = command or COMMAND
        self.screen = pyte.HistoryScreen(columns, lines, history=2000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.process = pexpect.spawn(
            command[0],
            [*command[1:], *args],
            dimensions=(lines, columns),
            env=environment(state_dir, **env),
            cwd=str(state_dir),
            timeout=60,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.close(force=True)

    def type(self, text: str) -> None:
        self.process.send(text)

    def text(self) -> str:
        """The screen with what has scrolled off above it, without trailing spaces."""
        above = [
            "".join(line[x].data for x in range(self.screen.columns))
            for line in self.screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display])

    def last_row(self) -> str:
        """The lowest row with something on it: the status line, while there is one."""
        return str([row for row in self.screen.display if row.strip()][-1].rstrip())

    def wait_for(self, condition: str | Callable[[], bool], timeout_s: float = 30) -> None:
        """Wait until a pattern is on the screen, or a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not self._holds(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"{condition} did not come about:\n{self.text()}")
            self._read(0.1)

    def rest(self, seconds: float) -> None:
        """Let time pass, reading."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def end(self, timeout_s: float = 30) -> int:
        """Wait for the command to end; return its exit code, or minus the signal."""
        deadline = time.monotonic() + timeout_s
        while self._read(0.1) and time.monotonic() < deadline:
            pass
        self.process.wait()
        signalled = self.process.signalstatus
        return int(-signalled if signalled is not None else self.process.exitstatus)

    def children(self) -> list[int]:
        """Process ids of the engine."""
        return children(self.process.pid)

    def _holds(self, condition: str | Callable[[], bool]) -> bool:
        if callable(condition):
            return condition()
        return re.search(condition, self.text()) is not None

    def _read(self, timeout_s: float) -> bool:
        try:
            data = self.process.read_nonblocking(65536, timeout=timeout_s)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
            self._stream.feed(data)
            cursor = self.screen.cursor
            self.process.send(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")
        else:
            self._stream.feed(data)
        return True


def children(pid: int) -> list[int]:
    """Living children of a process, but for the dry run, which ends before the model is loaded."""
    columns = ["ps", "-o", "pid=,stat=,args=", "--ppid", str(pid)]
    found = subprocess.run(columns, capture_output=True)
    rows = [line.split(maxsplit=2) for line in found.stdout.decode().splitlines()]
    return [
        int(row[0]) for row in rows if not row[1].startswith("Z") and "dryrun_child" not in row[-1]
    ]


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)
