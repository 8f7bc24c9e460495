"""A checkout that the real scripts can set up without a network.

Its pyproject.toml builds with a backend of its own (twenty lines, standard library) and needs no
packages; the wheel cache holds a wheel of llama-cpp-python that is a shim over the libllama of the
interpreter that runs this suite. So venv, pip, locks, guards, steps, stamps and the question to
llama.cpp are the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from _setup.choose import Build, Facts, source_build
from _setup.state import engine_version, read_project
from _setup.venv import clean
from _setup.wheel import cache_key

REPOSITORY = Path(__file__).parents[2]

BACKEND = """
import base64, hashlib, zipfile
from pathlib import Path

def build_editable(folder, settings=None, metadata=None):
    name, version = "localllm", "0.1.0"
    info = f"{name}-{version}.dist-info"
    files = {
        "localllm-here.pth": str(Path.cwd()) + "\\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": "[console_scripts]\\nlocalllm = localllm.cli.main:main\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\\n" for each in files) + f"{info}/RECORD,,\\n"
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder, wheel), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
"""

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "localllm"
version = "0.1.0"

[project.optional-dependencies]
engine = ["llama-cpp-python=={version}"]

[dependency-groups]
test = []
"""

MAIN = """
import sys

def main():
    print("localllm got", sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """One such checkout, and the environment its scripts run in."""

    root: Path
    environ: dict[str, str]

    @property
    def script(self) -> str:
        """The path of scripts/localllm."""
        return str(self.root / "scripts" / "localllm")

    @property
    def version(self) -> str:
        """The version of llama-cpp-python that is pinned."""
        return engine_version(read_project(self.root))

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """scripts/localllm ARGUMENTS, to its end, from another folder."""
        return subprocess.run(
            [self.script, *arguments],
            env=self.environ | environ,
            cwd=self.root.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """scripts/localllm ARGUMENTS, begun, in a session of its own."""
        return subprocess.Popen(
            [self.script, *arguments],
            env=self.environ | environ,
            cwd=self.root.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def cache_wheel(self, backend: str = "cpu") -> Path:
        """Puts the shim where the set-up looks for a source build of this backend."""
        build = source_build(backend, Facts(system=_system(), machine="any"))
        return shim_wheel(self._wheel_folder(build), version=self.version)

    def _wheel_folder(self, build: Build) -> Path:
        key = cache_key(build, version=self.version, environ=clean(self.environ))
        return Path(self.environ["XDG_CACHE_HOME"], "localllm", "wheels", key)

    def record(self) -> dict[str, Any]:
        """What the set-up wrote down for ``localllm doctor``."""
        text = (self.root / ".venv" / "localllm-build.json").read_text()
        record: dict[str, Any] = json.loads(text)
        return record

    def forget(self, *names: str) -> None:
        """Takes finished steps back: the next set-up has them to do."""
        venv = self.root / ".venv"
        steps = json.loads((venv / "localllm-setup.json").read_text())
        for name in names:
            steps["steps"].pop(name, None)
        (venv / "localllm-setup.json").write_text(json.dumps(steps))
        for stamp in venv.glob("*.stamp"):
            stamp.unlink()

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the checkout with its size and its time of change."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
        }


def _system() -> str:
    return "darwin" if sys.platform == "darwin" else "linux"


def shim_wheel(folder: Path, *, version: str, library: Path | None = None) -> Path:
    """A wheel named llama-cpp-python around a libllama, by default this very interpreter's."""
    if library is None:
        found = find_spec("llama_cpp")
        assert found is not None and found.origin is not None, "llama-cpp-python is not installed"
        suffix = "dylib" if sys.platform == "darwin" else "so"
        library = Path(found.origin).parent / "lib" / f"libllama.{suffix}"
    files = {
        "llama_cpp/__init__.py": b"",
        "llama_cpp/llama_cpp.py": f"import ctypes\n_lib = ctypes.CDLL({str(library)!r})\n".encode(),
    }
    return make_wheel(folder, "llama_cpp_python", version, files)


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A wheel of these files that pip takes."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents = {**files, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": tag.encode()}
    record = [f"{path},{_digest(data)},{len(data)}" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return wheel


def _digest(data: bytes) -> str:
    raw = hashlib.sha256(data).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A checkout that is set up, and what its first command printed."""

    checkout: Checkout
    first: subprocess.CompletedProcess[str]
    record: dict[str, Any]
    """What the set-up wrote down for ``localllm doctor``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardship:
    """What a checkout went through: moved, then its set-up killed at every step, and completed."""

    before: Checkout
    """Where it was, set up."""
    checkout: Checkout
    """Where it is."""
    killed_at: tuple[str, ...]
    stamps_after_kills: tuple[list[Path], ...]
    after: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def hardship(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Hardship:
    """A copy of the checkout that was set up, elsewhere: its .venv is to be made anew."""
    folder = tmp_path_factory.mktemp("hardship")
    moved = Checkout(root=folder / "moved", environ=ready.checkout.environ)
    shutil.copytree(ready.checkout.root, moved.root, symlinks=True)
    steps = ("in .venv", "its packages", "asking which devices")
    stamps = []
    for step in steps:
        killed = moved.start()
        wait_for(killed, step)
        time.sleep(0.3)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        stamps.append(list(moved.root.glob(".venv/*.stamp")))
    return Hardship(
        before=ready.checkout,
        checkout=moved,
        killed_at=steps,
        stamps_after_kills=tuple(stamps),
        after=moved.run("after"),
    )


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """What the process says on stderr, up to the line that holds the text."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"never said {text!r}, but: {said}")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout in a folder with a space in its name, with the shim in its cache."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """A checkout whose scripts/localllm has run once. The tests share it, and change its engine."""
    made = make_checkout(tmp_path_factory.mktemp("ready"))
    first = made.run("chat", "two words", "")
    assert first.returncode == 0, first.stderr
    return Ready(checkout=made, first=first, record=made.record())


def make_checkout(tmp_path: Path) -> Checkout:
    """A checkout, its cache and its home in this folder."""
    root = tmp_path / "a checkout"
    scripts = root / "scripts"
    scripts.mkdir(parents=True)
    for name in ("localllm", "test", "check", "setup.py"):
        shutil.copy2(REPOSITORY / "scripts" / name, scripts / name)
    shutil.copytree(
        REPOSITORY / "scripts" / "_setup",
        scripts / "_setup",
        ignore=shutil.ignore_patterns("__*__"),
    )
    version = engine_version(read_project(REPOSITORY))
    (root / "pyproject.toml").write_text(PYPROJECT.replace("{version}", version))
    (root / "backend.py").write_text(BACKEND)
    package = root / "localllm" / "cli"
    package.mkdir(parents=True)
    (package / "main.py").write_text(MAIN)
    made = Checkout(root=root, environ=_environment(tmp_path))
    made.cache_wheel()
    return made


def _environment(tmp_path: Path) -> dict[str, str]:
    """A plain environment: no uv, no GPU build by accident, no index to ask."""
    folders = os.environ["PATH"].split(os.pathsep)
    return {
        "PATH": os.pathsep.join(f for f in folders if not Path(f, "uv").exists()),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHON": sys.executable,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "LOCALLLM_BACKEND": "cpu",
        "LC_ALL": "C.UTF-8",
    }
