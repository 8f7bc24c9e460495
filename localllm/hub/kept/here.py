"""What a name means on this machine, without a network: the kept models that it finds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from localllm.core.kept import KeptModel
from localllm.hub.cache_layout import cache_root
from localllm.hub.names.reading import DEFAULT_REVISION, ModelName, PlainName, RepoName, ToolName


def kept_as(
    name: ModelName, *, quant: str | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[KeptModel, ...]:
    """Return the complete kept models that a name means, of one repository, the largest first.

    Of a known name's repositories the first that has something here counts. ``quant`` narrows it
    where the name does not. Raises what reading the person's own aliases does.
    """
    if isinstance(name, ToolName):
        from localllm.hub.kept.ollama import find_ollama

        return tuple(each for each in find_ollama(name.name, environ) if each.is_complete)
    if not isinstance(name, RepoName | PlainName):
        return ()
    from localllm.hub.names.sources import repo_candidates

    for candidate in repo_candidates(name, environ):
        found = _of_repository(candidate, candidate.quant or quant, environ)
        if found:
            return found
    return ()


def _of_repository(
    name: RepoName, quant: str | None, environ: Mapping[str, str]
) -> tuple[KeptModel, ...]:
    from localllm.hub.kept.hf_cache import find_kept
    from localllm.hub.kept.lm_studio import find_lm_studio

    found = find_kept(
        cache_root(environ), name.repo, quant=quant, path=name.path, revision=name.revision
    )
    if not found and name.revision == DEFAULT_REVISION:
        found = find_lm_studio(name.repo, quant=quant, path=name.path, environ=environ)
    whole = [each for each in found if each.is_complete]
    return tuple(sorted(whole, key=lambda each: -each.n_bytes))
