"""The connection to the Hub: huggingface_hub's session, and what it may tell whom.

Of the library only the session is used. Its own calls follow redirects to hosts that nobody named
(``_HUB_ORIGINS``: with a mirror in ``HF_ENDPOINT`` they would take the token to huggingface.co),
read answers of any length, fall back to tokens that we did not choose, and ask the Hub which
program runs them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from localllm import __version__
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.hub.client.answers import MIRROR
from localllm.hub.client.errors import CONNECTION_HINT, failed
from localllm.hub.http_refusals import Headers
from localllm.hub.remote_url import Endpoint, origin_of, redirected

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_VARIABLES = {
    # else a list of programs is asked for before the first request, to be told in every other
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_XET_TELEMETRY_ENABLED": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # standard error is ours
}
"""Read when the library is imported; what the person has set stays."""
_LOGGERS = ("httpx2", "httpcore2", "huggingface_hub")
"""They write addresses with their signatures, some with all headers."""


class Session:
    """Sends requests to one Hub and to where it leads; none may wait for ever."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float) -> None:
        """Connect to nobody yet. Raises LocalLLMError where the library cannot be used."""
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._get_session = _library()

    @contextmanager
    def send(
        self, method: str, url: str, *, headers: dict[str, str] | None = None
    ) -> Iterator[Any]:
        """Send one request and follow no redirect; the answer's body waits to be read.

        The secret goes to the endpoint's origin and to no other. Raises Transient and our own
        errors, never the library's; failures while the body is read go through ``translated``.
        """
        request_headers = {
            "User-Agent": f"localllm/{__version__}",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        origin = origin_of(url)
        if origin == self.endpoint.origin and self.endpoint.secret is not None:
            request_headers["Authorization"] = self.endpoint.secret
        with translated(url):
            session = self._session()
            request = session.build_request(
                method, url, headers=request_headers, timeout=self._timeout_s
            )
            request.headers.pop("Cookie", None)  # of whichever server came before
            answer = session.send(request, stream=True, follow_redirects=False)
            if method == "HEAD":
                answer.read()  # nothing; and the connection can be used again
        try:
            yield answer
        finally:
            answer.close()

    @contextmanager
    def follow(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        leave: bool,
        says_enough: Callable[[Headers], bool] = lambda headers: False,
    ) -> Iterator[tuple[Any, str]]:
        """Send a request and follow redirects; the answer, and the address that it came from.

        ``leave``: also to other origins than the endpoint's; where not, an answer that leads to
        another is returned as it is, and so is one whose headers say enough. Raises what ``send``
        does, and LocalLLMError for a circle.
        """
        for _ in range(MAX_REDIRECTS + 1):
            with self.send(method, url, headers=headers) as answer:
                if answer.status_code not in REDIRECTS:
                    yield answer, url
                    return
                target = leads_to(url, answer.headers)
                leaves = origin_of(target) != self.endpoint.origin
                if (leaves and not leave) or says_enough(answer.headers):
                    yield answer, url
                    return
                url = target
        raise LocalLLMError(
            f"{origin_of(url).host} leads in a circle.",
            hint="Try again later, or use another HF_ENDPOINT.",
        )

    def _session(self) -> Any:
        try:
            return self._get_session()
        except Exception as error:  # a proxy's address, certificates: each in its own words
            raise LocalLLMError(
                f"No connection can be prepared: {printable(str(error)[:200])}.",
                hint="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE.",
            ) from None


def leads_to(url: str, headers: Headers) -> str:
    """Return where a redirect from an address leads. Raises LocalLLMError where nobody may go."""
    return redirected(url, headers.get("Location"), shown=origin_of(url).host, hint=MIRROR)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn failures of a connection into Transient and our own errors."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, OSError) as error:
        raise failed(origin_of(url).host, error) from None
    except httpx2.InvalidURL:
        raise LocalLLMError(
            f"{origin_of(url).host} leads to an address that is none.", hint=CONNECTION_HINT
        ) from None


@cache
def _library() -> Callable[[], Any]:
    """Import the library, once, and make it silent."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variables that have no effect any more
            from huggingface_hub.utils import get_session
    except (ImportError, ValueError) as error:  # a ValueError: a variable that is no number
        raise LocalLLMError(
            f"The library huggingface_hub cannot be used: {printable(str(error)[:200])}.",
            hint="Check variables that begin with HF_HUB_, or install localllm again.",
        ) from None
    for logger in _LOGGERS:
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
    return get_session  # type: ignore[no-any-return]  # the library is not followed
