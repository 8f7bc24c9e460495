"""Bytes of a file on a server, by HTTP Range, from a server that nobody vouches for.

Strict, because a wrong byte would become a wrong plan: only ``206`` with exactly the range asked
for and a size that stays the same, only the plain encoding, never more bytes than asked for. What
may pass by itself (a reset, a timeout, 429, 5xx) is tried again a few times; all else is an error
of its own kind (``http_refusals.py``).
"""

from __future__ import annotations

import http.client
import threading
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any

from localllm import __version__
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.hub.background import Stopped as Stopped
from localllm.hub.http_refusals import (
    CONTENT_RANGE,
    DOWNLOAD,
    ChangedError,
    Transient,
    failure,
    refusal,
    unreachable,
    wrong_answer,
)
from localllm.hub.remote_url import Origin, RemoteFile, origin_of, redirected
from localllm.units import KiB, format_duration

MAX_REQUESTS = 40
"""For one range, however many bytes each brings."""
MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * KiB
_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""How storage elsewhere refuses a signed address whose time is over: the next try gets another."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server, and how often to ask it."""

    timeout_s: float = 10.0
    """Without a byte from it."""
    n_tries: int = 4
    """Without a byte from it."""
    first_wait_s: float = 0.5
    """Before the second try; doubled before each further one."""
    longest_wait_s: float = 30.0
    """A server that asks for more is not waited for."""
    deadline_s: float = 600.0
    """For everything together: 16 MiB at 30 KiB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a server says of which file this is."""

    file_bytes: int
    etag: str | None
    last_modified: str | None


