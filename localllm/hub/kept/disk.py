"""A repository's folder in the cache, as it is on disk: its revisions, their files, their names.

Other programs write here too, and what lies here is read and never trusted: what cannot be read, or
has a name that no repository has, is left away, with a note where a person would miss it. Links are
followed by one step at a time, since it is the first step that says what a file's hash should be.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localllm.core.text import printable
from localllm.errors import IntegrityError, UsageError
from localllm.hub.cache_layout import SHA1, RepoFolder, check_path

_MODELS = "models--"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_DEPTH = 16
_MAX_FILES = 50_000
_MAX_REF_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """One file of a revision."""

    path: Path
    name: str
    """In the repository, with slashes."""
    blob: Path | None
    """What it links to, by its first step; None for a file that is no link."""
    status: os.stat_result | None
    """Of its content, links followed; None where there is no ordinary file at the end."""

    @property
    def etag(self) -> str | None:
        """The hash that its blob's name states; None where that is no blob with a hash."""
        if self.blob is None or self.blob.parent.name != "blobs":
            return None
        return self.blob.name if _HASH.fullmatch(self.blob.name) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refs:
    """What points to a repository's revisions."""

    commits: dict[str, str]
    """By branch or tag."""
    broken: tuple[str, ...]
    """Branches and tags whose file holds no commit."""

    def naming(self, commit: str) -> tuple[str, ...]:
        """Return the branches and tags that point to a commit, ``main`` first."""
        found = (name for name, other in self.commits.items() if other == commit)
        return tuple(sorted(found, key=lambda name: (name != "main", name)))


def entries(folder: Path, notes: list[str]) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name; nothing where it is none, and a note if it is closed."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        notes.append(f"{printable(str(folder))} could not be read: {error.strerror}.")
        return []


def is_folder(entry: os.DirEntry[str], *, follow: bool = False) -> bool:
    """Whether an entry is a folder, or with ``follow`` a link to one; never an error."""
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False


def model_folders(root: Path, notes: list[str]) -> Iterator[RepoFolder]:
    """Yield the folders of models in the cache; of those without a user's name there are none."""
    for entry in entries(root, notes):
        if not entry.name.startswith(_MODELS) or not is_folder(entry, follow=True):
            continue
        user, dashes, name = entry.name.removeprefix(_MODELS).partition("--")
        if not dashes:
            continue
        try:
            yield RepoFolder(root=root, repo=f"{user}/{name}")
        except UsageError:
            notes.append(f"{printable(entry.name)} is no name of a repository and is left away.")


def commits_here(folder: RepoFolder, notes: list[str]) -> tuple[str, ...]:
    """Return the revisions that have a folder."""
    found = entries(folder.snapshots, notes)
    return tuple(each.name for each in found if SHA1.fullmatch(each.name) and is_folder(each))


def read_refs(folder: RepoFolder, notes: list[str]) -> Refs:
    """Return a repository's branches and tags. White space around a commit does no harm here,
    though huggingface_hub would not find it then."""
    commits: dict[str, str] = {}
    broken: list[str] = []
    for path, name in walk(folder.refs, notes):
        text = _beginning(path)
        if text is not None and SHA1.fullmatch(text.strip()):
            commits[name] = text.strip()
        else:
            broken.append(name)
    return Refs(commits=commits, broken=tuple(broken))


def snapshot_files(folder: RepoFolder, commit: str, notes: list[str]) -> tuple[SnapshotFile, ...]:
    """Return the files of a revision, those with names that no repository has left away."""
    found: list[SnapshotFile] = []
    for path, name in walk(folder.snapshots / commit, notes):
        try:
            check_path(name)
        except (IntegrityError, UnicodeError):
            notes.append(f"{printable(str(path))} has a name that no repository has.")
            continue
        found.append(
            SnapshotFile(path=path, name=name, blob=first_step(path), status=status_of(path))
        )
    return tuple(found)


def walk(folder: Path, notes: list[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files and links below a folder, with their path in it; links to folders too, and
    nothing of what is behind those: so it ends."""
    left = [(folder, "", 0)]
    n_files = 0
    while left:
        here, prefix, depth = left.pop()
        for entry in entries(here, notes):
            name = f"{prefix}{entry.name}"
            if not is_folder(entry):
                n_files += 1
                yield here / entry.name, name
            elif depth < _MAX_DEPTH:
                left.append((here / entry.name, f"{name}/", depth + 1))
        if n_files > _MAX_FILES:
            notes.append(f"{printable(str(folder))} holds too many files: not all were looked at.")
            return


def first_step(path: Path) -> Path | None:
    """Return what a link names, without following it further; None for what is no link."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    return Path(os.path.normpath(path.parent / target))


def is_temporary(name: str) -> bool:
    """Whether a link or reference was being made under this name, by us or by huggingface_hub."""
    return name.startswith(".") and name.endswith((".tmp", ".shared"))


def status_of(path: Path) -> os.stat_result | None:
    """Return what the system says of an ordinary file, links followed; None for all else."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _beginning(path: Path) -> str | None:
    """The first bytes of a small file; None for what cannot be read or is no ordinary file."""
    if status_of(path) is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(_MAX_REF_BYTES).decode("ascii", "replace")
    except OSError:
        return None
