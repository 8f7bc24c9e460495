"""The engine child: requests from stdin one by one, events to a pipe, not a word on stdout.

``python -m localllm.engine.worker`` is started by ``process`` and by nothing else. It is started
ahead of the first request where it can be, and imports llama.cpp while it waits: what is imported
here is waited for by whoever wants a first token.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from localllm.core.generation import Failed
from localllm.engine import lifeline
from localllm.engine.protocol import VERSION, decode_request
from localllm.engine.wire import Wire
from localllm.errors import LocalLLMError

if TYPE_CHECKING:
    from localllm.engine.host import Host


def main() -> None:
    """Work until stdin ends."""
    gc.set_threshold(50_000, 20, 20)  # imports make objects and no garbage
    options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    events, control = int(options["events"]), int(options["control"])
    lifeline.be_expendable()
    lifeline.die_with_parent(int(options["parent"]))
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)  # whatever prints to stdout is log
    for fd in (events, control):
        os.set_inheritable(fd, False)
    wire = Wire(events_fd=events, control_fd=control, beat_s=float(options["beat"]))
    wire.start(VERSION)
    ready = threading.Event()
    threading.Thread(target=_get_ready, args=(ready,), name="get-ready", daemon=True).start()
    serve(requests, wire, json.loads(options.get("simulated", "[]")), ready)
    os._exit(0)  # the kernel frees a model faster than its destructors


def _get_ready(ready: threading.Event) -> None:
    """Import llama.cpp and let its backends look for their devices, while no request has come.

    What goes wrong goes wrong again, and is told, at the first request: it imports the same, but
    not at the same time, since an import that fails confuses one that waits for it. What no load
    needs comes last: it had better be here when memory is short.
    """
    with suppress(Exception):
        try:
            from localllm.engine.host import warm_up

            warm_up()
        finally:
            ready.set()
        from localllm.engine import bench, prove  # noqa: F401  (see above)


def serve(
    requests: Iterable[bytes],
    wire: Wire,
    simulated: Sequence[Sequence[object]],
    ready: threading.Event,
) -> None:
    """Answer every request line with events, the last of them terminal.

    ``simulated``: devices that do not exist and shall (``devices.SimulatedSpec``). The first
    request waits until ``ready``.
    """
    host: Host | None = None
    for line in requests:
        request_id, request = decode_request(line)
        with wire.request(request_id):
            try:
                if host is None:
                    ready.wait()
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
        from localllm.engine.install import explain_import_error

        raise explain_import_error(error) from error
    return Host(wire, simulated)


if __name__ == "__main__":
    main()
