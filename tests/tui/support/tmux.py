"""A command in a pane of ``tmux``: what it draws there, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.tui.support.driving import NARROW
from tests.tui.support.terminal import marked

BEFORE = "what the shell has shown"
"""Stands on the screen when the command starts, and must when it has ended."""

_SHELL = f"echo '{BEFORE}'; env \"$@\"; echo exit code $?; exec cat"
_ENDED = re.compile(r"^exit code (\d+)$", re.MULTILINE)
_LOOK_AGAIN_S = 0.1


class InTmux:
    """One run of a command, with a ``tmux`` server of its own. Use it in ``with``."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        variables: Mapping[str, str],
        size: tuple[int, int] = NARROW,
    ) -> None:
        """Start both. ``folder``: an empty one, for the server's socket."""
        self._socket = folder / "tmux"
        self._mark = f"LOCALLLM_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        columns, rows = map(str, size)
        environ = {key: value for key, value in os.environ.items() if key != "TMUX"}
        environ |= {"LANG": "C.UTF-8", "SHELL": "/bin/sh"}
        subprocess.run(
            [
                *self._tmux("new-session", "-d", "-x", columns, "-y", rows),
                *("sh", "-c", _SHELL, "sh", f"{name}={value}"),
                *(f"{key}={value}" for key, value in variables.items()),
                *command,
            ],
            env=environ,
            check=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ask("kill-server")
        for pid in marked(self._mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def text(self) -> str:
        """The pane as it is drawn, a line for each row."""
        return self._ask("capture-pane", "-p")

    def until(self, holds: Callable[[], object] | str, *, timeout_s: float) -> None:
        """Wait until something holds, or is on the screen."""
        until_s = time.monotonic() + timeout_s
        while not (holds in self.text if isinstance(holds, str) else holds()):
            assert time.monotonic() < until_s, f"It never came to {holds!r}:\n{self.text}"
            time.sleep(_LOOK_AGAIN_S)

    def press(self, keys: str) -> None:
        """Type."""
        self._ask("send-keys", "-l", keys)

    def ended(self, *, timeout_s: float) -> int:
        """Wait for the end of the process and return its exit code."""
        self.until(lambda: _ENDED.search(self.text), timeout_s=timeout_s)
        return int(_ENDED.findall(self.text)[0])

    def check_nothing_is_left(self) -> None:
        """Hold the pane to what it was before, and see that no process remains."""
        form = "#{alternate_on} #{mouse_any_flag} #{cursor_flag}"
        assert self._ask("display-message", "-p", form).split() == ["0", "0", "1"]
        assert self.text.startswith(BEFORE)
        self.until(lambda: not marked(self._mark), timeout_s=10.0)

    def _ask(self, *arguments: str) -> str:
        done = subprocess.run(self._tmux(*arguments), capture_output=True, text=True, check=False)
        return done.stdout

    def _tmux(self, *arguments: str) -> list[str]:
        return ["tmux", "-S", str(self._socket), "-f", os.devnull, *arguments]
