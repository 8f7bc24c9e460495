"""How the loopback Hub answers: it records a request, lets it meet its fault, sends the answer."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from tests.support.loopback_hub.answers import Answer, Piece, plain
from tests.support.loopback_hub.content import SEND_BYTES, Content
from tests.support.loopback_hub.faults import END, RESET, STALL, Fault, Faults, OriginName
from tests.support.loopback_hub.pace import Pace


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request as it came, and the status of its answer."""

    origin: OriginName
    method: str
    target: str
    """As it was sent: quoted, with the query."""
    headers: Mapping[str, str]
    """By lower-case name."""
    at_s: float
    """``time.monotonic()``."""
    status: int | None = None
    """None: no answer was begun."""

    @property
    def path(self) -> str:
        """Unquoted, without the query."""
        return unquote(urlsplit(self.target).path)

    @property
    def range(self) -> str:
        """``"5-"`` of ``Range: bytes=5-``; empty where none was asked for."""
        return self.headers.get("range", "").removeprefix("bytes=")


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class CutShort(Exception):
    """The answer has ended before its end, as it was told to."""


class Server(ThreadingHTTPServer):
    """One origin."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, handler: type[Handler], port: int = 0) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are what these tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Traffic:
    """What both origins share: the faults, the pace and the log."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.closing = threading.Event()
        self.pace = Pace(self.closing)
        self.log: list[Asked] = []


class Handler(BaseHTTPRequestHandler):
    """One connection. An origin says what it answers (``answer``)."""

    protocol_version = "HTTP/1.1"
    server_version = "loopback"
    disable_nagle_algorithm = True
    origin: OriginName
    traffic: Traffic
    fault: Fault
    form: Mapping[str, list[str]]
    """What a POST brought."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self._server.connections.add(self.connection)

    def finish(self) -> None:
        self._server.connections.discard(self.connection)
        super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (CutShort, OSError):  # a client that has left, or that we have left
            self.close_connection = True

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def answer(self, address: SplitResult, query: Mapping[str, list[str]]) -> Answer:
        """The good answer to a request."""
        raise NotImplementedError

    @property
    def _server(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            origin=self.origin,
            method=self.command,
            target=self.path,
            headers=headers,
            at_s=time.monotonic(),
        )
        self.traffic.log.append(asked)
        sent = self.rfile.read(int(headers.get("content-length", "0")))
        self.form = parse_qs(sent.decode(), keep_blank_values=True)
        fault = self.fault = self.traffic.faults.take(self.origin, self.command, self.path)
        if fault.then is not None:
            fault.then()
        if fault.cut and fault.after is None:
            self._cut(fault)
        if fault.status is not None:
            answer = plain(fault.status, fault.body)
        else:
            address = urlsplit(self.path)
            answer = self.answer(address, parse_qs(address.query, keep_blank_values=True))
        self._send(answer, fault, asked)

    def _send(self, answer: Answer, fault: Fault, asked: Asked) -> None:
        if fault.gzip:
            packed = gzip.compress(b"".join(c.read(a, b) for c, a, b in answer.pieces), 1)
            answer.pieces = [(Content(packed), 0, len(packed))]
            answer.headers["Content-Encoding"] = "gzip"
        if fault.surplus:
            answer.pieces.append((Content(fault.surplus), 0, len(fault.surplus)))
        n_bytes = max(0, answer.n_bytes - fault.short)
        length = (
            {"Transfer-Encoding": "chunked"} if fault.chunked else {"Content-Length": str(n_bytes)}
        )
        asked.status = answer.status
        self.send_response_only(answer.status)
        given = {
            "Date": formatdate(usegmt=True),
            "X-Request-Id": f"Root={len(self.traffic.log)}",
            **length,
            **answer.headers,
        }
        stated = {name.lower(): value for name, value in fault.stated().items()}
        for name, value in given.items():
            if value := stated.pop(name.lower(), value):
                self.send_header(name, value)
        for name, value in stated.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer.pieces, n_bytes, fault)
        if "content-length" in (name.lower() for name in fault.headers):
            self.close_connection = True  # where this answer ends is unknown to the client

    def _send_body(self, pieces: list[Piece], n_bytes: int, fault: Fault) -> None:
        cut_at = fault.after if fault.cut and fault.after is not None else None
        n_sent = 0
        for content, start, end in self._portions(pieces, n_bytes, fault, cut_at):
            if n_sent == cut_at:
                self._cut(fault)
            if fault.delay_s:
                self.traffic.closing.wait(fault.delay_s)
            self.traffic.pace.wait_for(end - start)
            if self.traffic.closing.is_set():
                raise CutShort
            if fault.chunked:
                self.wfile.write(b"%x\r\n" % (end - start))
            content.send(self.connection, start, end)
            if fault.chunked:
                self.wfile.write(b"\r\n")
            n_sent += end - start
        if cut_at is not None and n_sent <= cut_at:
            self._cut(fault)
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _portions(
        self, pieces: list[Piece], n_bytes: int, fault: Fault, cut_at: int | None
    ) -> Iterator[Piece]:
        """The body in portions, none of which reaches over the place of the cut."""
        done = 0
        for content, start, end in pieces:
            while start < end and done < n_bytes:
                most = self.traffic.pace.piece_bytes(fault.piece_bytes or SEND_BYTES)
                if cut_at is not None and done < cut_at:
                    most = min(most, cut_at - done)
                stop = start + min(most, end - start, n_bytes - done)
                yield content, start, stop
                done += stop - start
                start = stop

    def _cut(self, fault: Fault) -> None:
        """End the connection, or say nothing for a while."""
        fault.reached.set()
        if fault.cut == STALL:
            until_s = time.monotonic() + fault.stall_s
            while not (fault.released.is_set() or self.traffic.closing.is_set()):
                if (left_s := until_s - time.monotonic()) <= 0:
                    break
                fault.released.wait(min(left_s, 0.05))
            return
        self.close_connection = True
        if fault.cut == RESET:
            _reset(self.connection)
        else:
            assert fault.cut == END
        raise CutShort


def token_of(headers: Any) -> str | None:
    """The token that a request brought."""
    return (headers.get("Authorization") or "").removeprefix("Bearer ").strip() or None
