"""Plain folders of model files, as other programs keep them: the models below one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localllm.core.kept import Keeper, KeptModel
from localllm.hub.kept.disk import status_of, walk
from localllm.hub.kept.grouping import FoundFile, groups_of, kept_model
from localllm.system.folders import expanded


def home(environ: Mapping[str, str]) -> Path:
    """Return the person's own folder. Raises UsageError where there is none."""
    return expanded("~", environ)


def models_below(
    folder: Path,
    *,
    keeper: Keeper,
    repo: str | None,
    notes: list[str],
    quant: str | None = None,
    path: str | None = None,
    deep: bool = True,
) -> tuple[KeptModel, ...]:
    """Return the models in a folder and, if ``deep``, below it; their first parts' paths name them.

    With ``quant`` or ``path`` (below the folder, of any part) those that have it.
    """
    found = [
        FoundFile(name=name, path=place, status=status)
        for place, name in walk(folder, notes)
        if (deep or "/" not in name)
        and name.lower().endswith(".gguf")
        and (status := status_of(place)) is not None
    ]
    groups = groups_of(found, repo=repo or "", quant=quant, path=path)
    return tuple(kept_model(group, keeper=keeper, repo=repo) for group in groups)


def small_text(path: Path, max_bytes: int) -> str | None:
    """Return a text file; None where it cannot be read, is too large, or is no text."""
    status = status_of(path)
    if status is None or status.st_size > max_bytes:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
