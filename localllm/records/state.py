"""Where localllm keeps its state: one folder, private to the person."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from localllm.system.folders import own_folder


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder, which may not exist yet: ``LOCALLLM_STATE_DIR``, or the system's."""
    return own_folder("state", environ)


def measurements_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that holds them; removing it forgets them."""
    return state_dir(environ) / "measurements.jsonl"


def history_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that holds what was run; removing it forgets it."""
    return state_dir(environ) / "history.jsonl"


def shortfalls_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that holds where memory ran out; removing it forgets that."""
    return state_dir(environ) / "shortfalls.jsonl"


def private_dir(path: Path) -> Path:
    """Make a folder that only its owner can enter, and return it. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def private_file(path: Path) -> Path:
    """Make a file that only its owner can read, if there is none, and return it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    return path
