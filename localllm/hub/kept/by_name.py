"""A person's words for models that are here -> these models, whole ones or not.

The name that a list prints means exactly that one. A repository, or a known model's name, means all
that is here of its current revision, one quantisation where one is named; ``@revision`` means that
one, whatever else points to it, and no other.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from localllm.core.kept import KeptModel
from localllm.core.text import printable
from localllm.errors import NotFoundError, UsageError
from localllm.hub.cache_layout import cache_root
from localllm.hub.kept.hf_cache import find_kept, kept_in
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.kept.llama_cpp import find_llama_cpp
from localllm.hub.kept.lm_studio import find_lm_studio
from localllm.hub.names.reading import (
    DEFAULT_REVISION,
    ModelName,
    PlainName,
    RepoName,
    ToolName,
)
from localllm.system.folders import expanded


def kept_by_name(
    name: str, models: Sequence[KeptModel], environ: Mapping[str, str] = os.environ
) -> tuple[KeptModel, ...]:
    """Return the models here that a name means, at least one.

    ``models``: what is listed, where a revision that changed nothing of a model has none; what a
    name means is looked up in the folders. Raises NotFoundError (exit 5) with the nearest names,
    and UsageError (2) for what is no name.
    """
    found = [each for each in models if each.name.lower() == name.strip().lower()]
    found = found or _by_path(name, models, environ)
    if found:
        return tuple(found)
    from localllm.hub.resolve import meaning_of

    meant = meaning_of(name, environ)
    found = _by_meaning(meant, models, environ)
    if not found:
        raise _not_here(name, meant, models, environ)
    return tuple(found)


def _by_path(name: str, models: Sequence[KeptModel], environ: Mapping[str, str]) -> list[KeptModel]:
    """The models with a file at a path."""
    try:
        path = Path(os.path.abspath(expanded(name, environ)))
    except (UsageError, ValueError):  # a home that nobody has; a null character
        return []
    root = Path(os.path.abspath(cache_root(environ)))
    unlisted = kept_in(root).models if path.is_relative_to(root) else ()
    for among in (models, unlisted):
        found = [
            each
            for each in among
            if path in each.missing or any(file.path == path for file in each.files)
        ]
        if found:
            return found
    return []


def _by_meaning(
    meant: ModelName, models: Sequence[KeptModel], environ: Mapping[str, str]
) -> list[KeptModel]:
    if isinstance(meant, ToolName):
        whole = f"{meant.tool}:{meant.name}".lower()
        return [each for each in models if f"{each.name.lower()}:".startswith(f"{whole}:")]
    for candidate in _candidates(meant, environ):
        if found := _of_repository(candidate, environ):
            return found
    return []


def _candidates(meant: ModelName, environ: Mapping[str, str]) -> tuple[RepoName, ...]:
    if not isinstance(meant, RepoName | PlainName):
        return ()
    from localllm.hub.names.sources import repo_candidates

    return repo_candidates(meant, environ)


def _of_repository(wanted: RepoName, environ: Mapping[str, str]) -> list[KeptModel]:
    """What is here of a repository, of the current revision where none is named and it is here.

    What the cache has comes before what other programs have: so it does when it is run.
    """
    ours = find_kept(
        cache_root(environ),
        wanted.repo,
        quant=wanted.quant,
        path=wanted.path,
        revision=wanted.revision,
        every_revision=True,
    )
    found = list(ours) or list(_of_others(wanted, environ))
    if wanted.revision == DEFAULT_REVISION:
        return [each for each in found if each.is_current] or found
    return found


def _of_others(wanted: RepoName, environ: Mapping[str, str]) -> tuple[KeptModel, ...]:
    theirs: tuple[KeptModel, ...] = ()
    if wanted.revision == DEFAULT_REVISION:  # LM Studio knows of no other
        theirs = find_lm_studio(wanted.repo, quant=wanted.quant, path=wanted.path, environ=environ)
    return theirs or find_llama_cpp(
        wanted.repo,
        quant=wanted.quant,
        path=wanted.path,
        revision=wanted.revision,
        environ=environ,
    )


def _not_here(
    name: str, meant: ModelName, models: Sequence[KeptModel], environ: Mapping[str, str]
) -> NotFoundError:
    message = f'"{printable(name[:200])}" is not among the models here.'
    if repo := _with_orphans(_candidates(meant, environ), environ):
        return NotFoundError(
            message,
            hint=f"Contents of {repo} are left that no model of it has any more: `localllm prune`"
            " lists and deletes them.",
        )
    by_key: dict[str, str] = {}
    for model in models:
        for key in (model.name, model.name.rpartition("/")[2]):
            by_key.setdefault(key.lower(), model.name)
    wanted = name.strip().lower()
    near = difflib.get_close_matches(wanted, list(by_key), n=6, cutoff=0.5)
    near += [key for key in by_key if wanted and wanted in key]
    names = list(dict.fromkeys(by_key[key] for key in near))[:3]
    return NotFoundError(
        message,
        hint=f"Did you mean {' or '.join(printable(each) for each in names)}?"
        if names
        else "`localllm list` shows what is here.",
    )


def _with_orphans(candidates: Sequence[RepoName], environ: Mapping[str, str]) -> str | None:
    """The repository of which a removal that was interrupted has left contents, if one has."""
    if not candidates:
        return None
    wanted = {candidate.repo.lower() for candidate in candidates}
    return next(
        (
            each.repo
            for each in find_leftovers(cache_root(environ))
            if each.kind == "orphan" and each.repo is not None and each.repo.lower() in wanted
        ),
        None,
    )
