"""What a server's refusal means, and what to do next: status codes and failures -> our errors."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Protocol

from localllm.core.text import printable
from localllm.errors import (
    AccessError,
    GGUFError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
)
from localllm.hub.client.refusals import coded_refusal, wanted_at
from localllm.hub.gguf.foreign import foreign_error
from localllm.hub.remote_url import RemoteFile, origin_of

CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")
DOWNLOAD = "Download the file and pass its path."
_TRANSIENT = frozenset({408, 425, 429})
_QUOTA_USED_UP = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})\b")
"""In ``RateLimit``: no request is left, ``t`` seconds until there are new ones
(draft-ietf-httpapi-ratelimit-headers-09; the Hub sends it)."""
_ON_THE_HUB = {
    "RepoNotFound": ("repository", "Check the address; a private repository needs HF_TOKEN."),
    "RevisionNotFound": ("revision", "Check the address."),
    "EntryNotFound": ("file", "Check the address."),
}
"""``X-Error-Code`` of the Hub, which answers 401 for a repository that does not exist."""


class UnreachableError(NotFoundError):
    """The server cannot be reached, or is out of order: a stored header may serve instead."""


class ChangedError(IntegrityError):
    """The file on the server became another one between two requests."""


class Headers(Protocol):
    """An answer's headers, of either HTTP library."""

    def get(self, key: str, /) -> str | None:
        """Return a header by its name in any case."""


class Transient(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        """Say how long the server wants to be left alone, if it says so."""
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class NotReached(Transient):
    """The server was not reached at all: nothing to wait for, unless it was there a moment ago."""


class ExpiredLink(Exception):
    """The address of the bytes is no longer valid: ask for the metadata, which hold a new one."""

    def __init__(self, reason: str) -> None:
        """Say what the server answered, as the end of a sentence."""
        super().__init__(reason)
        self.reason = reason


def is_transient(status: int) -> bool:
    """Whether a refusal with this status may pass by itself."""
    return status in _TRANSIENT or 500 <= status < 600


def refusal(file: RemoteFile, answer: Any, start: int) -> Exception:
    """Return what an answer other than 206 means, to a request for bytes from ``start`` on.

    ``answer`` is an ``http.client.HTTPResponse``. Raises what reading from it does.
    """
    status, headers = answer.status, answer.headers
    shown = file.shown
    code = headers.get("X-Error-Code", "")
    if status == HTTPStatus.OK:
        return _whole_file(file, answer)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match and match[1] is None and int(match[3]) == 0 == start:
            return foreign_error(b"", 0)
        return wrong_answer(file, "does not have the bytes asked for (status 416)")
    wanted = wanted_at(file.url, has_token=origin_of(file.url) in file.secrets)
    message = headers.get("X-Error-Message", "")
    if wanted is not None and (error := coded_refusal(wanted, code=code, message=message)):
        return error
    if code == "GatedRepo":
        return AccessError(
            f"{shown} is gated: its licence must be accepted first.",
            hint="Accept it on the model's page, then set HF_TOKEN to a token of that account.",
        )
    if code in _ON_THE_HUB:
        what, hint = _ON_THE_HUB[code]
        return NotFoundError(f"There is no such {what} on the Hub: {shown}.", hint=hint)
    if status in (401, 403, 407):
        return AccessError(
            f"{shown} may not be read (status {status}).",
            hint="Set HF_TOKEN to a token that may read it, or pass a link that is still valid.",
        )
    if status in (404, 410):
        return NotFoundError(
            f"There is no file at {shown} (status {status}).", hint="Check the address."
        )
    if is_transient(status):
        return Transient(f"the server answers with status {status}", wait_s=asked_wait_s(headers))
    return LocalLLMError(f"{shown}: the server answers with status {status}.", hint=DOWNLOAD)


def failure(file: RemoteFile, error: Exception) -> Exception:
    """Return what a failure of the connection means: for good, or one that may pass."""
    cause = getattr(error, "reason", error)  # urllib wraps what happened while connecting
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AccessError(
            f"{file.shown}: the server's certificate is not trusted"
            f" ({printable(cause.verify_message)}).",
            hint="Behind a company's proxy, set SSL_CERT_FILE to its certificates.",
        )
    if isinstance(cause, socket.gaierror):
        host = origin_of(file.url).host
        return unreachable(file, f"there is no host {host}, or no network")
    if isinstance(cause, ConnectionRefusedError):
        return unreachable(file, "the connection was refused")
    return Transient(reason_of(cause))


def unreachable(file: RemoteFile, reason: str) -> UnreachableError:
    """Return the error for a server that cannot be reached."""
    return UnreachableError(
        f"{file.shown} cannot be read: {reason}.",
        hint="Check the address and the connection, or pass the path of a file that is here.",
    )


def wrong_answer(file: RemoteFile, what: str) -> IntegrityError:
    """Return the error for an answer whose bytes could be others than those asked for."""
    host = origin_of(file.url).host
    return IntegrityError(f"{file.shown} cannot be read in parts: {host} {what}.", hint=DOWNLOAD)


def remote_gguf_error(file: RemoteFile, error: GGUFError) -> GGUFError:
    """Return a header's fault with the name of its file, and a next step for one on a server."""
    return GGUFError(
        f"{printable(file.name)}: {error.message}",
        offset=error.offset,
        hint=f"What {origin_of(file.url).host} serves is not a whole model file: check the address,"
        " or use another source.",
    )


def reason_of(error: object) -> str:
    """Return what went wrong with a connection, as the end of a sentence."""
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(
        error,
        ConnectionResetError | BrokenPipeError | http.client.IncompleteRead,
    ):
        return "the connection broke"
    if isinstance(error, OSError):  # a proxy that refuses has no errno, only words
        return f"the connection failed ({printable((error.strerror or str(error))[:100])})"
    return "the server's answer is not HTTP"


def _whole_file(file: RemoteFile, answer: Any) -> Exception:
    """A 200: an ordinary page, or a server that cannot send a part of a file."""
    start = bytearray()
    while len(start) < 512 and (data := answer.read1(512)):
        start += data
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity" and not start.startswith(b"GGUF"):
        length = answer.headers.get("Content-Length", "")
        size = int(length) if re.fullmatch(r"\d{1,19}", length) else 0
        return foreign_error(bytes(start), max(size, len(start)))
    return wrong_answer(file, "sends whole files only and knows no HTTP ranges (status 200)")


def asked_wait_s(headers: Headers) -> float | None:
    """Return how long a server asks to be left alone, in seconds; None where it says nothing.

    ``Retry-After`` holds seconds or a date; else ``RateLimit`` may tell when there is quota again.
    """
    text = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        if text:
            return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        pass
    match = _QUOTA_USED_UP.search(headers.get("RateLimit") or "")
    return float(match[1]) if match else None
