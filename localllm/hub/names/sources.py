"""Where the files of a model are on the Hub: a name -> the repositories to try, in order.

A plain name means the model that answers (``llama-3-8b`` is the instruct model). No name is led to
other weights than its own: a base model, a thinking one or a later release has repositories of its
own in its family's file, or none that are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from localllm.hub.known.index import Known, find_known, nearest_names
from localllm.hub.known.schema import Recorded
from localllm.hub.names.aliases import read_aliases
from localllm.hub.names.reading import PlainName, RepoName


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSource:
    """What is known of a model besides its shape."""

    name: str
    """The known name that was meant; as it was given for weights that have none."""
    repos: tuple[str, ...]
    """Repositories with its GGUF files, the first to try first; none where none is known."""
    licence: str
    gated: bool
    """Whether the publisher's own repository wants terms accepted; conversions often do not."""
    n_ctx_train: int | None
    family: str
    title: str


def repositories_of(name: str) -> KnownSource | None:
    """Return where a known model's files are; None for a name that is not known.

    ``name`` is without a quantisation. Raises IntegrityError for a family's file that is bad.
    """
    found = find_known(name)
    if found is None:
        return None
    facts = found.facts
    called, repos = _weights(name, found, facts)
    n_ctx = facts.hparams.get("n_ctx_train")
    return KnownSource(
        name=called,
        repos=repos,
        licence=facts.licence,
        gated=facts.gated,
        n_ctx_train=n_ctx if isinstance(n_ctx, int) else None,
        family=facts.family,
        title=facts.title if called == facts.name else called,
    )


def repo_candidates(
    name: RepoName | PlainName, environ: Mapping[str, str] = os.environ
) -> tuple[RepoName, ...]:
    """Return the repositories that a name may mean, the first to try first, its quantisation kept.

    The person's own names are followed. Empty for a name that is not known, and for a model of
    which no repository is. Raises UsageError for own names that make no sense.
    """
    if isinstance(name, RepoName):
        return (name,)
    meant = read_aliases(environ).meaning(name, environ)
    if isinstance(meant, RepoName):
        return (meant,)
    source = repositories_of(meant.name) if isinstance(meant, PlainName) else None
    if source is None or not isinstance(meant, PlainName):
        return ()
    return tuple(RepoName(repo=repo, quant=meant.quant) for repo in source.repos)


def is_name(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a name is a known one or the person's own, with ``:QUANT`` behind it or not."""
    bare = name.partition(":")[0]
    if find_known(name) is not None or find_known(bare) is not None:
        return True
    aliases = read_aliases(environ)
    return any(aliases.find(each) is not None for each in (name, bare))


def names_like(
    name: str,
    n: int = 3,
    *,
    kept: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """Return the names most like one that is not known, nearest first.

    Known ones, the person's own, and those of ``kept`` models.
    """
    return nearest_names(name, n, others=(*kept, *read_aliases(environ).names))


def _weights(name: str, found: Known, facts: Recorded) -> tuple[str, tuple[str, ...]]:
    """Whose weights a name means, and where they are."""
    own = found.variant or facts.name
    is_tuned = facts.is_tuned if found.variant is None else not own.endswith("-base")
    if found.words <= {"tuned" if is_tuned else "base"}:
        return own, facts.gguf if found.variant is None else facts.variants[own]
    return name.strip(), ()
