"""A person's words for models that are here -> these models, whole ones or not.

The name that a list prints means exactly that one. A repository, or a known model's name, means all
that is here of it, one quantisation where one is named.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from localllm.core.kept import KeptModel
from localllm.core.text import printable
from localllm.errors import NotFoundError
from localllm.hub.names.reading import DEFAULT_REVISION, PlainName, RepoName, ToolName

_AT = "@"


def kept_by_name(
    name: str, models: Sequence[KeptModel], environ: Mapping[str, str] = os.environ
) -> tuple[KeptModel, ...]:
    """Return the models among ``models`` that a name means, at least one.

    Raises NotFoundError (exit 5) with the nearest names, and UsageError (2) for what is no name.
    """
    found = [each for each in models if each.name.lower() == name.strip().lower()]
    found = found or _by_path(name, models) or _by_meaning(name, models, environ)
    if not found:
        raise _not_here(name, models)
    return tuple(found)


def _by_path(name: str, models: Sequence[KeptModel]) -> list[KeptModel]:
    """The models with a file at a path."""
    try:
        path = Path(os.path.abspath(Path(name).expanduser()))
    except RuntimeError:  # a home that nobody has
        return []
    return [
        each for each in models if path in each.missing or any(f.path == path for f in each.files)
    ]


def _by_meaning(
    name: str, models: Sequence[KeptModel], environ: Mapping[str, str]
) -> list[KeptModel]:
    from localllm.hub.resolve import meaning_of

    meant = meaning_of(name, environ)
    if isinstance(meant, ToolName):
        whole = f"{meant.tool}:{meant.name}".lower()
        return [each for each in models if f"{each.name.lower()}:".startswith(f"{whole}:")]
    if not isinstance(meant, RepoName | PlainName):
        return []
    from localllm.hub.names.sources import repo_candidates

    for candidate in repo_candidates(meant, environ):
        if found := _of_repository(candidate, models):
            return found
    return []


def _of_repository(wanted: RepoName, models: Sequence[KeptModel]) -> list[KeptModel]:
    """What is here of a repository; of the current revision, where none is named and it is here."""
    from localllm.hub.offers.offers import same_quant

    found = [
        each
        for each in models
        if each.repo is not None
        and each.repo.lower() == wanted.repo.lower()
        and (wanted.quant is None or same_quant(each.quant, wanted.quant))
        and (wanted.path is None or any(_is_file(wanted.path, f.path) for f in each.files))
    ]
    if wanted.revision == DEFAULT_REVISION:
        return [each for each in found if _AT not in each.name] or found
    return [
        each
        for each in found
        if f"{_AT}{wanted.revision}" in each.name or (each.commit or "").startswith(wanted.revision)
    ]


def _is_file(path: str, here: Path) -> bool:
    return here.as_posix().endswith(f"/{path}")


def _not_here(name: str, models: Sequence[KeptModel]) -> NotFoundError:
    by_key: dict[str, str] = {}
    for model in models:
        for key in (model.name, model.name.rpartition("/")[2]):
            by_key.setdefault(key.lower(), model.name)
    wanted = name.strip().lower()
    near = difflib.get_close_matches(wanted, list(by_key), n=6, cutoff=0.5)
    near += [key for key in by_key if wanted and wanted in key]
    names = list(dict.fromkeys(by_key[key] for key in near))[:3]
    return NotFoundError(
        f'"{printable(name[:200])}" is not among the models here.',
        hint=f"Did you mean {' or '.join(printable(each) for each in names)}?"
        if names
        else "`localllm list` shows what is here.",
    )
