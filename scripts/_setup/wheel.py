"""A wheel of llama-cpp-python for one Build: from our cache, from its project's index, or compiled.

pip keeps wheels that it built by name and version alone, whatever CMAKE_ARGS were, so a CPU wheel
would come back when CUDA is asked for. Our cache, shared by all checkouts, is keyed by all that
matters:

    ~/.cache/localllm/wheels/KEY/*.whl    moved there whole
    ~/.cache/localllm/build/KEY/          sources and objects of a build that has not ended yet
    ~/.cache/localllm/sdist/*.tar.gz      the source distribution
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import tarfile
import time
from pathlib import Path

from _setup.choose import Build
from _setup.compiler import build_jobs
from _setup.errors import CommandFailed, SetupError, explain, last_words
from _setup.facts import cpu_identity, gpu_models
from _setup.lock import is_free, locked
from _setup.run import run
from _setup.state import digest
from _setup.venv import Venv

PACKAGE = "llama-cpp-python"
STALE_BUILD_S = 7 * 24 * 3600


def cache_folder(environ: dict[str, str], *, root: Path) -> Path:
    """Where wheels are kept; inside the checkout where the home folder cannot be written."""
    base = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "~", ".cache")
    folder = Path(base).expanduser() / "localllm"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = root / ".setup" / "cache"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_key(build: Build, *, version: str, environ: dict[str, str]) -> str:
    """Names a wheel by all that it depends on: for a source build this CPU, GPU, libc and flags."""
    name = f"{version}-{build.backend}-py3-{platform.machine()}"
    if build.how == "wheel":
        return f"{name}-{(build.index or '').rpartition('/')[2]}"
    toolchain = [
        environ.get(variable, "") for variable in ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CUDACXX")
    ]
    gpus = gpu_models() if build.backend == "cuda" else []
    made_for = [list(build.cmake_args), cpu_identity(), platform.libc_ver(), toolchain, gpus]
    return f"{name}-{digest(made_for)}"


class Wheels:
    """Finds or makes wheels of one version."""

    def __init__(self, venv: Venv, *, version: str) -> None:
        self.venv = venv
        self.talk = venv.talk
        self.version = version
        self.cache = cache_folder(venv.environ, root=venv.root)

    def cached(self, build: Build) -> Path | None:
        """The wheel, if the cache has it."""
        key = cache_key(build, version=self.version, environ=self.venv.environ)
        return next(iter((self.cache / "wheels" / key).glob("*.whl")), None)

    def forget(self, wheel: Path) -> None:
        """Drops a wheel that turned out not to work."""
        shutil.rmtree(wheel.parent, ignore_errors=True)

    def get(self, build: Build) -> Path:
        """The wheel, made if need be.

        Raises:
            CommandFailed: when it cannot be downloaded or compiled.
        """
        if (wheel := self.cached(build)) is not None:
            return wheel
        key = cache_key(build, version=self.version, environ=self.venv.environ)
        folder = self.cache / "build"
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep(folder)
        with locked(
            folder / f"{key}.lock",
            who=f"process {os.getpid()} in {self.venv.root}",
            waiting=lambda who: self.talk.step(
                f"waiting for {who or 'another checkout'}, which makes the same wheel"
            ),
            tick=self.talk.tick,
        ) as locks:
            self.talk.done()
            if (wheel := self.cached(build)) is not None:
                return wheel
            work = folder / key
            work.mkdir(exist_ok=True)
            self.talk.step(f"llama.cpp {self.version} ({build.label})")
            made = (
                self._download(build, work)
                if build.how == "wheel"
                else self._compile(build, work, locks)
            )
            wheel = self._keep(made, key)
            shutil.rmtree(work, ignore_errors=True)
            self.talk.done()
            return wheel

    def _keep(self, made: Path, key: str) -> Path:
        """Moves a wheel into the cache, in one step."""
        wheels = self.cache / "wheels"
        wheels.mkdir(exist_ok=True)
        staged = made.parent / key
        staged.mkdir(exist_ok=True)
        made = made.rename(staged / made.name)
        shutil.rmtree(wheels / key, ignore_errors=True)
        staged.rename(wheels / key)
        return wheels / key / made.name

    def _download(self, build: Build, work: Path) -> Path:
        """A prebuilt wheel; without ``--only-binary`` pip would compile a CPU build instead."""
        out = _empty(work / "out")
        self.venv.pip(
            "download", "--no-deps", "--only-binary", PACKAGE,
            "--extra-index-url", str(build.index), "--dest", str(out), f"{PACKAGE}=={self.version}",
        )  # fmt: skip
        return _only(out, "*.whl")

    def _compile(self, build: Build, work: Path, locks: list[int]) -> Path:
        source = work / "src"
        if not source.is_dir():
            sdist = self._sdist()
            part = _empty(work / "src.part")
            with tarfile.open(sdist) as archive:
                if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
                    archive.extraction_filter = tarfile.data_filter
                archive.extractall(part)
            (inner,) = part.iterdir()
            inner.rename(source)
        environ = dict(self.venv.environ)
        environ["CMAKE_ARGS"] = shlex.join(build.cmake_args)
        environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(build_jobs(build.backend)))
        out = _empty(work / "out")
        # Sources and objects stay at their places, so that ninja continues an interrupted build.
        run(
            [
                str(self.venv.python), "-I", "-m", "pip", "wheel", "-v",
                "--no-input", "--disable-pip-version-check", "--no-deps", "--no-cache-dir",
                "--wheel-dir", str(out),
                "--config-settings", f"build-dir={work / 'objects'}", str(source),
            ],
            talk=self.talk,
            environ=environ,
            cwd=work,
            locks=[*self.venv.locks, *locks],
            detail=_compiling,
        )  # fmt: skip
        return _only(out, "*.whl")

    def _sdist(self) -> Path:
        kept = self.cache / "sdist"
        kept.mkdir(exist_ok=True)
        for found in kept.glob(f"llama_cpp_python-{self.version}.tar.gz"):
            return found
        part = _empty(kept / f".part-{os.getpid()}")
        try:
            self.venv.pip(
                "download",
                "--no-deps",
                "--no-binary",
                PACKAGE,
                "--dest",
                str(part),
                f"{PACKAGE}=={self.version}",
            )
            fetched = _only(part, "*.tar.gz")
            return fetched.rename(kept / f"llama_cpp_python-{self.version}.tar.gz")
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _sweep(self, folder: Path) -> None:
        """Removes what was begun and not continued for a week."""
        for old in folder.iterdir():
            stale = old.is_dir() and time.time() - old.stat().st_mtime > STALE_BUILD_S
            if stale and is_free(folder / f"{old.name}.lock"):
                shutil.rmtree(old, ignore_errors=True)


def why_not(build: Build, error: CommandFailed | SetupError) -> str:
    """One line on why a build could not be had."""
    if isinstance(error, SetupError):
        return f"{build.label}: {error.message}"
    if "No matching distribution found" in error.tail and explain(error.tail) is None:
        return f"{build.label}: its index has no such wheel"
    known = explain(error.tail)
    return f"{build.label}: {known[0] if known else last_words(error.tail)}"


def _compiling(line: str) -> str | None:
    """How far a compilation is, from ninja's ``[12/153] ...`` or make's ``[ 8%] ...``."""
    if found := re.match(r"\s*\[(\d+)/(\d+)\]", line):
        return f"compiling {found[1]} of {found[2]}"
    if found := re.match(r"\s*\[ *(\d+)%\]", line):
        return f"compiling, {found[1]} %"
    if "Configuring CMake" in line:
        return "configuring"
    return None


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found
