"""What goes wrong between us and the Hub -> our errors: refusals by status, failures by cause.

Whatever may pass is a ``Transient``, with the wait that the server asks for; no text holds an
address behind the Hub's own, for those are signed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator

from localllm.core.text import printable
from localllm.errors import AccessError, LocalLLMError, NotFoundError
from localllm.hub.client.refusals import (
    Wanted,
    bad_token,
    coded_refusal,
    forbidden,
    no_file,
    no_repo,
)
from localllm.hub.http_refusals import (
    ExpiredLink,
    Headers,
    NotReached,
    Transient,
    UnreachableError,
    asked_wait_s,
    is_transient,
    reason_of,
)
from localllm.hub.remote_url import origin_of

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What storage answers to a signature that is too old, or to one of content that has moved."""
CONNECTION_HINT = (
    "Check the connection, HF_ENDPOINT and the proxy (HTTPS_PROXY). `localllm list` shows what is"
    " here already."
)
_CERTIFICATE_HINT = "Behind a company's proxy, set SSL_CERT_FILE to its certificates."
_OFFLINE_HINT = (
    "`localllm list` shows what is here. Leave out --offline and unset HF_HUB_OFFLINE,"
    " TRANSFORMERS_OFFLINE and LOCALLLM_OFFLINE to look it up."
)


def refused(wanted: Wanted, status: int, headers: Headers) -> LocalLLMError | Transient:
    """Return what a status of 400 and above means, from the Hub itself.

    The Hub's own words go first. Of statuses alone: 401 without a token is a repository that is
    private or not there (exit 5), with one a token that is not accepted (4); 403 and 451 are 4;
    404 and 410 are 5; 408, 425, 429 and 5xx may pass; all others are 1.
    """
    code = headers.get("X-Error-Code") or ""
    message = headers.get("X-Error-Message") or ""
    if (said := coded_refusal(wanted, code=code, message=message)) is not None:
        return said
    if is_transient(status):
        return Transient(f"the Hub answers with status {status}", wait_s=asked_wait_s(headers))
    if (make := _BY_STATUS.get(status)) is not None:
        return make(wanted, message)
    text = f': "{printable(message[:200])}"' if message else ""
    return LocalLLMError(
        f"{wanted.shown}: {wanted.endpoint} answers with status {status}{text}.",
        hint=f"Open {wanted.page} to see whether it is there; HF_ENDPOINT may not name a Hub.",
    )


def refused_bytes(host: str, status: int, headers: Headers) -> Exception:
    """Return what a status other than 200 and 206 means, from where a file's bytes lie.

    ExpiredLink for what storage answers to a signature that is too old.
    """
    if status in _EXPIRED:
        return ExpiredLink(f"the link is no longer good (status {status})")
    if status == 416:
        return Transient("the server does not have the bytes asked for")
    if is_transient(status):
        return Transient(f"{host} answers with status {status}", wait_s=asked_wait_s(headers))
    if status == 407:
        return _proxy_login()
    return LocalLLMError(
        f"{host} answers with status {status} where the bytes of a file were asked for.",
        hint="Try again later, or use another HF_ENDPOINT.",
    )


def leads_elsewhere(wanted: Wanted, location: str) -> LocalLLMError:
    """Return the error for an endpoint that sends its questions on to a host that nobody named."""
    address = origin_of(location).address
    return LocalLLMError(
        f"{wanted.endpoint} does not answer for {wanted.shown} and leads to {address} instead.",
        hint="localllm asks nobody but the endpoint: if you trust that server, set HF_ENDPOINT to"
        f" {address}.",
    )


def failed(host: str, error: BaseException) -> LocalLLMError | Transient:
    """Return what a failure of the connection to a host means: for good, or one that may pass.

    ``error``: of httpx2, which wraps what the system said, or of the system itself.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AccessError(
                f"The certificate of {host} is not trusted ({printable(cause.verify_message)}).",
                hint=_CERTIFICATE_HINT,
            )
        if isinstance(cause, socket.gaierror):
            return NotReached(f"there is no host {host}, or no network")
        if isinstance(cause, ConnectionRefusedError):
            return NotReached(f"{host} refuses the connection")
        if type(cause).__name__ == "ProxyError" and str(cause).startswith("407"):
            return _proxy_login()
        if type(cause).__name__ == "OfflineModeIsEnabled":
            return offline("What is wanted", host)
    kinds = {kind.__name__ for each in _causes(error) for kind in type(each).__mro__}
    reason = next((reason for name, reason in _BY_KIND if name in kinds), None)
    if reason is None:
        system = [each for each in _causes(error) if isinstance(each, OSError)]
        reason = reason_of(system[-1] if system else error)
    return (NotReached if "ConnectError" in kinds else Transient)(reason)


def unreachable_hub(wanted: Wanted, reason: str) -> UnreachableError:
    """Return the error for a Hub that cannot be asked, at once or after all tries."""
    return UnreachableError(
        f"{wanted.shown} cannot be looked up at {wanted.endpoint}: {reason}.",
        hint=CONNECTION_HINT,
    )


def offline(what: str, host: str) -> NotFoundError:
    """Return the error for something that a host would have to be asked for, without a network."""
    return NotFoundError(
        f"{what} would have to be asked for at {host}, and there is to be no network.",
        hint=_OFFLINE_HINT,
    )


def _proxy_login() -> LocalLLMError:
    return AccessError(
        "The proxy wants a name and a password (status 407).",
        hint="Write them into HTTPS_PROXY: http://name:password@proxy:port.",
    )


def _proxy(wanted: Wanted, message: str) -> LocalLLMError:
    return _proxy_login()


def _unauthorized(wanted: Wanted, message: str) -> LocalLLMError:
    return bad_token(wanted) if wanted.has_token else no_repo(wanted)


_BY_STATUS: dict[int, Callable[[Wanted, str], LocalLLMError]] = {
    401: _unauthorized,
    403: forbidden,
    404: no_file,
    407: _proxy,
    410: no_file,
    451: forbidden,
}

_BY_KIND: tuple[tuple[str, str], ...] = (
    ("TimeoutException", "the server does not answer"),
    ("ReadError", "the connection broke"),
    ("WriteError", "the connection broke"),
    ("CloseError", "the connection broke"),
    ("ProxyError", "the proxy refuses the connection"),
    ("RemoteProtocolError", "the connection ended early, or the answer is not HTTP"),
    ("DecodingError", "the answer is not what it says"),
)
"""Exceptions of httpx2 by name, so that nothing has to be imported to tell them apart."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, outermost first."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
