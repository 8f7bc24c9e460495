"""The events of one request, as they come from the child, and when to stop waiting for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from localllm.core.generation import Died, EngineInfo, Event, Failed, PromptProgress, TextDelta
from localllm.engine.protocol import TERMINAL, VERSION, Beat, Hello, Pong, ProtocolError
from localllm.engine.watch import Watch

if TYPE_CHECKING:
    from localllm.engine.death import Phase
    from localllm.engine.process import EngineProcess


class Bury(Protocol):
    """Reaps a child that ended, or ends it for a reason, and says what happened."""

    def __call__(self, phase: Phase, reason: str | None, *, gave_up: bool = False) -> Died | Failed:
        """``gave_up``: it only did not hear a cancelled load in time."""


def listen(
    process: EngineProcess,
    request_id: int,
    *,
    phase: Phase,
    watch: Watch,
    is_cancelled: Callable[[], bool],
    bury: Bury,
) -> Iterator[Event]:
    """Yield what the child says of a request, up to its last event or its death."""
    while True:
        began = time.monotonic()
        try:
            received = process.read(watch.slice_s)
        except EOFError:
            yield bury(phase, None)
            return
        except ProtocolError as error:
            yield bury(phase, f"it sent something unreadable ({error})")
            return
        event = None if received is None or received[0] not in (0, request_id) else received[1]
        if type(event) is TextDelta and not is_cancelled():  # one per token, and all is well
            phase = "generate"
            watch.hear()
            yield event
            continue
        waited_s = time.monotonic() - began
        if isinstance(event, Hello):
            process.greeted = True
            if event.version != VERSION:
                yield bury("start", "it comes from another version of localllm")
                return
        elif isinstance(event, Pong):
            return
        elif event is not None and not isinstance(event, (Beat, EngineInfo)):
            phase = _phase_after(event, phase)
            yield event
            if isinstance(event, TERMINAL):
                return
        cancelled = is_cancelled()
        reason = watch.judge(event, waited_s, cancelled=cancelled)
        if reason is not None:
            yield bury(phase, reason, gave_up=cancelled and phase == "load")
            return


def _phase_after(event: Event, phase: Phase) -> Phase:
    if isinstance(event, TextDelta):
        return "generate"
    if isinstance(event, PromptProgress) and event.n_done == event.n_total:
        return "generate"
    return phase