class RangeReader:
    """One file on a server, read by range."""

    def __init__(
        self,
        file: RemoteFile,
        *,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], None] = lambda n: None,
        on_wait: Callable[[str | None], None] = lambda reason: None,
        patience: Patience | None = None,
    ) -> None:
        """Ask nothing yet. ``stop`` ends waits and reads; ``on_bytes`` hears of bytes as they come,
        ``on_wait`` why the next try is put off, and None when it is made.
        """
        self._file = file
        self._stop = stop or threading.Event()
        self._on_bytes = on_bytes
        self._on_wait = on_wait
        self._patience = patience or Patience()
        self._was_led_away = False
        self.version: Version | None = None
        """Known after the first read."""

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``, or to the end of the file.

        Raises what ``stream`` does.
        """
        return b"".join(self.stream(start, end))

    def stream(self, start: int, end: int) -> Generator[bytes]:
        """Yield the bytes from ``start`` up to ``end``, or to the end of the file, as they come.

        Closing the generator ends the transfer. Raises UnreachableError, NotFoundError,
        AccessError, IntegrityError (ChangedError where the file is another than at the last
        request), GGUFError for what is no model, Stopped.
        """
        have, n_tries = start, 0
        for _ in range(MAX_REQUESTS):
            stop_at = end if self.version is None else min(end, self.version.file_bytes)
            if self.version is not None and have >= stop_at:
                return
            try:
                with closing(self._ask(have, stop_at)) as pieces:
                    for data in pieces:
                        have, n_tries = have + len(data), 0
                        self._on_bytes(len(data))
                        yield data
            except Transient as error:
                n_tries += 1
                if n_tries >= self._patience.n_tries:
                    raise unreachable(self._file, error.reason) from None
                self._pause(error, n_tries)
        raise unreachable(self._file, "the answers break off again and again")

    def _pause(self, error: Transient, n_tries: int) -> None:
        wait_s = (
            self._patience.first_wait_s * 2 ** (n_tries - 1)
            if error.wait_s is None
            else error.wait_s
        )
        if wait_s > self._patience.longest_wait_s:
            raise unreachable(self._file, f"{error.reason}, try again in {format_duration(wait_s)}")
        self._on_wait(error.reason)
        if self._stop.wait(wait_s):
            raise Stopped
        self._on_wait(None)

    def _ask(self, start: int, end: int) -> Generator[bytes]:
        """One request with its redirects: the whole range, or an error."""
        try:
            answer = self._open(start, end)
        except (OSError, http.client.HTTPException) as error:
            raise failure(self._file, error) from None
        try:
            if answer.status != HTTPStatus.PARTIAL_CONTENT:
                if self._was_led_away and answer.status in _EXPIRED:
                    raise Transient("the link to the file expired")
                raise refusal(self._file, answer, start)
            yield from self._body(answer, start, end)
        except (OSError, http.client.HTTPException) as error:
            raise failure(self._file, error) from None
        finally:
            answer.close()

    def _open(self, start: int, end: int) -> Any:
        """Ask, and follow redirects; each origin is told only the secret that is for it."""
        url = self._file.url
        self._was_led_away = False
        for _ in range(MAX_REDIRECTS + 1):
            if self._stop.is_set():
                raise Stopped
            answer = self._request(url, start, end)
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("Location")
            answer.close()
            url = redirected(url, location, shown=self._file.shown, hint=DOWNLOAD)
            self._was_led_away |= origin_of(url) != origin_of(self._file.url)
        raise LocalLLMError(f"{self._file.shown} leads in a circle.", hint=DOWNLOAD)

    def _request(self, url: str, start: int, end: int) -> Any:
        origin = origin_of(url)
        headers = {
            "Range": f"bytes={start}-{end - 1}",
            "Accept-Encoding": "identity",
            "User-Agent": f"localllm/{__version__}",
        }
        if secret := self._file.secrets.get(origin):
            headers["Authorization"] = secret
        request = urllib.request.Request(url, headers=headers)
        return _opener(origin).open(request, timeout=self._patience.timeout_s)

    def _body(self, answer: Any, start: int, end: int) -> Generator[bytes]:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise wrong_answer(self._file, f'sent the file encoded ("{printable(encoding[:40])}")')
        n_left = self._checked_range(answer.headers, start, end)
        length = answer.headers.get("Content-Length")
        if length is not None and length.strip() != str(n_left):
            raise wrong_answer(
                self._file,
                f"announced {printable(length[:40])} bytes where {n_left:,} were asked for",
            )
        # one byte more, to notice an answer that goes on
        while data := answer.read1(min(_CHUNK_BYTES, n_left + 1)):
            if self._stop.is_set():
                raise Stopped
            if len(data) > n_left:
                raise wrong_answer(self._file, "sent more than was asked for")
            n_left -= len(data)
            yield data
        if n_left:
            raise Transient("the connection ended early")

    def _checked_range(self, headers: Message, start: int, end: int) -> int:
        """How many bytes the answer holds; its range must be the one asked for."""
        stated = headers.get("Content-Range", "")
        match = CONTENT_RANGE.fullmatch(stated.strip())
        if match is None or match[1] is None:
            raise wrong_answer(
                self._file, f'sent a range without meaning ("{printable(stated[:60])}")'
            )
        first, last, total = int(match[1]), int(match[2]), int(match[3])
        self._check_version(
            Version(
                file_bytes=total,
                etag=_name_of_version(headers.get("ETag")),
                last_modified=_name_of_version(headers.get("Last-Modified")),
            )
        )
        if first != start or last != min(end, total) - 1 or last < first:
            raise wrong_answer(
                self._file,
                f"sent bytes {first:,} to {last:,} of {total:,} where {start:,} to"
                f" {min(end, total) - 1:,} were asked for",
            )
        return last - first + 1

    def _check_version(self, version: Version) -> None:
        """Keep the first answer's version; every other must agree where both say something."""
        known = self.version
        if known is None:
            self.version = version
        elif not same_version(known, version):
            raise ChangedError(
                f"{self._file.shown} changed while it was read.",
                hint="Try again when it has been uploaded completely.",
            )


def same_version(one: Version, other: Version) -> bool:
    """Whether two answers are of one file: no size or name that both have differs."""
    return one.file_bytes == other.file_bytes and all(
        a is None or b is None or a == b
        for a, b in ((one.etag, other.etag), (one.last_modified, other.last_modified))
    )


def _opener(origin: Origin) -> urllib.request.OpenerDirector:
    """Plain HTTP with the system's proxies, which never see what stays on this machine."""
    is_local = origin.host == "localhost" or origin.host == "::1" or origin.host.startswith("127.")
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler({} if is_local else None))
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler())
    return opener


def _name_of_version(value: str | None) -> str | None:
    """An ETag or a date; None for one that is empty, too long or not plain text."""
    text = (value or "").strip()
    return text if 0 < len(text) <= 200 and text.isascii() and text.isprintable() else None
