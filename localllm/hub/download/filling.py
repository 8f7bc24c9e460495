"""The bytes of a file into its part: what is there counts, what is missing comes, in many tries."""

from __future__ import annotations

import threading

from localllm.hub.download.at_server import FileAtServer
from localllm.hub.download.part import Part
from localllm.hub.download.told import Told
from localllm.hub.download.tries import Tries
from localllm.hub.http_refusals import ExpiredLink, NotReached, Transient


def fill(
    part: Part, file: FileAtServer, *, tries: Tries, told: Told, stop: threading.Event
) -> None:
    """Bring a part to its full length, right or wrong.

    Raises GaveUp, Stopped, LocalLLMError of the disk, and what the client raises.
    """
    n_resumed = None

    def check() -> None:
        told.now(phase="checking", n_done=part.n_hashed, waiting_for=None)

    while True:
        part.catch_up(stop, check)
        tries.here(part.n_hashed)
        if n_resumed is None:
            n_resumed = part.n_hashed
            told.now(phase="fetching", n_done=n_resumed, n_resumed=n_resumed, waiting_for=None)
        if part.is_whole:
            return
        try:
            _receive(part, file, tries, told)
        except ExpiredLink as error:
            tries.failed(Transient(error.reason), waits=False)
            file.ask()
        except Transient as error:
            tries.failed(error)
            if isinstance(error, NotReached):
                file.forget_location()  # the Hub may lead elsewhere by now


def _receive(part: Part, file: FileAtServer, tries: Tries, told: Told) -> None:
    """Write one answer as it comes, from the first byte that is missing or from the very first."""
    told.now(phase="fetching", waiting_for=None)
    with file.receiver(part.n_hashed) as receiver:
        starts_at = receiver.starts_at()
        tries.reached()
        if starts_at != part.n_hashed:
            if starts_at != 0:
                raise Transient("the server sends other bytes than those asked for")
            part.restart()  # it sends whole files only
            told.now(n_done=0, n_resumed=0)
        n_received = told.state.n_received
        try:
            for data in receiver.batches():
                n_received += len(data)
                part.write(data)
                told.now(n_done=part.n_hashed, n_received=n_received)
        finally:
            tries.here(part.n_hashed)
            told.now(n_done=part.n_hashed, n_received=n_received)
    if not part.is_whole:
        raise Transient("the connection ended early")
