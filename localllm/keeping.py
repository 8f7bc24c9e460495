"""Models that are here: what each is, what it would need, and how it goes.

Composition only: the folders are read and changed by ``hub/kept``, plans are made by the planner.
Everything is imported when it is used: most commands need none of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the shell asks for names while a line is typed
    import threading

    from localllm.core.described import Described, DescribedFile
    from localllm.core.fetching import ToFetch
    from localllm.core.kept import Inventory, KeptModel, Leftover, Pruning, Removal, Verdict
    from localllm.hub.gguf.parser import GGUFHeader
    from localllm.hub.resolve import LocalModel
    from localllm.planning import Plannable

_NAMED_BY_HASH = re.compile(r"(?:sha256-)?([0-9a-f]{64})")
"""A blob of the Hugging Face cache, or of Ollama."""


def kept_models(environ: Mapping[str, str] = os.environ) -> Inventory:
    """Return every model that is here, of all keepers; nothing of their content is read."""
    from localllm.hub.kept.inventory import everything

    return everything(environ)


def kept_names(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the models in the shared cache: quicker than looking at every keeper."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.kept.hf_cache import kept_in

    return tuple(each.name for each in kept_in(cache_root(environ)).models)


def named_kept(
    names: Sequence[str], environ: Mapping[str, str] = os.environ
) -> tuple[KeptModel, ...]:
    """Return the models here that names mean, each once; all of them without a name.

    Raises NotFoundError (exit 5) with the nearest names for one that means none.
    """
    models = kept_models(environ).models
    if not names:
        return models
    from localllm.hub.kept.by_name import kept_by_name

    found = [each for name in names for each in kept_by_name(name, models, environ)]
    return tuple(dict.fromkeys(found))


def kept_model(kept: KeptModel) -> LocalModel:
    """Return a kept model with its header. Raises what ``resolve_model`` does."""
    from localllm.hub.resolve import kept_model as read

    return read(kept)


def leftovers(environ: Mapping[str, str] = os.environ) -> tuple[Leftover, ...]:
    """Return what lies in the cache and no model needs."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.kept.leftovers import find_leftovers

    return find_leftovers(cache_root(environ))


def plan_removal(
    models: Sequence[KeptModel], *, force: bool = False, environ: Mapping[str, str] = os.environ
) -> Removal:
    """Return what removing models would delete. Raises UsageError (exit 2) for another program's,
    and LocalLLMError (1) for one that is in use, unless ``force``."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.kept.removal import plan_removal as plan

    return plan(models, cache_root(environ), force=force)


def remove(removal: Removal, *, force: bool = False) -> int:
    """Delete what a plan says; return the bytes that freed. Raises what ``plan_removal`` does."""
    from localllm.hub.kept.removal import remove as delete

    return delete(removal, force=force)


def plan_prune(
    *, superseded: bool, older_than_s: float, environ: Mapping[str, str] = os.environ
) -> Pruning:
    """Return what tidying the cache would delete, with ``superseded`` replaced revisions, too."""
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.kept.pruning import plan_prune as plan

    return plan(cache_root(environ), superseded=superseded, older_than_s=older_than_s)


def prune(pruning: Pruning) -> int:
    """Delete what a plan says; return the bytes that freed. Raises LocalLLMError (exit 1)."""
    from localllm.hub.kept.pruning import prune as delete

    return delete(pruning)


def verify(
    model: KeptModel, *, on_bytes: Callable[[int], None], stop: threading.Event | None = None
) -> Iterator[Verdict]:
    """Yield a verdict for each file of a model; ``on_bytes`` hears how many more were read.

    ``stop`` ends it from any thread, without a verdict for the file that it was at.
    """
    from localllm.hub.kept.verifying import verify as check

    return check(model, on_bytes=on_bytes, stop=stop)


def set_aside(verdict: Verdict, environ: Mapping[str, str] = os.environ) -> Path:
    """Move a corrupt file of the cache out of the way; return where it lies now.

    Raises UsageError (exit 2) for one that is not ours, LocalLLMError (1) for one that is in use.
    """
    from localllm.hub.cache_layout import cache_root
    from localllm.hub.kept.verifying import set_aside as move

    return move(verdict, cache_root(environ))


def described(name: str, found: Plannable, *, listed: ToFetch | None = None) -> Described:
    """Return what is known of a model that was found by its name, for a person to read.

    ``listed``: what the Hub's listing says of one that is not here.
    """
    from localllm.core.described import Described, DescribedFile
    from localllm.hub.headers.remote import RemoteModel
    from localllm.hub.known.models import KnownModel
    from localllm.hub.resolve import LocalModel

    if isinstance(found, KnownModel):
        facts = found.facts
        return Described(
            name=found.name,
            known_by="its recorded shape",
            spec=found.spec,
            template=None,
            licence=facts.licence,
            publisher=facts.publisher,
            is_gated=None,  # that of the repositories which have its files: they say it themselves
            notes=(
                *found.notes,
                f"Published at {facts.source}, read on {facts.checked}.",
                *_gate(facts.publisher, is_gated=facts.gated),
                _where_it_is(name),
            ),
        )
    assert isinstance(found, LocalModel | RemoteModel)
    if isinstance(found, LocalModel):
        files = tuple(_described_file(path) for path in found.paths)
    elif listed is not None:
        files = tuple(
            DescribedFile(place=file.path, n_bytes=file.n_bytes, sha256=file.sha256)
            for file in listed.files
        )
    else:
        files = (DescribedFile(place=found.url, n_bytes=found.spec.file_bytes),)
    template = found.header.template
    return Described(
        name=name,
        known_by="its files" if isinstance(found, LocalModel) else "its header on a server",
        spec=found.spec,
        template=template,
        arrays=_long_arrays(found.header),
        files=files,
        licence=listed.licence if listed else None,
        is_gated=listed.is_gated if listed else None,
        reasoning_markers=_reasoning_markers(template or ""),
        notes=found.notes,
    )


def _gate(publisher: str, *, is_gated: bool) -> tuple[str, ...]:
    """What to know of a publisher's own repository; conversions often are not gated."""
    return (f"{publisher}'s own repository wants its licence accepted first.",) if is_gated else ()


def _where_it_is(name: str) -> str:
    """From where a known name would be downloaded."""
    from localllm.hub.names.sources import repositories_of

    source = repositories_of(name.partition(":")[0])
    if source is None or not source.repos:
        return "No repository with its GGUF files is known."
    first, *others = source.repos
    return f"Downloaded from {first}{', else from ' if others else ''}{', '.join(others)}."


def _described_file(path: Path) -> DescribedFile:
    from localllm.core.described import DescribedFile

    real = path.resolve()
    named = _NAMED_BY_HASH.fullmatch(real.name) if real.parent.name == "blobs" else None
    return DescribedFile(
        place=str(path), n_bytes=real.stat().st_size, sha256=named[1] if named else None
    )


def _long_arrays(header: GGUFHeader) -> dict[str, tuple[str, int]]:
    """Keys whose values the reader has passed over."""
    return {
        key: (array.type, array.n)
        for key, array in header.arrays.items()
        if key not in header.metadata
    }


def _reasoning_markers(template: str) -> tuple[str, ...]:
    from localllm.engine.reasoning import TAGS, is_harmony

    markers = [pair.opening for pair in TAGS if pair.opening in template]
    return (*markers, *(["<|channel|>"] if is_harmony(template) else []))
