"""What is kept on this machine: models that were fetched here or by other tools, and leftovers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Keeper = Literal["hugging-face", "lm-studio", "ollama", "llama.cpp"]
"""Whose folder a model lies in. Ours is the first: the shared Hugging Face cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """One file of a kept model."""

    path: Path
    """Where llama.cpp opens it: a snapshot's link, or the file itself."""
    n_bytes: int
    """On disk, links followed."""
    sha256: str | None = None
    """What the folder says that its content hashes to; None where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """A model whose files, all or some, are here."""

    name: str
    """What ``localllm chat`` takes: ``user/repo:Q4_K_M``, ``ollama:llama3:8b``, or a path."""
    keeper: Keeper
    repo: str | None
    """``user/repo``, where it has one."""
    commit: str | None
    """Of the snapshot; None outside the Hugging Face cache."""
    quant: str
    """As its file is named; ``?`` where the name does not say."""
    files: tuple[KeptFile, ...]
    """The parts, in order."""
    n_parts: int
    """How many there should be."""
    last_used_s: float
    """Seconds since 1970: the latest reading that the file system knows of."""
    is_current: bool = True
    """Whether a branch or tag points to its revision; False for one that was replaced, or was
    fetched by its commit."""
    missing: tuple[Path, ...] = ()
    """Where the parts that are not here would lie."""
    note: str | None = None
    """What a person should know before it is used, as a sentence."""

    @property
    def n_bytes(self) -> int:
        """Of all files that are here."""
        return sum(file.n_bytes for file in self.files)

    @property
    def is_complete(self) -> bool:
        """Whether every part is here: a partial file is none."""
        return len(self.files) == self.n_parts

    @property
    def can_be_removed(self) -> bool:
        """Whether it is ours to remove: other tools' folders are only read."""
        return self.keeper == "hugging-face"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What is kept, and what could not be read of it."""

    models: tuple[KeptModel, ...]
    notes: tuple[str, ...] = ()
    """Sentences."""


LeftoverKind = Literal["partial", "corrupt", "orphan", "dangling", "temporary"]
"""``partial``: of a download, perhaps one that can be resumed. ``corrupt``: kept as evidence.
``orphan``: a blob that no revision has. ``dangling``: a link to a blob that is gone.
``temporary``: of a link that was being made when its process ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file in the cache that no model needs, or not any more."""

    path: Path
    kind: LeftoverKind
    n_bytes: int
    repo: str | None
    """None for a blob that repositories shared."""
    age_s: float
    """Since it was last written."""
    in_use: bool = False
    """Another process has its lock, or has it open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What removing models deletes, and what stays because something else needs it."""

    models: tuple[KeptModel, ...]
    root: Path
    """Of the cache."""
    delete: tuple[Path, ...]
    """In the order of deletion: links, blobs, references, then folders that are empty by then."""
    freed_bytes: int
    """Of the contents that go. What has another name on this disk (a hard link) is none of them."""
    shared_bytes: int
    """Of the models' contents that stay: another revision, or another model, has them too."""
    shared_with: tuple[str, ...] = ()
    """Who that is: names of models or revisions, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What tidying the cache deletes."""

    leftovers: tuple[Leftover, ...]
    kept_back: tuple[Leftover, ...]
    """Those in use, or too young."""
    superseded: Removal
    """Revisions that nothing points to any more, and folders that are empty."""

    @property
    def freed_bytes(self) -> int:
        """Bytes that it gives back."""
        return sum(each.n_bytes for each in self.leftovers) + self.superseded.freed_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What checking one file's content gave."""

    path: Path
    n_bytes: int
    result: Literal["ok", "corrupt", "unknown", "missing"]
    """``unknown``: nothing says what the content should be."""
    reason: str | None = None
