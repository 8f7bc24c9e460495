"""Downloads in processes of their own, begun in milliseconds, watched and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localllm.hub.download.wanted import WantedFile
from tests.support.fetch_child import Errand
from tests.support.loopback_hub import LoopbackHub

REPOSITORY = Path(__file__).parents[2]
ENVIRON = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",
}


def wanted_files(
    hub: LoopbackHub, repo: str, *paths: str, revision: str = "main"
) -> list[WantedFile]:
    """The files of a repository that are wanted, as its listing would name them; none: all."""
    commit = hub.repos[repo].find(revision)
    assert commit is not None
    files = hub.repos[repo].commits[commit]
    return [
        WantedFile(
            repo=repo,
            revision=revision,
            commit=commit,
            path=path,
            n_bytes=files[path].content.size,
            sha256=None if files[path].is_git else files[path].content.sha256,
        )
        for path in paths or sorted(files)
    ]


class Download:
    """A process that downloads."""

    def __init__(self, control: int, output: int) -> None:
        self._control = os.fdopen(control, "r")
        self._output = os.fdopen(output, "r")
        self.pid = int(self._control.readline())
        self.told: list[dict[str, Any]] = []
        """What it has said, line by line."""
        self.noise: list[str] = []
        """What it has said that was not for us: a traceback."""
        self.exit_code: int | None = None
        """Negative: the signal that ended it."""

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read what it says up to what is waited for. Raises EOFError where it ends before."""
        while True:
            line = self._output.readline()
            if not line:
                raise EOFError(f"it ended: {self.told[-1:]} {''.join(self.noise)}")
            if not line.startswith("{"):
                self.noise.append(line)
                continue
            self.told.append(json.loads(line))
            if seen(self.told[-1]):
                return self.told[-1]

    def wait(self) -> int:
        """Read to its end and return the exit code."""
        if self.exit_code is None:
            try:
                self.until(lambda told: False)
            except EOFError:
                self.exit_code = int(self._control.readline())
            self._control.close()
            self._output.close()
        assert self.exit_code is not None
        return self.exit_code

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send it a signal and wait for its end."""
        os.kill(self.pid, number)
        return self.wait()

    @property
    def last(self) -> dict[str, Any]:
        """The last thing it said: what it fetched, or why it did not."""
        return self.told[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *how: object) -> None:
        if self.exit_code is None:
            self.kill()


class Nursery:
    """Where they come from: one process with its imports done, which forks. Use it in ``with``."""

    def __init__(self, *inside: str) -> None:
        """``inside``: a command that runs another, given behind it."""
        self._channel, theirs = socket.socketpair()
        self._lock = threading.Lock()
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "tests.support.fetch_child", "--serve", str(descriptor)]
        self._process = subprocess.Popen(
            [*inside, *command],
            pass_fds=[descriptor],
            cwd=REPOSITORY,
            env={**os.environ, **ENVIRON},
        )
        theirs.close()
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        assert self._channel.recv(1) == b"!", "its imports failed"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()
        self._process.wait()

    def begin(self, errand: Errand) -> Download:
        """Start one; it is killed at the end of ``with`` if it has not ended."""
        control, their_control = os.pipe()
        output, their_output = os.pipe()
        with self._lock:  # one errand on its way at a time
            text = errand.to_json().encode()
            socket.send_fds(self._channel, [text], [their_control, their_output])
            os.close(their_control)
            os.close(their_output)
            return Download(control, output)

    def run(self, errand: Errand) -> Download:
        """Start one and wait for its end."""
        with self.begin(errand) as download:
            download.wait()
        return download
