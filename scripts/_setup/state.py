"""What is done: a file of finished steps in .venv, and what pyproject.toml asks for.

A step is struck out before it begins and entered when it has ended, so what an interruption leaves
is always redone, and nothing else is. The stamp is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

SCHEMA = 1


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one move, after its bytes have reached the disk."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Steps:
    """The finished steps of one .venv: name to key, the key being what it was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            self._done: dict[str, Any] = dict(read["steps"]) if read["schema"] == SCHEMA else {}
        except (OSError, ValueError, KeyError, TypeError):
            self._done = {}

    def get(self, name: str) -> Any:
        """The key of a finished step, None where it is not finished."""
        return self._done.get(name)

    def begin(self, name: str) -> None:
        """Strikes a step out, on disk, before anything of it changes."""
        if self._done.pop(name, None) is not None:
            self._write()

    def finish(self, name: str, key: Any) -> None:
        """Enters a finished step."""
        self._done[name] = key
        self._write()

    def _write(self) -> None:
        document = {"schema": SCHEMA, "steps": self._done}
        write_atomically(self.path, json.dumps(document, indent=2) + "\n")


def read_project(root: Path) -> dict[str, Any]:
    """pyproject.toml, the one place that states versions and dependencies."""
    with (root / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def engine_version(project: dict[str, Any]) -> str:
    """The pinned version of llama-cpp-python: the one requirement of the extra ``engine``."""
    (requirement,) = project["project"]["optional-dependencies"]["engine"]
    name, _, version = str(requirement).partition("==")
    assert name == "llama-cpp-python" and version, requirement
    return version


def group_requirements(project: dict[str, Any], group: str) -> list[str]:
    """A dependency group's requirements, those of included groups too (PEP 735)."""
    found: list[str] = []
    for entry in project["dependency-groups"][group]:
        if isinstance(entry, str):
            found.append(entry)
        else:
            found += group_requirements(project, entry["include-group"])
    return found


def packages_key(project: dict[str, Any], *, root: Path) -> str:
    """Changes whenever localllm itself has to be installed anew; a new line for ruff does not."""
    parts = [
        str(root),
        project["build-system"],
        {key: value for key, value in project["project"].items() if key != "optional-dependencies"},
        project.get("tool", {}).get("hatch", {}),
    ]
    return digest(parts)


def digest(value: object) -> str:
    """A short fingerprint of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
