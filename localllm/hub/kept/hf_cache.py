"""The shared Hugging Face cache: which models are in it, read without a network.

A revision that ``main`` points to gives its models their plain name, ``user/repo:Q4_K_M``; another
branch or tag is named (``user/repo@v1:Q4_K_M``), and a revision that nothing points to any more by
the beginning of its commit. Where ``refs/main`` is empty or broken, as a crash of another program
may leave it, the newest revision with a whole model stands in, and the model's note says so.

Asked for ``main``, what another branch or tag names does not count: those are other weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.core.fetching import name_on_hub
from localllm.core.kept import Inventory, KeptModel
from localllm.hub.cache_layout import RepoFolder, check_repo
from localllm.hub.kept.disk import (
    Refs,
    SnapshotFile,
    commits_here,
    model_folders,
    read_refs,
    snapshot_files,
)
from localllm.hub.kept.grouping import FoundFile, Group, groups_of, kept_model

_MAIN = "main"
_N_SHOWN = 12
"""Digits of a commit in a name."""
_COMMIT_BEGINS = re.compile(r"[0-9a-f]{7,40}")
_ENDING = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revision:
    """One revision that is here, and its models."""

    commit: str
    refs: tuple[str, ...]
    groups: tuple[Group, ...]
    newest_s: float
    """When the last of its files was put there."""

    @property
    def has_whole_model(self) -> bool:
        return any(not group.missing for group in self.groups)


def kept_in(root: Path) -> Inventory:
    """Return every model in the cache at ``root``, which may not exist."""
    notes: list[str] = []
    models: list[KeptModel] = []
    for folder in model_folders(_absolute(root), notes):
        models += _models(folder, read_refs(folder, notes), notes)
    return Inventory(models=tuple(models), notes=tuple(notes))


def find_kept(
    root: Path,
    repo: str,
    *,
    quant: str | None = None,
    path: str | None = None,
    revision: str | None = None,
    every_revision: bool = False,
) -> tuple[KeptModel, ...]:
    """Return the models of one repository that are here, whole or in part.

    Names are compared as the Hub does, without regard to case. ``path``, of a file in the
    repository, takes the model that it belongs to, and goes before ``quant``. ``revision`` is a
    branch, a tag, or a commit or at least 7 digits of its beginning; without it all count, the
    current one first. For ``main`` those count that no branch or tag names as well, with a note.
    Of a model that several revisions have, only the first whole one is returned, unless
    ``every_revision``. What cannot be read is not here. Raises UsageError for what is no name.
    """
    notes: list[str] = []
    folder = _folder_of(_absolute(root), check_repo(repo), notes)
    if folder is None:
        return ()
    refs = read_refs(folder, notes)
    for_main = revision == _MAIN
    found = _models(folder, refs, notes, quant=quant, path=path, for_main=for_main)
    if revision is not None and not for_main:
        commits = _commits_named(revision, refs, found)
        found = [model for model in found if model.commit in commits]
    return tuple(found if every_revision else _first_of_each(found))


def _absolute(root: Path) -> Path:
    return Path(os.path.abspath(root))


def _folder_of(root: Path, repo: str, notes: list[str]) -> RepoFolder | None:
    exact = RepoFolder(root=root, repo=repo)
    if os.path.isdir(exact.folder):
        return exact
    alike = (each for each in model_folders(root, notes) if each.repo.lower() == repo.lower())
    return next(alike, None)


def _commits_named(revision: str, refs: Refs, models: Sequence[KeptModel]) -> set[str]:
    if revision in refs.commits:
        return {refs.commits[revision]}
    if not _COMMIT_BEGINS.fullmatch(revision):
        return set()
    return {model.commit for model in models if model.commit and model.commit.startswith(revision)}


def _first_of_each(models: Sequence[KeptModel]) -> list[KeptModel]:
    """Of what several revisions have, the first whole one; of the others the first."""
    chosen: dict[str, KeptModel] = {}
    for model in models:
        key = _in_revision(model) if os.path.isabs(model.name) else model.quant
        if key not in chosen or (model.is_complete and not chosen[key].is_complete):
            chosen[key] = model
    return list(chosen.values())


def _in_revision(model: KeptModel) -> str:
    """Where the first file of a model lies in its revision, which another one has it at, too."""
    return model.name.partition(f"/snapshots/{model.commit}/")[2]


def _models(
    folder: RepoFolder,
    refs: Refs,
    notes: list[str],
    *,
    quant: str | None = None,
    path: str | None = None,
    for_main: bool = False,
) -> list[KeptModel]:
    """A repository's models, the current revision's first, then the newest one's.

    ``for_main``: without those of revisions that only another branch or tag names.
    """
    revisions = list(_revisions(folder, refs, notes, quant=quant, path=path))
    stand_in = _stand_in(refs, revisions)
    revisions.sort(
        key=lambda each: (
            each is not stand_in and _MAIN not in each.refs,
            not each.refs,
            -each.newest_s,
        )
    )
    models: list[KeptModel] = []
    for revision in revisions:
        is_main = revision is stand_in or _MAIN in revision.refs
        if is_main or not revision.refs or not for_main:
            note = None if is_main or not for_main else _note(folder.repo, revision)
            models += _named(
                folder.repo, revision, refs, is_stand_in=revision is stand_in, note=note
            )
    return models


def _note(repo: str, revision: _Revision) -> str:
    """What to know of a revision that is taken though nothing says that it is ``main``'s."""
    return (
        f"No branch or tag of {repo} in the cache points to revision"
        f" {revision.commit[:_N_SHOWN]}, which is taken: it was replaced, or fetched by its commit."
    )


def _revisions(
    folder: RepoFolder, refs: Refs, notes: list[str], *, quant: str | None, path: str | None
) -> Iterator[_Revision]:
    for commit in commits_here(folder, notes):
        found = [file for file in map(_found, snapshot_files(folder, commit, notes)) if file]
        groups = groups_of(found, repo=folder.repo, quant=quant, path=path)
        if groups:
            newest_s = max(_put_there_s(file.path) for file in found)
            yield _Revision(
                commit=commit, refs=refs.naming(commit), groups=groups, newest_s=newest_s
            )


def _stand_in(refs: Refs, revisions: Sequence[_Revision]) -> _Revision | None:
    """The revision that is taken for a ``main`` that cannot be read."""
    if _MAIN not in refs.broken:
        return None
    whole = [revision for revision in revisions if revision.has_whole_model]
    return max(whole, key=lambda each: each.newest_s, default=None)


def _named(
    repo: str, revision: _Revision, refs: Refs, *, is_stand_in: bool, note: str | None
) -> Iterator[KeptModel]:
    name = revision.refs[0] if revision.refs else revision.commit[:_N_SHOWN]
    if is_stand_in:
        note = (
            f"refs/{_MAIN} of {repo} in the cache names no revision: the newest one here,"
            f" {revision.commit[:_N_SHOWN]}, is taken for it."
        )
        name = _MAIN
    for group in revision.groups:
        yield kept_model(
            group,
            keeper="hugging-face",
            repo=repo,
            name=name_on_hub(repo, name, group.quant),
            commit=revision.commit,
            is_current=bool(revision.refs) or is_stand_in or not (refs.commits or refs.broken),
            note=note,
        )


def _found(file: SnapshotFile) -> FoundFile | None:
    if file.status is None or not file.name.lower().endswith(_ENDING):
        return None
    sha256 = file.etag if file.etag is not None and len(file.etag) == 64 else None
    return FoundFile(name=file.name, path=file.path, status=file.status, sha256=sha256)


def _put_there_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
