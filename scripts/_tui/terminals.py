"""Programs on terminals of their own, whose output is read as fast as it comes."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
WIDE = (120, 34)


class OnTerminal:
    """A program on a terminal. Use it in ``with``; it is killed at the end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        size: tuple[int, int] = WIDE,
    ) -> None:
        """Start it, and read what it writes in a thread."""
        self._controller, terminal = os.openpty()
        columns, rows = size
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.output = bytearray()
        self._came = threading.Condition()
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
            | dict(variables or {}),
            pass_fds=pass_fds,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while True:
            try:
                chunk = os.read(self._controller, 1 << 16)
            except OSError:
                return
            with self._came:
                self.output += chunk
                self._came.notify_all()

    def until(self, text: bytes, *, timeout_s: float = 120.0, since: int = 0) -> float:
        """Return when a text was written, in seconds of ``time.monotonic``."""
        with self._came:
            if not self._came.wait_for(lambda: text in self.output[since:], timeout_s):
                raise TimeoutError(f"no {text!r}: ...{bytes(self.output[-2000:])!r}")
        return time.monotonic()

    def keys(self, text: str) -> None:
        """Type on its keyboard."""
        os.write(self._controller, text.encode())

    def wait(self, timeout_s: float = 30.0) -> float:
        """Return when it ended."""
        self.process.wait(timeout_s)
        return time.monotonic()

    def __enter__(self) -> Self:
        """Return the terminal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._controller)


class DrivenTUI(OnTerminal):
    """The terminal UI with ``driven.py``'s ears."""

    def __init__(self, model: str, *, place: str = "chat", n_ctx: int, state: Path) -> None:
        """Start it."""
        wishes_r, self._wishes = os.pipe()
        self._answers, answers_w = os.pipe()
        super().__init__(
            [sys.executable, str(HERE / "driven.py"), model, place],
            variables={
                "DRIVEN_IN": str(wishes_r),
                "DRIVEN_OUT": str(answers_w),
                "DRIVEN_CTX": str(n_ctx),
                **apart(state),
            },
            pass_fds=(wishes_r, answers_w),
        )
        os.close(wishes_r)
        os.close(answers_w)
        self._lines = os.fdopen(self._answers, "rb")

    def do(self, name: str, **wish: Any) -> dict[str, Any]:
        """Have it do something, and return its answer."""
        os.write(self._wishes, json.dumps({"do": name, **wish}).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise EOFError(bytes(self.output[-3000:]).decode("utf-8", "replace"))
        answer: dict[str, Any] = json.loads(line)
        return answer


class InteractiveCLI(OnTerminal):
    """``localllm chat`` on a terminal."""

    def __init__(self, model: str, *, n_ctx: int, n: int, state: Path) -> None:
        """Start it: greedy, so many tokens an answer."""
        self._state = state
        arguments = ["--temp", "0", "--seed", "1", "-n", str(n), "--ctx", str(n_ctx)]
        super().__init__(
            [sys.executable, "-m", "localllm", "chat", model, *arguments], variables=apart(state)
        )

    def ask(self, text: str) -> dict[str, Any]:
        """Ask, and return the answer's figures as they were kept."""
        before = len(self._kept())
        self.keys(f"{text}\r")
        until_s = time.monotonic() + 300.0
        while len(kept := self._kept()) == before:
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise EOFError(bytes(self.output[-3000:]).decode("utf-8", "replace"))
            time.sleep(0.1)
        return kept[-1]

    def _kept(self) -> list[dict[str, Any]]:
        lines = [
            json.loads(line)
            for path in sorted(self._state.rglob("*.jsonl"))
            if "conversations" in str(path)
            for line in path.read_text().splitlines()
        ]
        return [line["stats"] for line in lines if line.get("stats")]


def apart(state: Path) -> dict[str, str]:
    """Return an environment in which nothing of the person's is read or written."""
    return {
        "LOCALLLM_STATE_DIR": str(state),
        "LOCALLLM_CONFIG_DIR": str(state / "config"),
        "LOCALLLM_MEASUREMENTS": "off",
        "PYTHONPATH": str(HERE.parents[1]),
    }


def temporary_state() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for what one program keeps."""
    return tempfile.TemporaryDirectory(prefix="bench-tui-")
