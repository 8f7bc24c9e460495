"""Addresses of model files: what they lead to, how they are shown, and who is told a secret.

A query may hold a signature and the front of an address a password: neither is ever shown, and a
token or a password goes to the origin (scheme, host and port) that it is for and to no other.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from localllm.core.text import printable
from localllm.errors import LocalLLMError, UsageError
from localllm.hub.tokens import TRUE, hub_token

DEFAULT_ENDPOINT = "https://huggingface.co"
HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})
FILE_PAGES = ("blob", "resolve", "raw")
"""What stands before the revision in the address of a file on the Hub."""
_HUB_FILE = re.compile(rf"(/[^/]+/[^/]+)/(?:{'|'.join(FILE_PAGES)})/(.+)")
_SAFE = "%/:=&?~+!$,;'@()*[]-._"
_COPY = "Pass the address of one .gguf file: on its page, copy the link of the download button."


class Origin(NamedTuple):
    """Whom a request goes to."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """``https://host``, with the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == usual else f":{self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The Hub that is asked, and what tells it who asks."""

    url: str
    """Without password and without a slash at its end; may have a path."""
    origin: Origin
    secret: str | None = field(default=None, repr=False)
    """The ``Authorization`` header, for this origin alone."""
    has_token: bool = False
    """Whether the secret is a token of the Hub, not the login of a mirror."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file on a server."""

    url: str
    """What is asked for: the query included, a password not."""
    secrets: Mapping[Origin, str] = field(default_factory=dict, repr=False)
    """The ``Authorization`` header for each origin that gets one."""

    @property
    def shown(self) -> str:
        """The address without its query, safe to print."""
        return shown_url(self.url)

    @property
    def name(self) -> str:
        """The name of the file, as it was before it was quoted for the address."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    def with_name(self, name: str) -> RemoteFile:
        """Return the file of another name beside this one."""
        parts = urlsplit(self.url)
        folder = parts.path.rpartition("/")[0]
        return replace(self, url=urlunsplit(parts._replace(path=f"{folder}/{quote(name)}")))


def begins_at_hub(text: str) -> bool:
    """Whether an address without its scheme is one of the Hub's."""
    host, slash, _ = text.partition("/")
    return bool(slash) and host.lower() in HUB_HOSTS


def remote_file(address: str, environ: Mapping[str, str] = os.environ) -> RemoteFile:
    """Read the address of a model file: any web address, or a page of it on the Hub.

    Raises UsageError for an address that cannot be one.
    """
    text = f"https://{address}" if begins_at_hub(address) else address
    try:
        parts = urlsplit(text.strip())
        origin = _origin(parts)
    except ValueError as error:
        raise UsageError(f"{_shown(address)} is not an address: {error}.", hint=_COPY) from None
    endpoint = hub_endpoint(environ)
    parts = _hub_parts(parts, endpoint.origin)
    name = unquote(parts.path.rpartition("/")[2])
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise UsageError(f"{_shown(address)} names no file.", hint=_COPY)
    secrets = {}
    if _origin(parts) == endpoint.origin and endpoint.secret is not None:
        secrets[endpoint.origin] = endpoint.secret
    if parts.username is not None:
        secrets[origin] = _login(parts)
    return RemoteFile(url=clean_url(urlunsplit(parts)), secrets=secrets)


def origin_of(url: str) -> Origin:
    """Return whom an address leads to. Raises ValueError where it is not http or https."""
    return _origin(urlsplit(url))


def shown_url(url: str) -> str:
    """Return an address as it may be printed: without query, fragment, name and password."""
    return _shown(url)


def clean_url(url: str) -> str:
    """Return an address with everything quoted that must be, without password and fragment.

    Raises ValueError where it is not http or https.
    """
    parts = urlsplit(url)
    scheme, host, port = _origin(parts)
    host = f"[{host}]" if ":" in host else host
    return urlunsplit(
        (
            scheme,
            f"{host}:{port}" if parts.port is not None else host,
            quote(parts.path or "/", safe=_SAFE),
            quote(parts.query, safe=_SAFE),
            "",
        )
    )


def redirected(url: str, target: str | None, *, shown: str, hint: str) -> str:
    """Return the address that an answer leads to, complete and safe to ask.

    ``shown``: what the errors call ``url``. Raises LocalLLMError for what is no address, and where
    it leaves https: anybody could listen. The address itself may be signed and is never shown.
    """
    try:
        to = clean_url(urljoin(url, target or ""))
    except ValueError:
        to = ""
    if not target or not to:
        raise LocalLLMError(f"{shown} leads to an address that is none.", hint=hint)
    if origin_of(url).scheme == "https" and origin_of(to).scheme == "http":
        raise LocalLLMError(
            f"{shown} leads from https to http ({origin_of(to).host}), where anyone could change"
            " the file.",
            hint=hint,
        )
    return to


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the person has asked for no network, of the Hub's tools or of us alone."""
    stated = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return stated.lower() in TRUE or environ.get("LOCALLLM_OFFLINE", "").lower() in TRUE


def hub_endpoint(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the Hub, or the mirror that ``HF_ENDPOINT`` names.

    Raises UsageError where that is no address: another than the one meant is never asked.
    """
    stated = (environ.get("HF_ENDPOINT") or "").strip() or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(stated)
        origin = _origin(parts)
        url = clean_url(urlunsplit(parts._replace(query=""))).rstrip("/")
    except ValueError as error:
        raise UsageError(
            f"HF_ENDPOINT ({_shown(stated)}) is not the address of a Hub: {error}.",
            hint="Unset it, or set it to an address such as https://huggingface.co.",
        ) from None
    if parts.username is not None:
        return Endpoint(url=url, origin=origin, secret=_login(parts))
    token = hub_token(environ)
    secret = f"Bearer {token}" if token else None
    return Endpoint(url=url, origin=origin, secret=secret, has_token=token is not None)


def _origin(parts: SplitResult) -> Origin:
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise ValueError("it begins with neither http:// nor https://")
    if not parts.hostname:
        raise ValueError("it names no host")
    try:
        host = parts.hostname.encode("idna").decode().lower()
    except UnicodeError:
        raise ValueError("the name of its host cannot be one") from None
    if not re.fullmatch(r"[a-z0-9.:_-]+", host):
        raise ValueError("the name of its host cannot be one")
    port = parts.port  # raises ValueError for one that is no number, or too large
    return Origin(scheme, host, (443 if scheme == "https" else 80) if port is None else port)


def _login(parts: SplitResult) -> str:
    """The header for the name and the password at the front of an address."""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _hub_parts(parts: SplitResult, endpoint: Origin) -> SplitResult:
    """The file behind a page of the Hub; any other address as it is."""
    origin = _origin(parts)
    is_hub = origin.host in HUB_HOSTS and origin.port in (80, 443)
    if not is_hub and origin != endpoint:
        return parts
    match = _HUB_FILE.fullmatch(parts.path)
    if match is None:
        if is_hub:
            raise UsageError(
                f"{_shown(urlunsplit(parts))} is a page of the Hub, not a file on it.", hint=_COPY
            )
        return parts
    if is_hub:
        parts = parts._replace(scheme="https", netloc="huggingface.co")
    query = "&".join(each for each in parts.query.split("&") if each != "download=true")
    return parts._replace(path=f"{match[1]}/resolve/{match[2]}", query=query)


def _shown(address: str) -> str:
    bare = address.partition("#")[0].partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    bare = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else bare
    return printable(bare[:300])
