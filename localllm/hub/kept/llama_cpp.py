"""llama.cpp's own cache, read only: what ``llama-cli -mu`` and older versions of ``-hf`` fetched.

Files lie side by side in ``LLAMA_CACHE``, or ``llama.cpp`` in the system's folder for caches
(``fs_get_cache_directory`` in ``common/common.cpp``). ``-hf`` uses the layout of the Hugging Face
cache by now, in ``LLAMA_CACHE`` where that is set (``common/hf-cache.cpp``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from localllm.core.kept import Inventory, KeptModel
from localllm.hub.kept.folders import home, models_below
from localllm.hub.kept.hf_cache import find_kept, kept_in


def kept_by_llama_cpp(environ: Mapping[str, str] = os.environ) -> Inventory:
    """Return the models in llama.cpp's cache, each named by the path of its first part."""
    notes: list[str] = []
    stated = environ.get("LLAMA_CACHE")
    if not stated:
        folder = _usual_folder(environ)
        return Inventory(models=_flat(folder, notes), notes=tuple(notes))
    folder = Path(stated)
    shared = kept_in(folder)
    in_layout = [_theirs(model) for model in shared.models]
    return Inventory(models=(*in_layout, *_flat(folder, notes)), notes=(*shared.notes, *notes))


def find_llama_cpp(
    repo: str,
    *,
    quant: str | None = None,
    path: str | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[KeptModel, ...]:
    """Return the models of one repository in ``LLAMA_CACHE``, found as ``find_kept`` does."""
    stated = environ.get("LLAMA_CACHE")
    if not stated:
        return ()
    found = find_kept(
        Path(stated), repo, quant=quant, path=path, revision=revision, every_revision=True
    )
    return tuple(_theirs(model) for model in found)


def _theirs(model: KeptModel) -> KeptModel:
    return replace(model, keeper="llama.cpp", name=str(model.files[0].path))


def _flat(folder: Path, notes: list[str]) -> tuple[KeptModel, ...]:
    return models_below(folder, keeper="llama.cpp", repo=None, notes=notes, deep=False)


def _usual_folder(environ: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        return home(environ) / "Library" / "Caches" / "llama.cpp"
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home(environ) / ".cache") / "llama.cpp"
