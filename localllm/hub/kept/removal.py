"""Removing models from the cache: what goes, what stays because it is needed, and then doing it.

A model's links go first, then the blobs that nobody links to any more, then references and folders
that are of no use without them: at every moment the cache is one that other programs accept, and a
removal that was interrupted is finished by the same once more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from localllm.core.kept import Keeper, KeptModel, Removal
from localllm.core.text import printable
from localllm.errors import LocalLLMError, UsageError
from localllm.hub.kept import shared_store
from localllm.hub.kept.deleting import delete, lock_of
from localllm.hub.kept.disk import first_step, model_folders, status_of
from localllm.hub.kept.emptied import emptied
from localllm.hub.kept.links import Links
from localllm.hub.kept.locks import is_held
from localllm.hub.kept.users import users_of

_OTHERS: dict[Keeper, tuple[str, str]] = {
    "ollama": ("Ollama", "Remove it with: ollama rm {name}"),
    "lm-studio": ("LM Studio", "Remove it there, under My Models."),
    "llama.cpp": ("llama.cpp", "Delete its file: {name}"),
}
"""Keepers whose folders are only read, and how a model is removed there."""


def plan_removal(models: Sequence[KeptModel], root: Path, *, force: bool = False) -> Removal:
    """Return what removing models deletes. Deletes nothing.

    Raises UsageError for a model of another program (exit 2), and LocalLLMError for one that is in
    use, unless ``force``.
    """
    for model in models:
        _check_ours(model)
    paths = [path for model in models for path in (*(f.path for f in model.files), *model.missing)]
    root = Path(os.path.abspath(root))
    for path in paths:
        if not path.is_relative_to(root):
            raise UsageError(f"{printable(str(path))} is not in the cache at {root}.")
    removal = plan_files(paths, root, models=models)
    if not force:
        check_unused(removal)
    return removal


def remove(removal: Removal, *, force: bool = False) -> int:
    """Delete what a plan says, and return how many bytes that freed.

    That may be less than planned where somebody has begun to need a blob, and is what was left to
    do where an earlier try was interrupted. Raises LocalLLMError for a model that is in use, before
    anything is deleted, unless ``force``; and for a file that cannot be deleted.
    """
    if not force:
        check_unused(removal)
    return delete(removal, force=force)


def check_unused(removal: Removal) -> None:
    """Raise LocalLLMError where a file that would go is being written, or a process has it open."""
    for path in removal.delete:
        lock = lock_of(path, removal.root)
        if lock is not None and is_held(lock):
            raise LocalLLMError(
                f"{_what(removal)} is being downloaded or checked by another process.",
                hint="Wait until that has ended. --force removes it all the same.",
            )
    for user in users_of(path for path in removal.delete if status_of(path)):
        raise LocalLLMError(
            f"{_what(removal)} is in use by {user.program} (process {user.pid}).",
            hint="End that first. --force removes it all the same; the space comes back when that"
            " process ends.",
        )


def plan_files(
    paths: Iterable[Path],
    root: Path,
    *,
    models: Sequence[KeptModel] = (),
    also_gone: Collection[Path] = (),
    everywhere: bool = False,
) -> Removal:
    """Return what deleting files of revisions deletes with them.

    ``also_gone``: what will have been deleted by then. ``everywhere``: also tidy repositories that
    nothing is deleted in.
    """
    root = Path(os.path.abspath(root))
    plan = _Plan(root, [path for path in paths if os.path.lexists(path)])
    plan.decide_blobs()
    plan.decide_contents()
    gone = {*plan.files, *plan.blobs, *also_gone}
    touched = [
        folder
        for folder in model_folders(root, [])
        if everywhere or any(path.is_relative_to(folder.folder) for path in gone)
    ]
    ends = [path for folder in touched for path in emptied(folder, gone)]
    for path in ends:
        plan.count(path)
    freed_bytes, kept_bytes = plan.counted()
    return Removal(
        models=tuple(models),
        root=root,
        delete=(*plan.files, *plan.blobs, *plan.contents, *ends),
        freed_bytes=freed_bytes,
        shared_bytes=plan.shared_bytes + kept_bytes,
        shared_with=tuple(sorted(plan.shared_with)),
    )


class _Plan:
    """Which blobs go with some files of revisions."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root = root
        self.files = list(dict.fromkeys(files))
        self.blobs: list[Path] = []
        self.contents: list[Path] = []
        self.shared_bytes = 0
        self.shared_with: set[str] = set()
        self._links = Links(root)
        self._names: Counter[tuple[int, int]] = Counter()
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}

    def decide_blobs(self) -> None:
        """Blobs that no other file of a revision, and no other repository, links to."""
        going = {self._links.place(path) for path in self.files}
        seen: set[Path] = set()
        for path in self.files:
            blob = first_step(path)
            if blob is None:
                self.count(path)
            elif blob not in seen:
                seen.add(blob)
                others = self._links.to(blob) - going
                if not _is_own(path, blob):
                    self._stays(blob, {str(blob)})
                elif blob.parent.parent in self._links.unread:
                    self._stays(blob, {"a folder that could not be read"})
                elif others:
                    self._stays(blob, {self._who(other) for other in others})
                elif os.path.lexists(blob):
                    self.blobs.append(blob)

    def decide_contents(self) -> None:
        """Contents of the shared store that only these blobs need."""
        going = {self._links.place(blob) for blob in self.blobs}
        for blob in self.blobs:
            content = shared_store.content_of(blob, self.root)
            if first_step(blob) is None:
                self.count(blob)
            elif content is None:
                self._stays(blob, {str(first_step(blob))})
            elif content not in self.contents:
                users = shared_store.users_of(content, self.root)
                if users is None or self._links.unread:
                    self._stays(blob, {"others, of which there is no list"})
                    continue
                places = {self._links.place(user) for user in users} | self._links.to(content)
                if others := places - going:
                    self._stays(blob, {self._who(other) for other in others})
                else:
                    self.contents.append(content)
                    self.count(content)
                    self.count(shared_store.manifest_of(content))

    def count(self, path: Path) -> None:
        """Count a file that goes; its bytes come back when all its names have gone."""
        status = status_of(path)
        if status is None or first_step(path) is not None:
            return
        inode = (status.st_dev, status.st_ino)
        self._names[inode] += 1
        self._sizes[inode] = (status.st_size, status.st_nlink)

    def counted(self) -> tuple[int, int]:
        """Return the bytes that come back, and those that a hard link elsewhere keeps."""
        freed = kept = 0
        for inode, (n_bytes, n_links) in self._sizes.items():
            if self._names[inode] >= n_links:
                freed += n_bytes
            else:
                kept += n_bytes
                self.shared_with.add("a hard link elsewhere on this disk")
        return freed, kept

    def _stays(self, blob: Path, because_of: set[str]) -> None:
        status = status_of(blob)
        if status is not None:
            self.shared_bytes += status.st_size
            self.shared_with |= because_of

    def _who(self, link: Path) -> str:
        """The repository and revision that a link is in, for people."""
        try:
            folder, *rest = link.relative_to(os.path.realpath(self.root)).parts
        except ValueError:
            return printable(str(link))
        repo = folder.partition("--")[2].replace("--", "/", 1)
        is_revision = len(rest) > 2 and rest[0] == "snapshots"
        return printable(f"{repo}@{rest[1][:12]}" if is_revision else repo)


def _is_own(link: Path, blob: Path) -> bool:
    """Whether a revision's link names a blob of its own repository: others are nobody's here."""
    folder = blob.parent.parent
    return blob.parent.name == "blobs" and link.is_relative_to(folder / "snapshots")


def _check_ours(model: KeptModel) -> None:
    if model.can_be_removed:
        return
    program, how = _OTHERS[model.keeper]
    name = model.name.removeprefix("ollama:")
    raise UsageError(
        f"{printable(model.name)} belongs to {program}, whose folder is only read here.",
        hint=printable(how.format(name=name)),
    )


def _what(removal: Removal) -> str:
    names = [printable(model.name) for model in removal.models]
    if not names:
        return "A superseded revision"
    return names[0] if len(names) == 1 else f"{names[0]} or one of {len(names) - 1} more"
