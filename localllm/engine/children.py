"""What a child of the engine gets from its parent: an environment, and an ear for its stderr."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections import deque
from pathlib import Path

N_STDERR_LINES = 50
_MAX_LINE = 500
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


class StderrRing:
    """The last lines that the child printed. Any amount may pass through it."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: deque[str] = deque(maxlen=N_STDERR_LINES)
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; lines longer than 500 bytes are cut."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[:_MAX_LINE]
        for line in lines[-N_STDERR_LINES:]:
            text = line[:_MAX_LINE].decode("utf-8", "replace").rstrip()
            if text:
                self._lines.append(text)

    def tail(self) -> tuple[str, ...]:
        """Return the lines kept, an unfinished last one included."""
        rest = self._rest.decode("utf-8", "replace").rstrip()
        return (*self._lines, rest) if rest else tuple(self._lines)

    def clear(self) -> None:
        """Forget what belongs to earlier requests."""
        self._lines.clear()


def child_environment() -> dict[str, str]:
    """Return the environment of a child: no backtraces, no tokens, NVIDIA's libraries findable."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    environment["GGML_NO_BACKTRACE"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    folders = nvidia_library_folders()
    if folders:
        inherited = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = ":".join([*folders, *([inherited] if inherited else [])])
    root = Path(__file__).resolve().parents[2]
    if root.name not in ("site-packages", "dist-packages"):  # a checkout, perhaps not installed
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = ":".join([str(root), *([inherited] if inherited else [])])
    return environment


def nvidia_library_folders() -> list[str]:
    """Return the library folders of NVIDIA's packages from PyPI: ``nvidia/*/lib``."""
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else spec.submodule_search_locations or []
    return sorted(folder for root in roots for folder in glob.glob(f"{glob.escape(root)}/*/lib"))
