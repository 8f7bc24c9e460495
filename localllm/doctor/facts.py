"""What the doctor knows before judging: plain values, so that a bug report is a test case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localllm.core.generation import EngineInfo
from localllm.core.hardware import Hardware
from localllm.core.kept import LeftoverKind
from localllm.core.metered.meters import SeenMeters


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program on the search path; ``path`` is None where it is not."""

    name: str
    path: str | None
    version: str | None = None
    """The first line that it says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that localllm writes to, or would make."""

    purpose: str
    path: str
    writable: bool
    free_bytes: int | None
    """Free space of its file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Where standard output goes."""

    is_terminal: bool
    columns: int
    encoding: str
    term: str
    colour_term: str = ""
    inside_tmux: bool = False
    no_colour: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverFile:
    """A file in the cache of models that no model needs."""

    kind: LeftoverKind
    path: str
    n_bytes: int
    repo: str | None
    in_use: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """Whom models are had from, and the state of the folder that they are kept in."""

    endpoint: str | None
    """Its address; None where ``HF_ENDPOINT`` is none."""
    endpoint_problem: str | None = None
    is_default: bool = True
    """Whether it is the Hub itself, not what ``HF_ENDPOINT`` names."""
    token_source: str | None = None
    """The variable or the file that has a token, be it a good one or not; its value is not here."""
    token_is_plain: bool = True
    """False where it has characters that no token has."""
    offline_by: str | None = None
    """The variable that forbids the network."""
    can_link: bool | None = None
    """Whether the folder can hold symbolic links; None where it is not there yet."""
    file_system: str | None = None
    """Its kind, where other machines may write there too."""
    leftovers: tuple[LeftoverFile, ...] = ()
    leftovers_problem: str | None = None
    """Why they could not be looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that ``diagnose`` judges."""

    localllm_version: str
    python_version: tuple[int, int, int]
    python: str
    """Path of the interpreter."""
    system: str
    """``Linux 6.8.0 (Ubuntu 24.04)``."""
    distribution: tuple[str, ...]
    """``ID`` and ``ID_LIKE`` of /etc/os-release, most specific first; empty elsewhere."""
    checkout: Path | None
    """The checkout that this localllm runs from, where ``scripts/localllm`` sets it up."""
    engine: EngineInfo | None
    engine_problem: str | None = None
    """Why there is no ``engine``, as a sentence."""
    engine_fix: str | None = None
    engine_pinned: str | None = None
    """The version of llama-cpp-python that this localllm asks for."""
    build: Mapping[str, Any] | None = None
    """The record of the set-up (``localllm-build.json``), where it made the installation."""
    hardware: Hardware
    meters: SeenMeters = field(default_factory=SeenMeters)
    tools: tuple[Tool, ...] = ()
    folders: tuple[Folder, ...] = ()
    hub: HubFacts
    packages: Mapping[str, str | None] = field(default_factory=dict)
    """Versions of what localllm stands on; None for what is not installed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that change what localllm does; a secret's value is left out."""
    terminal: Terminal
    demo_problem: str | None = None
    """Why ``demo`` cannot be used, or None."""

    def tool(self, name: str) -> Tool | None:
        """Return a tool that is installed, or None."""
        return next((tool for tool in self.tools if tool.name == name and tool.path), None)
