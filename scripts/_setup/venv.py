"""The .venv of the checkout: made, recognised, repaired; and what goes into it from PyPI."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from _setup.errors import CommandFailed, SetupError, explain, failure
from _setup.facts import distribution
from _setup.run import run
from _setup.state import Steps
from _setup.talk import Talk

MARKER = "localllm-setup.json"
"""The file of finished steps; its presence says that the .venv is ours."""


class Venv:
    """A virtual environment, worked on by uv where it is there, else by venv and pip."""

    def __init__(
        self, root: Path, *, talk: Talk, environ: Mapping[str, str], locks: list[int]
    ) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin" / "python"
        self.talk = talk
        self.environ = clean(environ)
        self.locks = locks
        self.uv = shutil.which("uv", path=environ.get("PATH"))
        self.steps = Steps(self.path / MARKER)

    def run(self, command: list[str]) -> str:
        """A command in the checkout, under the lock."""
        return run(
            command,
            talk=self.talk,
            environ=self.environ,
            cwd=self.root,
            locks=self.locks,
            detail=_detail,
        )

    def works(self) -> bool:
        """Whether its Python is there, is new enough, and believes that it lives here."""
        if not os.access(self.python, os.X_OK):
            return False
        check = "import sys; print(sys.prefix); sys.exit(sys.version_info < (3, 11))"
        try:
            printed = self.run([str(self.python), "-I", "-c", check])
        except CommandFailed:
            return False
        return Path(printed.strip().splitlines()[-1]).resolve() == self.path.resolve()

    def change(self, step: str) -> None:
        """Before a step changes anything: closes the fast path and strikes the step out."""
        for stamp in self.path.glob("localllm-*.stamp"):
            stamp.unlink(missing_ok=True)
        self.steps.begin(step)

    def check(self) -> None:
        """Clears away a .venv of ours that was moved, half made, or whose Python is gone.

        Raises:
            SetupError: for a broken one that a person made: it is not ours to delete.
        """
        self._sweep()
        if self.steps.get("venv") == str(self.root) and self.works():
            return
        ours = self.steps.path.exists() and not self.steps.get("adopted")
        if ours:
            self._discard()
        elif self.path.exists() and not self.works() and not _is_empty(self.path):
            raise SetupError(
                f"{self.path} was not made by this set-up and its Python does not work",
                hint="Move it away or remove it, and run the same command again.",
            )
        self.steps = Steps(self.path / MARKER)

    def prepare(self) -> None:
        """Makes the .venv if there is none; one that the person made is used as it is.

        Raises:
            SetupError: when it cannot be made.
        """
        if self.steps.get("venv") == str(self.root):
            return
        if self.works():
            self.talk.say("  using the .venv that is there")
            self._require_pip()
            self.steps.finish("adopted", True)
        else:
            self.talk.step(
                f"Python {platform.python_version()} in .venv{', by uv' if self.uv else ''}"
            )
            self._begin()
            self._make()
        self.steps.finish("venv", str(self.root))
        self.talk.done()

    def _begin(self) -> None:
        """Puts .venv there with its file of steps in it: a half-made one is known as ours."""
        staged = Path(tempfile.mkdtemp(dir=self.root, prefix=".venv-old-")) / "venv"
        staged.mkdir()
        Steps(staged / MARKER).finish("begun", str(self.root))
        if self.path.exists():
            self.path.rmdir()
        staged.rename(self.path)
        self._sweep()

    def _require_pip(self) -> None:
        try:
            self.pip("--version")
        except CommandFailed:
            if self.uv is not None:
                self.install(["pip"], doing="installing pip failed")
                return
            try:
                self.run([str(self.python), "-I", "-m", "ensurepip", "--default-pip"])
            except CommandFailed as error:
                self._no_ensurepip(error)

    def _make(self) -> None:
        # The resolved interpreter: after an upgrade of the system's Python the link dangles, which
        # is seen; /usr/bin/python3 would silently become another version.
        base = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
        if self.uv is not None:
            try:
                make = [self.uv, "venv", "--seed", "--allow-existing", "--python", base]
                self.run([*make, str(self.path)])
                return
            except CommandFailed as error:
                self._uv_failed(error)
        try:
            self.run([base, "-I", "-m", "venv", str(self.path)])
        except CommandFailed as error:
            if "ensurepip" in error.tail or "No module named venv" in error.tail:
                self._no_ensurepip(error)
            raise failure("making .venv failed", error) from error

    def _no_ensurepip(self, error: CommandFailed) -> NoReturn:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise SetupError(
            f"this Python ({sys.executable}) comes without its parts venv and ensurepip",
            hint=f"sudo apt install {package}, then run the same command again."
            if distribution() == "debian"
            else "Install your system's package for them, or uv (https://docs.astral.sh/uv), "
            "and run the same command again.",
        ) from error

    def install(self, what: list[str], *, doing: str) -> None:
        """Installs requirements from PyPI.

        Raises:
            SetupError: with the cause, when it fails.
        """
        if self.uv is not None:
            try:
                self.run([self.uv, "pip", "install", "--python", str(self.python), *what])
                return
            except CommandFailed as error:
                self._uv_failed(error)
        try:
            self.pip("install", *what)
        except CommandFailed as error:
            raise failure(doing, error) from error

    def pip(self, command: str, *arguments: str) -> str:
        """pip of the .venv, which never asks a question."""
        pip = [str(self.python), "-I", "-m", "pip", command]
        return self.run([*pip, "--no-input", "--disable-pip-version-check", *arguments])

    def _uv_failed(self, error: CommandFailed) -> None:
        """uv knows neither pip's configuration nor its certificates, so pip gets its turn too."""
        known = explain(error.tail)
        if known is not None and "disk" in known[0]:
            raise failure("uv failed", error) from error
        self.talk.log("uv failed; trying pip")
        self.uv = None

    def _discard(self) -> None:
        """Takes the .venv out of the way in one move, then deletes it."""
        if self.path.is_symlink():
            self.path.unlink()
        elif self.path.exists():
            self.talk.say("  .venv is half made, moved, or its Python is gone: making it anew")
            self.path.rename(Path(tempfile.mkdtemp(dir=self.root, prefix=".venv-old-")) / "venv")
        self._sweep()

    def _sweep(self) -> None:
        for old in self.root.glob(".venv-old-*"):
            shutil.rmtree(old, ignore_errors=True)


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would send packages elsewhere or bend another Python."""
    dropped = {
        "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_DEPS",
        "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_DRY_RUN", "PYTHONHOME", "PYTHONPATH",
        "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON",
    }  # fmt: skip
    kept = {name: value for name, value in environ.items() if name not in dropped}
    # pip's five retries with growing pauses make "no network" a matter of minutes.
    kept.setdefault("PIP_RETRIES", "2")
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


def _detail(line: str) -> str | None:
    """A word about the progress, from a line of pip's or uv's output."""
    words = line.split()
    telling = {"Collecting", "Downloading", "Building", "Resolved", "Prepared"}
    if len(words) >= 2 and words[0] in telling:
        return " ".join(words[:2])
    return "installing" if line.startswith("Installing collected packages") else None


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
