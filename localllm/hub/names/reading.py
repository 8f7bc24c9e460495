"""What a person may call a model -> what they mean. Nothing is looked up here: text in, values out.

``llama-3-70b``, ``llama-3-70b:Q5_K_M``, ``user/repo``, ``user/repo:Q4_K_M``,
``user/repo@revision:Q4_K_M``, ``hf.co/user/repo:IQ4_XS``, a page or a file of the Hub or of the
mirror that ``HF_ENDPOINT`` names, any other address, ``ollama:llama3:8b``, a path.

The one thing asked is whether something of that name is here: a file comes before any name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.hub.remote_url import begins_at_hub

DEMO = "demo"
DEFAULT_REVISION = "main"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)+(@[\w./%-]*)?(:[\w./-]*)?")
"""What may be a name on the Hub; anything else with a slash is a path."""
_REPO_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_REPO_FORM = re.compile(r"(?P<repo>[^@:]+)(?:@(?P<revision>[^:]*))?(?::(?P<quant>.*))?", re.DOTALL)
_QUANT = re.compile(r"[A-Z0-9][A-Z0-9_.-]{0,39}")
_SAYS_QUANT = re.compile(
    r"(?:i1[-_])?(?:ud[-_])?(?:i?q\d|tq\d|mxfp\d|nvfp\d|bf16|fp?16|fp?32)[\w.-]*", re.IGNORECASE
)
"""What behind a colon is a quantisation, and no size (``8b``) or kind (``instruct``)."""
_TOOLS = ("ollama",)
_ANY = "latest"
"""Ollama's word for no tag at all."""
_COPY = "On the page of the file, copy the link of its download button."


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoName:
    """A repository on the Hub, or one file of it."""

    repo: str
    """``user/repo``, checked."""
    revision: str = DEFAULT_REVISION
    quant: str | None = None
    """As a file is named: ``Q4_K_M``, ``UD-Q4_K_XL``; in capitals."""
    path: str | None = None
    """The one file that an address names; a part stands for its model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainName:
    """An alias, a person's own or a known model's, or nothing that is known."""

    name: str
    """Without the quantisation."""
    quant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressName:
    """An address outside the Hub: its header can be read, for a plan."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathName:
    """A file or folder here, be it there or not; or ``demo``."""

    path: str
    """As it was given: a ``~`` at its beginning is the reader's to expand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolName:
    """A model in another tool's folder: ``ollama:llama3:8b``."""

    tool: str
    name: str


ModelName = RepoName | PlainName | AddressName | PathName | ToolName


def read_name(
    text: str, environ: Mapping[str, str] = os.environ, *, looks_here: bool = True
) -> ModelName:
    """Return what a name means. Raises UsageError for one that can mean nothing.

    ``environ``: for ``HF_ENDPOINT``, and for the person's own aliases where a folder has the same
    name. ``looks_here``: False for a name whose meaning must not depend on the working folder.
    """
    if not text.strip():
        raise UsageError("The name of the model is empty.", hint=f"Try `{DEMO}`.")
    if "\0" in text:
        raise UsageError(f"{_shown(text)} holds a null character: it can be no name.")
    if _is_address(text, environ):
        from localllm.hub.names.addresses import read_address

        return read_address(text, environ)
    if text == DEMO or (looks_here and _is_here(text, environ)):
        return PathName(path=text)
    tool, colon, rest = text.partition(":")
    if colon and tool.strip().lower() in _TOOLS:
        return ToolName(tool=tool.strip().lower(), name=_tool_model(text, rest))
    if _is_path(text):
        return PathName(path=text)
    if "/" in text:
        return read_repo(text.strip())
    return _plain_name(text.strip())


def read_repo(text: str) -> RepoName:
    """Return the repository that ``user/repo[@revision][:QUANT]`` names.

    A file may stand in the place of the quantisation, and a quantisation in that of the revision,
    which is how LM Studio writes it. Raises UsageError for anything else.
    """
    from urllib.parse import unquote

    match = _REPO_FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{_shown(text)} is no name of a repository.", hint=_form())
    revision, quant = match["revision"], match["quant"]
    if revision and quant is None and _SAYS_QUANT.fullmatch(revision):
        revision, quant = None, revision
    if quant is not None and quant.lower().endswith(".gguf"):
        return checked_repo(match["repo"], unquote(revision or DEFAULT_REVISION), path=quant)
    if revision == "":
        raise UsageError(f"{_shown(text)} names no revision behind the @.", hint=_form())
    return checked_repo(
        match["repo"],
        unquote(revision or DEFAULT_REVISION),
        quant=None if quant is None else read_quant(quant, text),
    )


