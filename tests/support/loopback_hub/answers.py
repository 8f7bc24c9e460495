"""Answers of the loopback Hub before they are sent: a status, headers, a body in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.loopback_hub.content import Content
from tests.support.loopback_hub.faults import Fault

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_BINARY = "binary/octet-stream"


Piece = tuple[Content, int, int]
"""Bytes of a content, from and up to."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer before it is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        return sum(end - start for _, start, end in self.pieces)


def plain(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with a body of these bytes."""
    content = Content(body)
    pieces = [(content, 0, content.size)]
    return Answer(status=status, headers=dict(headers or {}), pieces=pieces)


def of_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    named = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return plain(status, json.dumps(value).encode(), named)


def refused(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """A refusal as the Hub words it: in headers, and once more in the body."""
    named = {"X-Error-Message": message, **(headers or {})}
    if code:
        named["X-Error-Code"] = code
    return of_json({"error": message}, status, named)


def of_content(content: Content, asked_range: str | None, fault: Fault) -> Answer:
    """A file, or the range of it that was asked for: ``a-b``, ``a-`` or ``-n``."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": _BINARY}
    match = _RANGE.fullmatch(asked_range or "")
    if match is None or fault.ignore_range or match.groups() == ("", ""):
        pieces = _pieces(content, 0, content.size, fault)
        return Answer(status=200, headers=headers, pieces=pieces)
    size = content.size
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    start = max(0, start + fault.shift_range)
    if start >= end:
        answer = plain(416)
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(status=206, headers=headers, pieces=_pieces(content, start, end, fault))


def _pieces(content: Content, start: int, end: int, fault: Fault) -> list[Piece]:
    if fault.shift_bytes:
        moved = max(0, start + fault.shift_bytes)
        body = content.read(moved, moved + end - start).ljust(end - start, b"\0")
        return [(Content(body), 0, len(body))]
    if fault.corrupt_at is None:
        return [(content, start, end)]
    wrong = content.size // 2 if fault.corrupt_at < 0 else fault.corrupt_at
    if not start <= wrong < end:
        return [(content, start, end)]
    flipped = bytes(byte ^ 1 for byte in content.read(wrong, wrong + 1))
    return [(content, start, wrong), (Content(flipped), 0, 1), (content, wrong + 1, end)]
