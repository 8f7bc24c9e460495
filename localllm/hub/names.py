"""What a person may call a model -> what they mean. Nothing is looked up here: text in, values out.

``llama-3-70b``, ``llama-3-70b:Q5_K_M``, ``user/repo``, ``user/repo:Q4_K_M``,
``user/repo@revision:Q4_K_M``, ``hf.co/user/repo:IQ4_XS``, a page or a file of the Hub or of the
mirror that ``HF_ENDPOINT`` names, any other address, a path.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_REVISION = "main"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolName:
    """A model in another tool's folder: ``ollama:llama3:8b``."""

    tool: str
    name: str


ModelName = RepoName | PlainName | AddressName | PathName | ToolName
