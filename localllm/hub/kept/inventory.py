"""Everything that is kept on this machine, by us and by others, each file once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from localllm.core.kept import Inventory, KeptModel
from localllm.hub.cache_layout import cache_root
from localllm.hub.kept.hf_cache import kept_in
from localllm.hub.kept.llama_cpp import kept_by_llama_cpp
from localllm.hub.kept.lm_studio import kept_by_lm_studio
from localllm.hub.kept.ollama import kept_by_ollama


def everything(environ: Mapping[str, str] = os.environ) -> Inventory:
    """Return all models that can be found, by name.

    A model whose files are those of one before it, by a link or in a revision that changed nothing
    of it, is left away. Our own cache comes first, then LM Studio's, Ollama's and llama.cpp's.
    """
    found = [
        kept_in(cache_root(environ)),
        kept_by_lm_studio(environ),
        kept_by_ollama(environ),
        kept_by_llama_cpp(environ),
    ]
    models: list[KeptModel] = []
    seen: set[frozenset[tuple[int, int]]] = set()
    for model in (model for each in found for model in each.models):
        files = frozenset(_inode(file.path) for file in model.files)
        if not files or files not in seen:
            models.append(model)
        seen.add(files)
    models.sort(key=lambda model: (model.name.lower(), model.name))
    notes = dict.fromkeys(note for each in found for note in each.notes)
    return Inventory(models=tuple(models), notes=tuple(notes))


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
