"""``localllm`` on a terminal of its own: what it draws, and what it leaves there and behind.

It is a pseudo-terminal; its screen is what ``pyte`` makes of what is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte

from tests.tui.support.driving import NARROW

PATIENCE_S = 30.0
"""For what takes a second or two on two busy cores."""

_MODES = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
_KITTY = re.compile(rb"\x1b\[([<>])\d*u")
_CLEAN = {1049: False, 1000: False, 1003: False, 1006: False, 2004: False, 1004: False, 25: True}
"""Private modes of a terminal as a shell wants them; False is off."""


class OnTerminal:
    """One run of a command. Use it in ``with``: nothing of it is left at the end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = NARROW,
        variables: dict[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start it. ``stderr``: a descriptor, where it is not to be the terminal."""
        self._mark = f"LOCALLLM_TEST_MARK={uuid.uuid4().hex}"
        self._controller, terminal = os.openpty()
        columns, rows = size
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._attributes = termios.tcgetattr(terminal)
        self.output = b""
        """Everything that was written to the terminal."""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        name, _, value = self._mark.partition("=")
        left_out = ("LOCALLLM_", "TEXTUAL")
        environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(left_out) or key in _KEPT
        }
        environ |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal if stderr is None else stderr,
            env=environ | {name: value} | (variables or {}),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self.hang_up()
        for pid in self.others():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- what it shows ---------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The screen as it is drawn, a line for each row."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def until(self, holds: Callable[[], object] | str, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until something holds, or is on the screen."""
        until_s = time.monotonic() + timeout_s
        while not (holds in self.text if isinstance(holds, str) else holds()):
            if not self._read(0.1) and self.process.poll() is not None:
                raise AssertionError(f"It ended without {holds!r}:\n{self.text}")
            assert time.monotonic() < until_s, f"It never came to {holds!r}:\n{self.text}"

    def ended(self, *, timeout_s: float = 10.0) -> int:
        """Wait for the end of the process and return its exit code, -n after signal n."""
        until_s = time.monotonic() + timeout_s
        while self.process.poll() is None:
            self._read(0.02)
            assert time.monotonic() < until_s, f"It never ended:\n{self.text}"
        while self._read(0.0):
            pass
        return self.process.returncode

    # -- what a person does ----------------------------------------------------------------------

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._controller, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, size)
        self._screen.resize(rows, columns)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does."""
        if self._controller >= 0:
            os.close(self._controller)
            self._controller = -1

    def kill(self) -> None:
        """End it without a warning."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    # -- what it leaves --------------------------------------------------------------------------

    def others(self) -> list[int]:
        """Return the processes that it started and that have not ended, of any session."""
        return [pid for pid in marked(self._mark) if pid != self.process.pid]

    def check_nothing_is_left(self) -> None:
        """Hold the terminal to what it was before, and see that no process remains."""
        assert {mode: self.modes().get(mode, on) for mode, on in _CLEAN.items()} == _CLEAN
        kitty = _KITTY.findall(self.output)
        assert kitty.count(b">") == kitty.count(b"<")
        assert termios.tcgetattr(self._controller) == self._attributes
        self.check_no_process_is_left()

    def check_no_process_is_left(self) -> None:
        """See that nothing that it started runs on."""
        until_s = time.monotonic() + 10.0
        while others := self.others():
            assert time.monotonic() < until_s, [_command(pid) for pid in others]
            time.sleep(0.02)

    def modes(self) -> dict[int, bool]:
        """Return the private modes that were set or reset, as they were left."""
        return {
            int(mode): switch == b"h"
            for modes, switch in _MODES.findall(self.output)
            for mode in modes.split(b";")
        }

    def _read(self, timeout_s: float) -> bool:
        """Take what was written; False where there was nothing."""
        if not select.select([self._controller], [], [], timeout_s)[0]:
            return False
        try:
            chunk = os.read(self._controller, 1 << 16)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.output += chunk
        self._stream.feed(chunk)
        return bool(chunk)


_KEPT = ("LOCALLLM_MEASUREMENTS", "LOCALLLM_CACHE_DIR", "LOCALLLM_CONFIG_DIR")


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _state(folder: Path) -> str:
    return folder.joinpath("stat").read_text().rpartition(")")[2].split()[0]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return "gone"


def marked(mark: str) -> list[int]:
    """Return the processes that have ``NAME=value`` in their environment and have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_marked = mark.encode() in (folder / "environ").read_bytes().split(b"\0")
            if is_marked and _state(folder) not in "ZX":
                found.append(int(folder.name))
    return found


def localllm(*arguments: str, **options: Any) -> OnTerminal:
    """Start ``localllm`` on a terminal."""
    return OnTerminal([sys.executable, "-m", "localllm", *arguments], **options)
