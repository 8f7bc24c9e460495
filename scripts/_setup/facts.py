"""What this machine has that decides the build of llama.cpp: driver, compilers, GPUs.

Every reader takes the root it reads from as an argument or answers None; nothing here raises.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from _setup.choose import Facts

_NVML_NAMES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")


def gather(environ: Mapping[str, str]) -> Facts:
    """The facts of this machine."""
    on_linux = sys.platform.startswith("linux")
    driver, trouble = nvidia() if on_linux else (None, None)
    nvcc = find_nvcc(environ)
    return Facts(
        system="darwin" if sys.platform == "darwin" else "linux",
        machine=platform.machine(),
        glibc=not on_linux or platform.libc_ver()[0] == "glibc",
        asked=environ.get("LOCALLLM_BACKEND") or None,
        cmake_args=_words(environ.get("CMAKE_ARGS", "")),
        cuda_driver=driver,
        nvidia_trouble=trouble,
        nvcc=nvcc,
        nvcc_on_path=nvcc is not None and nvcc == shutil.which("nvcc", path=environ.get("PATH")),
        amd_gpu=on_linux and has_amd_gpu(Path("/sys")),
    )


def nvidia(proc: Path = Path("/proc")) -> tuple[tuple[int, int] | None, str | None]:
    """The newest CUDA that the driver runs, or why a driver that is there cannot be used; (None,
    None) without one."""
    loaded = proc.joinpath("driver/nvidia/version").exists()
    nvml = _load_nvml()
    if nvml is None:
        if loaded:
            return (
                None,
                "the kernel has the driver, but its library libnvidia-ml.so.1 is not here "
                "(a container needs --gpus all)",
            )
        return None, None
    status = nvml.nvmlInitWithFlags(0)
    if status != 0:
        # 9: no driver loaded, as on a machine that only has the library.
        return (
            None,
            f"the driver does not answer (NVML error {status}); after an update, restart"
            if loaded
            else None,
        )
    try:
        count = ctypes.c_uint(0)
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0 or count.value == 0:
            return None, None
        version = ctypes.c_int(0)
        if nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version)) != 0:
            return None, "the driver does not say which CUDA it runs"
    finally:
        nvml.nvmlShutdown()
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (
            None,
            "the driver's compute library libcuda.so.1 is missing (Debian: libcuda1; "
            "a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
        )
    return (version.value // 1000, version.value % 1000 // 10), None


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # a quotation mark without its partner
        return tuple(text.split())


def _load_nvml() -> ctypes.CDLL | None:
    for name in _NVML_NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def find_nvcc(environ: Mapping[str, str]) -> str | None:
    """CUDA's compiler: on PATH, in CUDA_HOME or CUDA_PATH, else where NVIDIA's packages put it."""
    on_path = shutil.which("nvcc", path=environ.get("PATH"))
    if on_path is not None:
        return on_path
    root = environ.get("CUDA_HOME") or environ.get("CUDA_PATH") or "/usr/local/cuda"
    candidate = os.path.join(root, "bin", "nvcc")
    return candidate if os.access(candidate, os.X_OK) else None


def has_amd_gpu(sys_root: Path) -> bool:
    """Whether amdgpu drives a GPU with at least 2 GiB of its own.

    The graphics part of most Ryzen processors has 0.5 GiB, and is no reason to speak up.
    """
    for card in sorted(sys_root.glob("class/drm/card[0-9]*/device")):
        try:
            if card.joinpath("vendor").read_text().strip() != "0x1002":
                continue
            if int(card.joinpath("mem_info_vram_total").read_text()) >= 2 << 30:
                return True
        except (OSError, ValueError):
            continue
    return False


def cpu_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What a build with -march=native depends on: the CPU's model and its instruction sets."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    wanted = r"(?m)^(model name|flags|Features|CPU implementer|CPU part|isa)\s*:\s*(.*)$"
    return "\n".join(sorted({f"{key}={value}" for key, value in re.findall(wanted, text)}))


def distribution(os_release: Path = Path("/etc/os-release")) -> str:
    """Family of this Linux: debian, fedora, arch, suse, alpine, or an empty string."""
    try:
        text = os_release.read_text()
    except OSError:
        return ""
    names = " ".join(
        value.strip('"') for value in re.findall(r"(?m)^ID(?:_LIKE)?=(.*)$", text)
    ).split()
    for family, members in {
        "debian": {"debian", "ubuntu", "raspbian", "linuxmint"},
        "fedora": {"fedora", "rhel", "centos"},
        "arch": {"arch"},
        "suse": {"suse", "opensuse"},
        "alpine": {"alpine"},
    }.items():
        if members & set(names):
            return family
    return ""


def gpu_models(proc: Path = Path("/proc")) -> list[str]:
    """The NVIDIA GPUs' model names: a CUDA build from source is made for these."""
    names: set[str] = set()
    for path in proc.glob("driver/nvidia/gpus/*/information"):
        try:
            names.update(re.findall(r"(?m)^Model:\s*(.*)$", path.read_text(errors="replace")))
        except OSError:
            continue
    return sorted(names)
