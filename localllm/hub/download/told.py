"""What is told of one file while it comes: not more often than anybody can look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from localllm.core.fetching import FileState
from localllm.hub.download.wanted import WantedFile

_TELL_S = 0.05


class Told:
    """The state of one file, and who hears of it."""

    def __init__(self, wanted: WantedFile, tell: Callable[[FileState], None]) -> None:
        """Tell nothing yet."""
        self._tell = tell
        self._at_s = 0.0
        self.state = FileState(path=wanted.path, n_bytes=wanted.n_bytes)
        """As it was told last."""

    def now(self, **changes: Any) -> None:
        """Tell the state with these fields changed."""
        self.state = replace(self.state, **changes)
        self._at_s = time.monotonic()
        self._tell(self.state)

    def soon(self, **changes: Any) -> None:
        """The same, unless something was told just now: nothing is, until it is called again."""
        if time.monotonic() - self._at_s >= _TELL_S:
            self.now(**changes)
