"""What is told of one file while it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from localllm.core.fetching import FileState
from localllm.hub.download.wanted import WantedFile


class Told:
    """The state of one file, and who hears of it."""

    def __init__(self, wanted: WantedFile, tell: Callable[[FileState], None]) -> None:
        """Tell nothing yet."""
        self._tell = tell
        self.state = FileState(path=wanted.path, n_bytes=wanted.n_bytes)
        """As it was told last."""

    def now(self, **changes: Any) -> None:
        """Tell the state with these fields changed."""
        self.state = replace(self.state, **changes)
        self._tell(self.state)