def checked_repo(
    repo: str, revision: str, *, quant: str | None = None, path: str | None = None
) -> RepoName:
    """Return a repository's name, its parts checked. Raises UsageError for a bad one."""
    from localllm.errors import IntegrityError
    from localllm.hub.cache_layout import check_path, check_repo, check_revision

    try:
        path = None if path is None else check_path(path)
    except IntegrityError:
        raise UsageError(f"{_shown(path or '')} is no path of a file.", hint=_COPY) from None
    return RepoName(
        repo=check_repo(repo), revision=check_revision(revision), quant=quant, path=path
    )


def read_quant(quant: str, text: str) -> str | None:
    """Return the quantisation behind a colon, in capitals; None for ``latest``.

    ``text`` is the whole name. Raises UsageError for what cannot be one.
    """
    wanted = quant.strip().upper()
    if wanted == _ANY.upper():
        return None
    if _QUANT.fullmatch(wanted):
        return wanted
    what = f'"{_shown(quant)}" is no quantisation' if quant else "nothing stands behind the colon"
    raise UsageError(f"In {_shown(text)} {what}.", hint=_form())


def _is_address(text: str, environ: Mapping[str, str]) -> bool:
    """Whether a name is an address, with its scheme or without it."""
    if _ADDRESS.match(text) or begins_at_hub(text):
        return True
    host = environ.get("HF_ENDPOINT", "").partition("://")[2].partition("/")[0].rpartition("@")[2]
    return bool(host) and text.lower().startswith(f"{host.lower()}/")


def _is_path(text: str) -> bool:
    """Whether a name is to be read as a path by its form alone."""
    if text.endswith(".gguf"):
        return ":" not in text or _HUB_NAME.fullmatch(text) is None
    if os.sep not in text and "/" not in text:
        return False
    return text.startswith((".", "~", os.sep)) or _HUB_NAME.fullmatch(text.strip()) is None


def _is_here(text: str, environ: Mapping[str, str]) -> bool:
    """Whether a name is that of something here, or of something in a folder that is here.

    A folder that has a user's name makes no path of that user's repositories.
    """
    path = _expanded(text)
    if os.path.isdir(path) and path.name == text:
        from localllm.hub.names.sources import is_name

        return not is_name(text, environ)  # a folder is no model, so the name is not meant for it
    if os.path.exists(path):
        return True
    if _REPO_NAME.fullmatch(text.strip()) and not text.strip().lower().endswith(".gguf"):
        return False
    has_folder = (os.sep in text or "/" in text) and not {":", "@"} & set(text)
    return has_folder and os.path.isdir(path.parent)


def _expanded(text: str) -> Path:
    if text.startswith("~"):
        try:
            return Path(text).expanduser()
        except RuntimeError:  # nobody of that name
            pass
    return Path(text)


def _tool_model(text: str, name: str) -> str:
    name = name.removeprefix("//").strip()
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)*(:[\w.-]+)?", name):
        return name
    raise UsageError(
        f"{_shown(text)} names no model of that tool.", hint="It is written as ollama:llama3:8b."
    )


def _plain_name(text: str) -> PlainName:
    name, colon, tail = text.rpartition(":")
    if not colon:
        return PlainName(name=text)
    if not name.strip():
        raise UsageError(f"{_shown(text)} names no model before the colon.", hint=_form())
    if not tail or tail.lower() == _ANY or _SAYS_QUANT.fullmatch(tail):
        return PlainName(name=name, quant=read_quant(tail, text))
    from localllm.hub.offers.quant_label import UNKNOWN_QUANT, read_label

    label = read_label(tail)  # as Ollama writes it: llama3.1:8b-instruct-q4_K_M
    if label.quant != UNKNOWN_QUANT and tail.startswith(label.stem):
        return PlainName(name=f"{name}:{label.stem}", quant=label.quant)
    return PlainName(name=text)


def _form() -> str:
    return "A name is written as user/repo:Q4_K_M, with user/repo@REVISION:Q4_K_M for a revision."


def _shown(text: str) -> str:
    return printable(text[:200])
