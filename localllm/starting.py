"""The engine's process started ahead of everything else that a first token waits for.

A shell that will load a model calls this before it imports the session, which takes as long as the
process needs to get ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localllm.engine.client import EngineClient


def start_engine() -> EngineClient:
    """Return an engine whose process is starting, for ``Session(engine=...)``. Close it.

    Never an error here: a process that cannot start is the load's to report.
    """
    from localllm.engine.client import EngineClient

    engine = EngineClient()
    engine.start()
    return engine
