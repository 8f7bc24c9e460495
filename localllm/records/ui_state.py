"""What the terminal UI remembers from one run to the next: the theme. One small file of JSON.

It lies in the state folder and not in ``config.toml``: that one is the person's own, with their
comments and their order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from localllm.records.state import state_dir

_FILE = "ui.json"
_MOST_BYTES = 64 * 1024


def remembered_theme(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the theme that was chosen last; None without one, or a file of use."""
    theme = _read(state_dir(environ) / _FILE).get("theme")
    return theme if isinstance(theme, str) else None


def remember_theme(theme: str, environ: Mapping[str, str] = os.environ) -> None:
    """Keep a theme's name; what else the file holds stays. Raises OSError."""
    path = state_dir(environ) / _FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{_FILE}.{os.getpid()}.new")
    try:
        fresh.write_text(json.dumps({**_read(path), "theme": theme}) + "\n", encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, object]:
    """Return what is kept; nothing of a file that is not as we write it."""
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
