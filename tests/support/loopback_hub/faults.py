"""What goes wrong, and with which requests: faults wait in a queue until a request matches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

OriginName = Literal["hub", "cdn"]
RESET = "rst"
END = "fin"
STALL = "stall"


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to some requests instead of a good answer.

    It meets the first ``times`` requests, after ``skip`` others, that go to ``origin`` by
    ``method`` and whose address contains ``where``: by default, the next GET at the CDN. An empty
    string stands for any. The address of a blob contains the name of its file.
    """

    origin: OriginName | Literal[""] = "cdn"
    method: str = "GET"
    where: str = ""
    times: int = 1
    """-1: all of them."""
    skip: int = 0

    cut: Literal["", "rst", "fin", "stall"] = ""
    """The answer ends early, by a reset or by a plain end of the connection, or pauses."""
    after: int | None = None
    """Bytes of the body that go out before the cut; None: it comes before the first byte of the
    answer. A reset also takes back what the client's kernel had and the client had not read."""
    stall_s: float = 3600.0
    """How long a pause lasts, unless ``released`` is set before."""
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when a cut takes place: now everything before it has been sent."""

    status: int | None = None
    """Answered whatever is asked for, with ``headers`` and ``body``."""
    code: str = ""
    """``X-Error-Code``."""
    message: str = ""
    """``X-Error-Message``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Replace or add to those of the answer; an empty value leaves one out."""
    body: bytes = b""

    etag: str | None = None
    """Stated as the file's, as it stands here; empty: none is stated."""
    commit: str | None = None
    """The same of ``X-Repo-Commit``."""
    size: int | None = None
    """The same of the size, at the Hub's own origin."""

    ignore_range: bool = False
    """200 and the whole file."""
    shift_range: int = 0
    """206 with a range that starts so much behind the one asked for, and says so."""
    shift_bytes: int = 0
    """206 that states the range asked for and holds the bytes so much behind it."""
    corrupt_at: int | None = None
    """This byte of the file is another one, if it is sent; -1: the one in the middle."""
    surplus: bytes = b""
    """Sent behind the body, and counted in ``Content-Length``."""
    short: int = 0
    """``Content-Length`` and the body lack so many bytes at the end."""
    gzip: bool = False
    """The body is compressed, and says so."""
    chunked: bool = False
    """The body comes in chunks, its length unsaid."""
    piece_bytes: int = 0
    """The body comes in such pieces, with ``delay_s`` before each."""
    delay_s: float = 0.0

    then: Callable[[], object] | None = None
    """Done when the request is there, before its answer."""

    def matches(self, origin: str, method: str, target: str) -> bool:
        """Whether a request is of the kind it waits for."""
        return (
            self.times != 0
            and self.origin in ("", origin)
            and self.method in ("", method)
            and (self.where in target or self.where in unquote(target))
        )

    def stated(self) -> dict[str, str]:
        """The headers that it replaces; an empty value leaves one out."""
        named: dict[str, Any] = {}
        if self.etag is not None:
            named |= {"ETag": self.etag, "X-Linked-ETag": self.etag}
        if self.commit is not None:
            named["X-Repo-Commit"] = self.commit
        if self.size is not None:
            named["X-Linked-Size"] = self.size
        if self.code:
            named["X-Error-Code"] = self.code
        if self.message:
            named["X-Error-Message"] = self.message
        return {name: str(value) for name, value in {**named, **self.headers}.items()}


NO_FAULT = Fault(times=0)


class Faults:
    """The queue. Safe to use from several threads."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Put one at the end."""
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Nothing goes wrong any more; pauses end."""
        with self._lock:
            gone, self._waiting = self._waiting, []
        for fault in gone:
            fault.released.set()

    def take(self, origin: str, method: str, target: str) -> Fault:
        """Return the fault that a request meets."""
        with self._lock:
            for fault in self._waiting:
                if not fault.matches(origin, method, target):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return NO_FAULT
