"""Verdicts of many models, one after the other, what the person looks at first.

Blocking, for a thread of its own; what is wanted may change at any time, from any thread.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from localllm.errors import LocalLLMError
from localllm.tui.home.rows import Verdict
from localllm.tui.home.weigher import Ask, Broken, Setup

# not -m: what is defined in a __main__ cannot be unpickled elsewhere
_CHILD = "from localllm.tui.home.weigher import main; main()"


class Weighing:
    """One child that plans for one machine and one set of wishes; it is started when it is asked.

    Stop it: that ends the child whatever it does.
    """

    def __init__(self, setup: Setup) -> None:
        """Start nothing yet."""
        self._setup = setup
        self._lock = threading.Lock()
        self._wanted: deque[Ask] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def want(self, asks: Sequence[Ask]) -> None:
        """Replace what is wanted, in this order; what is being planned goes on."""
        with self._lock:
            self._wanted = deque(asks)

    def stop(self) -> None:
        """End the child, from any thread; nothing more is yielded."""
        with self._lock:
            self._stopped = True
            child = self._child
        if child is not None:
            child.kill()

    def verdicts(self) -> Iterator[tuple[str, Verdict]]:
        """Yield what is wanted with its row's key, until nothing is wanted any more.

        Raises LocalLLMError where no process can be started.
        """
        child = self._started()
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        try:
            while (ask := self._next()) is not None:
                pickle.dump(ask, child.stdin)
                child.stdin.flush()
                answer: Verdict | Broken = pickle.load(child.stdout)
                if isinstance(answer, Broken):
                    raise RuntimeError(f"planning {ask.name} failed:\n{answer.text}")
                yield ask.key, answer
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            if not self._stopped:
                raise LocalLLMError(
                    "The process that plans the models of the list has ended.",
                    hint="r looks again.",
                ) from None
        finally:
            _end(child)

    def _next(self) -> Ask | None:
        with self._lock:
            return None if self._stopped or not self._wanted else self._wanted.popleft()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The child, with its setup; None where nobody wants it any more."""
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the parent's
                env=_environment(),
            )
        except OSError as error:
            raise LocalLLMError(
                f"The process that plans the models of the list did not start: {error.strerror}."
            ) from None
        with self._lock:
            self._child = child
            stopped = self._stopped
        assert child.stdin is not None
        try:
            pickle.dump(self._setup, child.stdin)
        except BrokenPipeError:
            stopped = True
        if stopped:
            _end(child)
            return None
        return child


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what was being written has no reader any more
            pipe.close()
    child.wait()


def _environment() -> dict[str, str]:
    """The child's: it asks nobody, and finds the package that this one is, installed or not."""
    root = Path(__file__).resolve().parents[3]
    inherited = os.environ.get("PYTHONPATH")
    found = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if root.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = os.pathsep.join([str(root), *([inherited] if inherited else [])])
    return found
