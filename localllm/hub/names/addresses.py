"""Addresses of pages and files of the Hub -> the repository, the revision and the file they mean.

An address that leads anywhere else stays an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.hub.names.reading import (
    DEFAULT_REVISION,
    AddressName,
    RepoName,
    checked_repo,
    read_repo,
)
from localllm.hub.remote_url import FILE_PAGES, HUB_HOSTS, hub_endpoint, origin_of, shown_url

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NO_MODELS = {
    "datasets": "is a data set, not a model",
    "spaces": "is a space, not a model",
    **dict.fromkeys(
        ("api", "blog", "collections", "docs", "models", "organizations", "papers", "settings"),
        "is a page of the Hub, not a model",
    ),
}
_HINT = "Pass user/repo, or the address of its page or of one of its .gguf files."


def read_address(text: str, environ: Mapping[str, str]) -> RepoName | AddressName:
    """Return what an address means, written with ``https://`` or without.

    Raises UsageError for a page of the Hub that is no model's, and for what is no address.
    """
    address = text.strip()
    if _SCHEME.match(address) is None:
        scheme, _, mirror = hub_endpoint(environ).url.partition("://")
        is_mirror = address.lower().startswith(f"{mirror.partition('/')[0].lower()}/")
        address = f"{scheme if is_mirror else 'https'}://{address}"
    try:
        parts = urlsplit(address)
        origin = origin_of(address)
    except ValueError as error:
        if not address.lower().startswith(("http://", "https://")):
            raise UsageError(
                f"{printable(text[:200])} is no address that can be read.",
                hint="Addresses begin with https:// or http://.",
            ) from None
        raise UsageError(f"{shown_url(address)} is not an address: {error}.", hint=_HINT) from None
    if origin.host in HUB_HOSTS and origin.port in (80, 443):
        return _on_hub(address, parts, parts.path)
    endpoint_parts = urlsplit(hub_endpoint(environ).url)
    if origin == hub_endpoint(environ).origin and parts.path.startswith(f"{endpoint_parts.path}/"):
        path = parts.path[len(endpoint_parts.path) :]
        if _is_of_a_repo(path):
            return _on_hub(address, parts, path)
    return AddressName(address=text.strip())


def _is_of_a_repo(path: str) -> bool:
    """Whether a path on a mirror is that of a repository: it may serve other files as well."""
    segments = path.strip("/").split("/")
    if len(segments) == 2:
        return not path.lower().endswith(".gguf") or ":" in segments[1]
    return len(segments) > 3 and segments[2] in ("tree", *FILE_PAGES)


def _on_hub(address: str, parts: SplitResult, path: str) -> RepoName:
    shown = shown_url(address)
    segments = path.strip("/").split("/")
    if segments[0].lower() in _NO_MODELS:
        raise UsageError(f"{shown} {_NO_MODELS[segments[0].lower()]}.", hint=_HINT)
    if len(segments) < 2:
        raise UsageError(f"{shown} names no repository.", hint=_HINT)
    if len(segments) == 2:
        name = read_repo("/".join(map(unquote, segments)))
        shows = parse_qs(parts.query).get("show_file_info", [])  # the Hub's view into a GGUF file
        if shows and name.path is None and name.quant is None:
            return _file(shown, name.repo, name.revision, shows[0].split("/"))
        return name
    repo, kind, rest = "/".join(segments[:2]), segments[2], segments[3:]
    if kind in FILE_PAGES and rest:
        revision, names = _revision(rest)
        return _file(shown, repo, revision, names)
    if kind == "tree" and rest:
        revision, names = _revision(rest)
        return _folder(shown, repo, revision, names)
    if path.lower().endswith(".gguf"):
        return _file(shown, repo, DEFAULT_REVISION, [unquote(each) for each in segments[2:]])
    raise UsageError(f"{shown} is a page of the Hub, neither a model nor a file.", hint=_HINT)


def _revision(segments: Sequence[str]) -> tuple[str, list[str]]:
    """A revision and what comes behind it. ``refs/pr/1`` may stand there with its slashes."""
    if segments[0] == "refs" and len(segments) > 2 and segments[1] in ("pr", "convert"):
        return "/".join(segments[:3]), [unquote(each) for each in segments[3:]]
    return unquote(segments[0]), [unquote(each) for each in segments[1:]]


def _file(shown: str, repo: str, revision: str, names: Sequence[str]) -> RepoName:
    if not names or not names[-1].lower().endswith(".gguf") or any("/" in name for name in names):
        raise UsageError(f"{shown} names no .gguf file.", hint=_HINT)
    return checked_repo(repo, revision, path="/".join(names))


def _folder(shown: str, repo: str, revision: str, names: Sequence[str]) -> RepoName:
    """A folder that is named after a quantisation stands for it."""
    if not any(names):
        return checked_repo(repo, revision)
    from localllm.hub.offers.quant_label import UNKNOWN_QUANT, read_label

    quant = read_label(names[-1]).quant
    if quant == UNKNOWN_QUANT:
        raise UsageError(f"{shown} is a folder that is named after no quantisation.", hint=_HINT)
    return checked_repo(repo, revision, quant=quant)
