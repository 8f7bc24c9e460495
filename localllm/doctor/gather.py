"""What the doctor looks at: the installation, the engine, the machine, folders and the terminal."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from localllm import __version__
from localllm.core.generation import EngineInfo
from localllm.core.text import printable
from localllm.doctor.facts import Facts, Folder, Terminal, Tool
from localllm.errors import LocalLLMError

PACKAGES = (
    "click",
    "rich",
    "prompt_toolkit",
    "platformdirs",
    "psutil",
    "nvidia-ml-py",
    "jinja2",
    "huggingface-hub",
)
TOOLS = ("c++", "g++", "clang++", "cmake", "nvcc", "hipcc", "glslc", "nvidia-smi")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_SYMLINKS",
    "HF_ENDPOINT",
    "HF_TOKEN",
)
_SECRETS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
_TOOL_TIMEOUT_S = 5.0
BUILD_RECORD = "localllm-build.json"
"""Written beside the interpreter's environment by the set-up of a checkout."""


def gather(environ: Mapping[str, str] = os.environ, *, stdout: TextIO | None = None) -> Facts:
    """Return what there is to know. Asks llama.cpp in a child process, about half a second.

    ``stdout``: the terminal, for a shell that has put something else in its place.
    """
    from localllm.doctor.hub import gather_hub
    from localllm.engine.info import engine_info
    from localllm.lookups import power_meters
    from localllm.probes.machine import detect

    engine: EngineInfo | None = None
    problem: LocalLLMError | None = None
    try:
        engine = engine_info()
    except LocalLLMError as error:
        problem = error
    hardware = detect(engine.devices if engine else None)
    return Facts(
        localllm_version=__version__,
        python_version=sys.version_info[:3],
        python=sys.executable,
        system=_system(),
        distribution=_distribution(Path("/etc/os-release")),
        checkout=_checkout(),
        engine=engine,
        engine_problem=problem.message if problem else None,
        engine_fix=problem.hint.removeprefix("Run: ") if problem and problem.hint else None,
        engine_pinned=_pinned_engine(),
        build=read_build_record(Path(sys.prefix) / BUILD_RECORD),
        hardware=hardware,
        meters=power_meters(hardware),
        tools=tuple(_tool(name) for name in TOOLS),
        folders=_folders(environ),
        hub=gather_hub(environ),
        packages={name: _version(name) for name in PACKAGES},
        environment=chosen_variables(environ),
        terminal=_terminal(environ, sys.stdout if stdout is None else stdout),
        demo_problem=_demo_problem(),
    )


def chosen_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change what localllm does; secrets as ``(set)``.

    An address is told without what may stand in it: a name, a password, a query.
    """
    names = [name for name in _VARIABLES if name in environ]
    names += sorted(name for name in environ if name.startswith("LOCALLLM_"))
    return {
        name: "(set)" if any(word in name for word in _SECRETS) else _safe(environ[name])
        for name in names
    }


def _safe(value: str) -> str:
    from localllm.hub.remote_url import shown_url

    return shown_url(value) if "://" in value else value


def read_build_record(path: Path) -> dict[str, Any] | None:
    """Return the set-up's record of its build, or None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def folder(purpose: str, path: Path) -> Folder:
    """Return whether a folder can be written, or made, and how much room there is."""
    existing = next((p for p in (path, *path.parents) if p.exists()), None)
    writable = existing is not None and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    try:
        free = shutil.disk_usage(existing).free if existing is not None else None
    except OSError:
        free = None
    return Folder(purpose=purpose, path=str(path), writable=writable, free_bytes=free)


def _folders(environ: Mapping[str, str]) -> tuple[Folder, ...]:
    from localllm.hub.cache_layout import cache_root
    from localllm.records.state import state_dir
    from localllm.system.folders import own_folder

    return (
        folder("models", cache_root(environ)),
        folder("state", state_dir(environ)),
        folder("config", own_folder("config", environ)),
    )


def _checkout() -> Path | None:
    """Return the checkout whose ``.venv`` runs this, or None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    inside = Path(sys.prefix).resolve() == root / ".venv"
    return root if inside and (root / "scripts" / "localllm").is_file() else None


def _pinned_engine() -> str | None:
    try:
        requirements = metadata.requires("localllm") or []
    except metadata.PackageNotFoundError:
        return None
    for requirement in requirements:
        name, _, version = requirement.partition(";")[0].strip().partition("==")
        if name == "llama-cpp-python" and version:
            return version
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system() -> str:
    names = f"{platform.system()} {platform.release()}"
    try:
        pretty = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        pretty = platform.mac_ver()[0]
    return printable(f"{names} ({pretty})" if pretty else names)


def _distribution(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").strip("\"'").split()]
    return tuple(name.strip("\"'").split("-")[0] for name in names if name)


def _tool(name: str) -> Tool:
    path = shutil.which(name)
    if path is None:
        return Tool(name=name, path=None)
    if name == "nvidia-smi":  # wakes the GPU and takes a second; the driver's version is NVML's
        return Tool(name=name, path=path)
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            timeout=_TOOL_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Tool(name=name, path=path)
    return Tool(name=name, path=path, version=tool_version(done.stdout.decode("utf-8", "replace")))


def tool_version(output: str) -> str | None:
    """Return the line of a ``--version`` that names the version: nvcc's is its fourth."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    release = next((line for line in lines if "release" in line), None)
    line = release or (lines[0] if lines else None)
    return printable(line) if line else None


def _terminal(environ: Mapping[str, str], stdout: TextIO) -> Terminal:
    return Terminal(
        is_terminal=stdout.isatty(),
        columns=shutil.get_terminal_size().columns,
        encoding=getattr(stdout, "encoding", None) or "unknown",
        term=environ.get("TERM", ""),
        colour_term=environ.get("COLORTERM", ""),
        inside_tmux=bool(environ.get("TMUX")),
        no_colour=bool(environ.get("NO_COLOR")),
    )


def _demo_problem() -> str | None:
    from localllm.hub.resolve import resolve

    try:
        resolve("demo")
    except LocalLLMError as error:
        return f"the demo model cannot be used: {error.message}"
    return None
