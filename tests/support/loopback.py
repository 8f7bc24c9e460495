"""A web server on this machine that serves files by range, and misbehaves on request.

Real sockets and real HTTP. Two of them are two origins. A file of many GiB is its first bytes and
a size: what lies behind reads as zeros. Each request is recorded as it came.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from localllm.hub.headers.http_range import Patience

IMPATIENT = Patience(timeout_s=2.0, first_wait_s=0.01, longest_wait_s=1.0, deadline_s=30.0)
"""For a server that is a few microseconds away."""


@dataclass(slots=True)
class Served:
    """A file on the server."""

    data: bytes
    size: int
    etag: str | None = '"one"'
    last_modified: str | None = "Sat, 21 Nov 2026 10:00:00 GMT"

    def piece(self, start: int, end: int) -> bytes:
        """Bytes from ``start`` up to ``end``."""
        return self.data[start:end].ljust(end - start, b"\0")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    path: str
    headers: Mapping[str, str]
    """By lower-case name."""

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


@dataclass(slots=True)
class Fault:
    """What happens instead of a good answer, to requests whose path contains ``where``."""

    where: str = ""
    times: int = 1
    """Requests that it is good for; -1: all."""
    skip: int = 0
    """Requests that are answered well before."""
    status: int | None = None
    """Answer with this, ``headers`` and ``body``, whatever is asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Replace those of a good answer as well; an empty value leaves one out."""
    body: bytes = b""
    ignore_range: bool = False
    cut: Literal["", "rst", "fin", "stall"] = ""
    """How the answer ends early: a reset, a plain end, or nothing more."""
    after: int = 0
    """Bytes of the body that are sent before."""
    surplus: bytes = b""
    """Sent behind the body."""
    before_status: bool = False
    """The cut comes before any answer."""


class LoopbackServer:
    """Serves ``files`` by path; use it in ``with``."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._thread.is_alive():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, path: str, data: bytes, size: int | None = None) -> str:
        """Serve a file; returns its address."""
        self.files[path] = Served(data, len(data) if size is None else size)
        return self.origin + path

    def fault(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def take_fault(self, path: str) -> Fault | None:
        """The fault that the next answer has, if any."""
        with self._lock:
            for fault in self.faults:
                if fault.where in path and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def record(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)

    def ranges(self) -> list[str]:
        """The ranges asked for, in order."""
        return [asked.range.removeprefix("bytes=") for asked in self.asked]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    loopback: LoopbackServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.loopback
        server.record(Asked(self.path, {name.lower(): v for name, v in self.headers.items()}))
        fault = server.take_fault(self.path) or Fault()
        if fault.cut and fault.before_status:
            self._end(fault.cut)
            return
        if fault.status is not None:
            self._answer(fault.status, fault.headers, fault.body, fault)
            return
        found = server.files.get(unquote(urlsplit(self.path).path))
        if found is None:
            self._answer(404, {}, b"not here", fault)
            return
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if found.etag is not None:
            headers["ETag"] = found.etag
        if found.last_modified is not None:
            headers["Last-Modified"] = found.last_modified
        asked = self.headers.get("Range")
        if asked is None or fault.ignore_range:
            self._answer(200, {**headers, **fault.headers}, found.piece(0, found.size), fault)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, found.size)
        if start >= found.size:
            self._answer(416, {"Content-Range": f"bytes */{found.size}"}, b"", fault)
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
        self._answer(206, {**headers, **fault.headers}, found.piece(start, end), fault)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault) -> None:
        self.send_response(status)
        length = str(len(body) + len(fault.surplus))
        for name, value in {"Content-Length": length, **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if fault.cut:
            self.wfile.write(body[: fault.after])
            self._end(fault.cut)
        else:
            self.wfile.write(body + fault.surplus)
        if "Content-Length" in headers:
            self.close_connection = True

    def _end(self, how: str) -> None:
        self.close_connection = True
        if how == "stall":
            self.loopback.closing.wait(30)
        elif how == "rst":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
