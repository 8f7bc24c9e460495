"""Whether C and C++ can be compiled here, and with how many jobs: asked before a build begins."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from _setup.errors import SetupError
from _setup.facts import distribution

HINTS = {
    "debian": "sudo apt install build-essential",
    "fedora": "sudo dnf install gcc-c++ make",
    "arch": "sudo pacman -S base-devel",
    "suse": "sudo zypper install gcc-c++ make",
    "alpine": "sudo apk add build-base linux-headers",
    "darwin": "xcode-select --install",
}

_PROGRAMS = (
    # language, variable, usual names, a program that needs the language's library
    (
        "C", "CC", ("cc", "gcc", "clang"), ".c",
        '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
    ),
    (
        "C++", "CXX", ("c++", "g++", "clang++"), ".cpp",
        "#include <vector>\nint main() { return (int) std::vector<int>().size(); }\n",
    ),
)  # fmt: skip


def hint() -> str:
    """How to install a compiler on this system, or on each of the usual ones."""
    family = "darwin" if sys.platform == "darwin" else distribution()
    if family in HINTS:
        return f"{HINTS[family]}, then run the same command again."
    return (
        f"Debian, Ubuntu: {HINTS['debian']} · Fedora: {HINTS['fedora']} · "
        f"Arch: {HINTS['arch']} · macOS: {HINTS['darwin']}; then run the same command again."
    )


def require_compiler(environ: Mapping[str, str]) -> None:
    """Compiles and links two lines of C and of C++.

    Raises:
        SetupError: with the package to install, where that fails.
    """
    why = "llama.cpp is compiled for this machine once"
    if (
        sys.platform == "darwin"
        and not environ.get("CC")
        and not _succeeds(["xcode-select", "-p"], environ)
    ):
        # Apple's cc without the tools behind it opens a window that asks to install them.
        raise SetupError(f"no C/C++ compiler found, and {why}", hint=hint())
    for language, variable, names, suffix, program in _PROGRAMS:
        given = shlex.split(environ.get(variable, ""))
        found = [path for name in names if (path := shutil.which(name, path=environ.get("PATH")))]
        command = given or found[:1]
        if not command or shutil.which(command[0], path=environ.get("PATH")) is None:
            raise SetupError(f"no {language} compiler found, and {why}", hint=hint())
        with tempfile.TemporaryDirectory(prefix="localllm-cc-") as folder:
            source = Path(folder, "check" + suffix)
            source.write_text(program)
            if not _succeeds([*command, str(source), "-o", str(Path(folder, "check"))], environ):
                raise SetupError(
                    f"the {language} compiler {command[0]} cannot build two lines, and {why}",
                    hint=hint(),
                )


def _succeeds(command: list[str], environ: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, env=dict(environ)
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def build_jobs(backend: str) -> int:
    """Compilers to run at once: one for each CPU we may use, if memory allows.

    llama.cpp's larger files take about 0.7 GiB each with gcc 12 (measured), CUDA's about 2 GiB
    (estimated)."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = available_memory()
    if memory is None:
        return cpus
    each = (2 if backend in ("cuda", "rocm") else 0.75) * (1 << 30)
    return max(1, min(cpus, int(memory // each)))


def available_memory(
    proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Bytes free to use under the container's limit, without swapping; None where unknown."""
    amounts: list[int] = []
    try:
        found = re.search(r"(?m)^MemAvailable:\s+(\d+) kB", (proc / "meminfo").read_text())
        if found:
            amounts.append(int(found[1]) * 1024)
    except OSError:
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            amounts.append(
                max(int((cgroup / limit).read_text()) - int((cgroup / used).read_text()), 0)
            )
        except (OSError, ValueError):  # "max": no limit
            continue
    return min(amounts, default=None)
