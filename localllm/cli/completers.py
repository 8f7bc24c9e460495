"""What the shell offers for names of models, machines and files while a command is typed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def complete_model(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer ``demo``, and the folders and ``.gguf`` files under what was typed so far."""
    names = [name for name in ("demo",) if name.startswith(incomplete)]
    return items([*names, *_paths(incomplete, ".gguf")])


def complete_plannable(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer what ``complete_model`` does, the models that are here, and those that are known."""
    return [
        *complete_model(ctx, parameter, incomplete),
        *complete_kept(ctx, parameter, incomplete),
        *complete_known(ctx, parameter, incomplete),
    ]


def complete_kept(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the models that were fetched here."""
    return items(name for name in _kept() if name.startswith(incomplete))


def complete_known(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the models whose shapes are recorded."""
    from localllm.lookups import model_names

    return items(name for name in model_names() if name.startswith(incomplete))


def complete_hardware(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of hardware profiles, and folders and ``.json`` files."""
    from localllm.session import hardware_names

    names = [name for name in hardware_names() if name.startswith(incomplete)]
    return items([*names, *_paths(incomplete, ".json")])


def items(names: Iterable[str]) -> list[CompletionItem]:
    """Return words in the form that the shell is told."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names]


def _kept() -> tuple[str, ...]:
    """What the shared cache holds; nothing where it cannot be read."""
    from localllm.errors import LocalLLMError
    from localllm.keeping import kept_names

    try:
        return kept_names()
    except (LocalLLMError, OSError):
        return ()


def _paths(incomplete: str, suffix: str) -> list[str]:
    """Folders, with a final slash, and files ending in ``suffix`` that begin as typed."""
    folder, slash, start = incomplete.rpartition("/")
    base = Path(os.path.expanduser((folder + slash) or "."))
    try:
        entries = sorted(base.iterdir())
    except OSError:
        return []
    found = []
    for entry in entries:
        hidden = entry.name.startswith(".") and not start.startswith(".")
        if hidden or not entry.name.startswith(start):
            continue
        if entry.is_dir():
            found.append(f"{folder}{slash}{entry.name}/")
        elif entry.name.endswith(suffix):
            found.append(f"{folder}{slash}{entry.name}")
    return found
