"""Ollama's folder of models, read only: ``ollama:llama3:8b``.

::

    <models>/manifests/<host>/<namespace>/<model>/<tag>      JSON, or a link to one among the blobs
    <models>/manifests-v2/<host>/<namespace>/<model>/<tag>   the same, since 2026
    <models>/blobs/sha256-<64 hex>                           content

as ``manifest/manifest.go`` and ``manifest/paths.go`` of ollama/ollama have it (0018813, c73feaf). A
manifest lists layers by media type, digest and size; it may also be a list of manifests, one for
each kind of runner, whole or by digest. ``<models>`` is ``OLLAMA_MODELS``, else
``~/.ollama/models``; installed as a service, Ollama has a home of its own.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.core.kept import Inventory, KeptFile, KeptModel
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.hub.kept.disk import entries, is_folder, status_of
from localllm.hub.kept.folders import home
from localllm.hub.kept.grouping import last_used_s
from localllm.hub.kept.ollama_manifest import ADAPTER, MODEL, Manifest, blob_of, read_manifest
from localllm.hub.offers.quant_label import UNKNOWN_QUANT, canonical_quant, read_label

PREFIX = "ollama:"
SERVICE_FOLDERS = (
    Path("/usr/share/ollama/.ollama/models"),
    Path("/var/lib/ollama/.ollama/models"),
    Path("/var/lib/ollama/models"),
)
"""Of Ollama's installer, and of distributions."""
_NAME = re.compile(r"[\w.%-]{1,128}", re.ASCII)
_LIBRARY = "library"
_LATEST = "latest"
_GUESSED = 1024
"""Bit of ``llama_ftype`` for a file type that was guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    """One manifest's place, which is its name."""

    models: Path
    manifest: Path
    host: str
    namespace: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """As Ollama shows a model of its own library."""
        namespace = "" if self.namespace == _LIBRARY else f"{self.namespace}/"
        return f"{namespace}{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """With its host, by which every program finds it."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def spellings(self) -> tuple[str, str, str]:
        """What it may be asked for as."""
        return self.short, self.full.partition("/")[2], self.full


def kept_by_ollama(
    environ: Mapping[str, str] = os.environ, *, services: Sequence[Path] = SERVICE_FOLDERS
) -> Inventory:
    """Return the models of every folder of Ollama's that can be read."""
    notes: list[str] = []
    tags = _tags(environ, services, notes)
    named = _names(tags)
    models = [_kept(tag, named[tag.manifest], notes) for tag in tags]
    return Inventory(models=tuple(filter(None, models)), notes=tuple(notes))


def find_ollama(
    name: str,
    environ: Mapping[str, str] = os.environ,
    *,
    services: Sequence[Path] = SERVICE_FOLDERS,
) -> tuple[KeptModel, ...]:
    """Return what Ollama calls by a name: ``llama3:8b``, ``llama3`` for its ``latest``.

    In any case, with or without namespace and host.
    """
    wanted = name.removeprefix(PREFIX).lower()
    if ":" not in wanted.rpartition("/")[2]:
        wanted = f"{wanted}:{_LATEST}"
    notes: list[str] = []
    tags = _tags(environ, services, notes)
    named = _names(tags)
    alike = [tag for tag in tags if wanted in (spelling.lower() for spelling in tag.spellings)]
    found = (_kept(tag, named[tag.manifest], notes) for tag in alike)
    return tuple(model for model in found if model is not None)


def _tags(
    environ: Mapping[str, str], services: Sequence[Path], notes: list[str]
) -> tuple[_Tag, ...]:
    stated = environ.get("OLLAMA_MODELS", "").strip("\"' ")
    folders = [Path(stated)] if stated else []
    folders += [home(environ) / ".ollama" / "models", *services]
    found: dict[tuple[str, str, str, str, str], _Tag] = {}
    for real, models in {os.path.realpath(folder): folder for folder in folders}.items():
        for manifests in ("manifests-v2", "manifests"):
            for tag in _tags_below(models, models / manifests, notes):
                found.setdefault((real, tag.host, tag.namespace, tag.model, tag.tag), tag)
    return tuple(found.values())


