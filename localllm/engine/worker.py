"""The engine child: requests from stdin one by one, events to a pipe, not a word on stdout.

``python -m localllm.engine.worker`` is started by ``process`` and by nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from localllm.core.generation import Failed
from localllm.engine import lifeline
from localllm.engine.install import explain_import_error
from localllm.engine.protocol import VERSION, decode_request
from localllm.engine.wire import Wire
from localllm.errors import LocalLLMError

if TYPE_CHECKING:
    from localllm.engine.host import Host


def main() -> None:
    """Work until stdin ends."""
    parser = argparse.ArgumentParser()
    for name, kind in (("events", int), ("control", int), ("parent", int), ("beat", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--simulated", type=json.loads, default=[])
    options = parser.parse_args()
    lifeline.be_expendable()
    lifeline.die_with_parent(options.parent)
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)  # whatever prints to stdout is log
    for fd in (options.events, options.control):
        os.set_inheritable(fd, False)
    wire = Wire(events_fd=options.events, control_fd=options.control, beat_s=options.beat)
    wire.start(VERSION)
    serve(requests, wire, options.simulated)
    os._exit(0)  # the kernel frees a model faster than its destructors


def serve(
    requests: Iterable[bytes], wire: Wire, simulated: Sequence[Sequence[object]] = ()
) -> None:
    """Answer every request line with events, the last of them terminal.

    ``simulated``: devices that do not exist and shall (``devices.SimulatedSpec``).
    """
    host: Host | None = None
    for line in requests:
        request_id, request = decode_request(line)
        with wire.request(request_id):
            try:
                if host is None:
                    host = _make_host(wire, simulated)
                wire.emit(host.answer(request))
            except LocalLLMError as error:
                wire.emit(failed(error))


def failed(error: LocalLLMError) -> Failed:
    """Return the event for an error: its nearest public class, the sentence, the hint."""
    public = next(
        kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "localllm.errors"
    )
    code = getattr(error, "code", None)
    return Failed(error=public, message=error.message, hint=error.hint, code=code)


def _make_host(wire: Wire, simulated: Sequence[Sequence[object]]) -> Host:
    """Import llama.cpp, which can fail in ways that a person can mend. Raises ``EngineError``."""
    try:
        from localllm.engine.host import Host
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise explain_import_error(error) from error
    return Host(wire, simulated)


if __name__ == "__main__":
    main()
