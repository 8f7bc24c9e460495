"""LM Studio's folder of models, read only.

A model lies in ``<folder>/<publisher>/<repository>/*.gguf``, the names being those of the Hub
(https://lmstudio.ai/docs/basics/import-model). The folder is ``downloadsFolder`` of
``settings.json`` in LM Studio's home, else ``models`` there (``src/modelsFolder.ts`` of
lmstudio-ai/lms, 3cc0201). The home is what ``~/.lmstudio-home-pointer`` names, else the older
``~/.cache/lm-studio``, else ``~/.lmstudio`` (``findLMStudioHome`` of lms-common-server); all that
are there are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from localllm.core.kept import Inventory, KeptModel
from localllm.hub.kept.disk import entries, is_folder
from localllm.hub.kept.folders import home, models_below, small_text

_MAX_SETTINGS_BYTES = 1 << 20


def kept_by_lm_studio(environ: Mapping[str, str] = os.environ) -> Inventory:
    """Return the models in LM Studio's folders; each has the path of its first part for a name."""
    notes: list[str] = []
    models = [
        model
        for folder in _model_folders(environ)
        for place, repo in _repositories(folder, notes)
        for model in models_below(place, keeper="lm-studio", repo=repo, notes=notes)
    ]
    return Inventory(models=tuple(models), notes=tuple(notes))


def find_lm_studio(
    repo: str,
    *,
    quant: str | None = None,
    path: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[KeptModel, ...]:
    """Return LM Studio's models of one repository (``user/repo``, in any case).

    With ``path`` the one that a file belongs to, by its path in the repository.
    """
    notes: list[str] = []
    return tuple(
        model
        for folder in _model_folders(environ)
        for place, name in _repositories(folder, notes)
        if name is not None and name.lower() == repo.lower()
        for model in models_below(
            place, keeper="lm-studio", repo=name, notes=notes, quant=quant, path=path
        )
    )


def _repositories(folder: Path, notes: list[str]) -> Iterator[tuple[Path, str | None]]:
    """Yield the folders of models, with the repository that each is named after, if it is.

    Folders of these two levels may be links, as people make them who keep models on another disk.
    """
    for publisher in entries(folder, notes):
        if publisher.name.startswith(".") or not is_folder(publisher, follow=True):
            continue
        place = folder / publisher.name
        inner = [each for each in entries(place, notes) if is_folder(each, follow=True)]
        if not inner:
            yield place, None
        for each in inner:
            yield place / each.name, f"{publisher.name}/{each.name}"


def _model_folders(environ: Mapping[str, str]) -> list[Path]:
    """The folders that may hold models, without those that are the same."""
    homes = [home(environ) / ".lmstudio", home(environ) / ".cache" / "lm-studio"]
    pointer = small_text(home(environ) / ".lmstudio-home-pointer", 4096)
    if pointer is not None and os.path.isabs(pointer.strip()):
        homes.insert(0, Path(pointer.strip()))
    found: list[Path] = []
    for each in homes:
        stated = _stated_folder(each / "settings.json")
        found += [stated] if stated is not None else []
        found.append(each / "models")
    return list({os.path.realpath(folder): folder for folder in reversed(found)}.values())[::-1]


def _stated_folder(settings: Path) -> Path | None:
    text = small_text(settings, _MAX_SETTINGS_BYTES)
    try:
        stated = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    folder = stated.get("downloadsFolder") if isinstance(stated, dict) else None
    return Path(folder) if isinstance(folder, str) and os.path.isabs(folder) else None