def _tags_below(models: Path, manifests: Path, notes: list[str]) -> Iterator[_Tag]:
    for host in _folders(manifests, notes):
        for namespace in _folders(manifests / host, notes):
            for model in _folders(manifests / host / namespace, notes):
                folder = manifests / host / namespace / model
                for entry in entries(folder, notes):
                    if _NAME.fullmatch(entry.name) and not entry.name.startswith("."):
                        yield _Tag(
                            models=models,
                            manifest=folder / entry.name,
                            host=host,
                            namespace=namespace,
                            model=model,
                            tag=entry.name,
                        )


def _folders(folder: Path, notes: list[str]) -> list[str]:
    found = entries(folder, notes)
    return [each.name for each in found if _NAME.fullmatch(each.name) and is_folder(each)]


def _names(tags: Sequence[_Tag]) -> dict[Path, str]:
    """A name for each, by its manifest: short for the hosts that have Ollama's library, the others
    with their host, as Ollama shows them; and with it where two hosts' would be called the same."""
    libraries = {tag.host for tag in tags if tag.namespace == _LIBRARY}
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for tag in tags:
        hosts[tag.short.lower()].add(tag.host)
    return {
        tag.manifest: PREFIX
        + (
            tag.short
            if tag.host in libraries and len(hosts[tag.short.lower()] & libraries) == 1
            else tag.full
        )
        for tag in tags
    }


def _kept(tag: _Tag, name: str, notes: list[str]) -> KeptModel | None:
    """The model of a manifest; None where it has none in GGUF, or cannot be read."""
    blobs = tag.models / "blobs"
    manifest = read_manifest(tag.manifest, blobs)
    if manifest is None:
        notes.append(f"{printable(str(tag.manifest))} is no manifest of Ollama's that can be read.")
        return None
    weights = manifest.of_kind(MODEL)
    if len(weights) > 1:
        notes.append(
            f"{printable(name)} is in {len(weights)} files with names by which llama.cpp does not"
            " put them together."
        )
    if len(weights) != 1:
        return None
    blob = blob_of(weights[0].sha256, blobs)
    status = status_of(blob)
    is_whole = status is not None and status.st_size == weights[0].n_bytes
    files: tuple[KeptFile, ...] = ()
    if status is not None and is_whole:
        files = (KeptFile(path=blob, n_bytes=status.st_size, sha256=weights[0].sha256),)
    return KeptModel(
        name=name,
        keeper="ollama",
        repo=None,
        commit=None,
        quant=_quant(tag, manifest, blob if is_whole else None),
        files=files,
        n_parts=1,
        last_used_s=last_used_s([status] if status is not None else []),
        missing=() if is_whole else (blob,),
        note="Its adapter is applied by Ollama only." if manifest.of_kind(ADAPTER) else None,
    )


def _quant(tag: _Tag, manifest: Manifest, file: Path | None) -> str:
    """By the tag, else by what Ollama wrote down of the model, else by the file's header."""
    for name in (tag.tag, tag.model):
        if (label := read_label(name).quant) != UNKNOWN_QUANT:
            return label
    stated = manifest.config.get("file_type")
    if isinstance(stated, str) and canonical_quant(stated) is not None:
        return stated.upper()
    return _stated_quant(file) if file is not None else UNKNOWN_QUANT


def _stated_quant(path: Path) -> str:
    """What a file's header says that it is."""
    from localllm.hub.gguf.reader import read_header  # seldom needed, and not for nothing
    from localllm.hub.gguf.types import FILE_TYPES

    try:
        stated = read_header(path).metadata.get("general.file_type")
    except LocalLLMError:
        return UNKNOWN_QUANT
    number = stated & ~_GUESSED if isinstance(stated, int) else -1
    return FILE_TYPES.get(number, UNKNOWN_QUANT)
