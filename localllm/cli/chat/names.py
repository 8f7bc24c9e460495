"""Names, times and progress as a chat writes them."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from localllm.core.text import printable
from localllm.session import LocalModel
from localllm.units import format_bytes

_BAR = 16
_MAX_NAME = 28


def label(model: LocalModel) -> str:
    """Return a model's name and quantisation for a line that has little room."""
    name = printable(model.name).replace("\n", " ")
    name = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    quant = model.spec.quant
    return name if quant.lower() in name.lower() else f"{name} {quant}"


def reference(name: str) -> str:
    """Return a model's name so that it finds the same model from any folder."""
    path = Path(os.path.expanduser(name))
    return str(path.absolute()) if name != "demo" and path.is_file() else name


def now_text() -> str:
    """Return the time of an entry."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def progress_text(fraction: float, model: LocalModel) -> str:
    """Return how far a load has come, for one line."""
    filled = round(_BAR * fraction)
    n_bytes = model.spec.file_bytes
    done = f"{format_bytes(round(fraction * n_bytes))} of {format_bytes(n_bytes)}"
    bar = "█" * filled + "░" * (_BAR - filled)
    return f"loading {label(model)} {bar} {fraction:4.0%} · {done}"
