"""Ollama's manifests: the contents that a model is made of, by media type, digest and size.

A manifest may also be a list of manifests, one for each kind of runner, whole or by the digest of
the blob that holds it (``manifest/manifest.go`` of ollama/ollama, 0018813).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm.hub.kept.folders import small_text

MODEL = "application/vnd.ollama.image.model"
ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})", re.IGNORECASE)
_MAX_BYTES = 1 << 20
_MAX_CHILDREN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One content of a model."""

    kind: str
    """Its media type."""
    sha256: str
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a model is made of."""

    layers: tuple[Layer, ...]
    config: Mapping[str, object]
    """What Ollama wrote down of the model; empty where that cannot be read."""

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        """Return the layers of one media type."""
        return tuple(layer for layer in self.layers if layer.kind == kind)


def read_manifest(path: Path, blobs: Path) -> Manifest | None:
    """Return a manifest, or of a list the first one that has a model in GGUF.

    None where the file cannot be read or is no manifest.
    """
    document = _document(path)
    if document is None:
        return None
    manifests = [_manifest(each, blobs) for each in (document, *_children(document, blobs))]
    return next((each for each in manifests if each.of_kind(MODEL)), manifests[0])


def blob_of(sha256: str, blobs: Path) -> Path:
    """Return where a content lies."""
    return blobs / f"sha256-{sha256}"


def _children(document: Mapping[str, object], blobs: Path) -> Iterator[Mapping[str, object]]:
    stated = document.get("manifests")
    for child in stated[:_MAX_CHILDREN] if isinstance(stated, list) else []:
        if not isinstance(child, dict):
            continue
        digest = _DIGEST.fullmatch(str(child.get("digest")))
        if "layers" in child:
            yield child
        elif digest is not None:
            yield _document(blob_of(digest[1].lower(), blobs)) or {}


def _manifest(document: Mapping[str, object], blobs: Path) -> Manifest:
    stated = document.get("layers")
    layers = (_layer(each) for each in (stated if isinstance(stated, list) else []))
    config = _layer(document.get("config"))
    return Manifest(
        layers=tuple(layer for layer in layers if layer is not None),
        config=(_document(blob_of(config.sha256, blobs)) if config is not None else None) or {},
    )


def _layer(stated: object) -> Layer | None:
    if not isinstance(stated, dict):
        return None
    digest = _DIGEST.fullmatch(str(stated.get("digest")))
    n_bytes = stated.get("size")
    if digest is None or type(n_bytes) is not int:
        return None
    return Layer(kind=str(stated.get("mediaType")), sha256=digest[1].lower(), n_bytes=n_bytes)


def _document(path: Path) -> dict[str, object] | None:
    text = small_text(path, _MAX_BYTES)
    try:
        document = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
