"""The exact lines that mend an installation, for a checkout and for a package alike. Pure."""

from __future__ import annotations

from localllm.core.hardware import Device
from localllm.doctor.facts import Facts

PACKAGE = "llama-cpp-python"

WHEEL_INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
"""llama-cpp-python's own index of prebuilt wheels; PyPI has the sources alone."""

CUDA_GENERATIONS = ((13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8))
"""The CUDA toolkits with a folder there, newest first; a driver runs those up to its own."""

_COMPILERS = {
    "debian": "sudo apt install build-essential",
    "fedora": "sudo dnf install gcc-c++ make",
    "rhel": "sudo dnf install gcc-c++ make",
    "arch": "sudo pacman -S base-devel",
    "suse": "sudo zypper install gcc-c++ make",
    "alpine": "sudo apk add build-base linux-headers",
    "darwin": "xcode-select --install",
}


def backend_line(facts: Facts, device: Device) -> str:
    """Return the line that gets a llama.cpp which uses a GPU that the present one cannot."""
    maker = device_maker(device)
    if facts.checkout is not None:
        record = facts.build or {}
        if isinstance(record.get("mend"), str) and record.get("gpu_left_out"):
            return str(record["mend"])
        backend = {"nvidia": "cuda", "apple": "metal"}.get(maker, "vulkan")
        return f"LOCALLLM_BACKEND={backend} ./scripts/localllm doctor"
    if maker == "nvidia" and facts.hardware.host.machine == "x86_64":
        wheel = _cuda_wheel_line(facts, device)
        if wheel is not None:
            return wheel
    argument = {"nvidia": "-DGGML_CUDA=on", "apple": "-DGGML_METAL=on"}.get(
        maker, "-DGGML_VULKAN=on"
    )
    return f'CMAKE_ARGS="{argument} -DGGML_RPC=on" {reinstall_line(facts)}'


def reinstall_line(facts: Facts) -> str:
    """Return the line that installs the pinned llama-cpp-python again, built from source here."""
    if facts.checkout is not None:
        return "rm -rf .venv && ./scripts/localllm doctor"
    return (
        f"{facts.python} -m pip install --force-reinstall --no-cache-dir "
        f"--no-binary {PACKAGE} {_requirement(facts)}"
    )


def compiler_line(facts: Facts) -> str:
    """Return the line that installs a C++ compiler."""
    names = facts.distribution or (facts.hardware.host.os,)
    aliases = {"ubuntu": "debian", "centos": "rhel", "opensuse": "suse", "linuxmint": "debian"}
    for name in names:
        line = _COMPILERS.get(aliases.get(name, name))
        if line is not None:
            return line
    return "Install a C and C++ compiler (gcc or clang)."


def device_maker(device: Device) -> str:
    """Return ``nvidia``, ``amd``, ``apple`` or ``other``."""
    text = f"{device.name} {device.description}".lower()
    if device.compute_capability is not None or "nvidia" in text:
        return "nvidia"
    if device.arch is not None or "amd" in text or "radeon" in text:
        return "amd"
    return "apple" if "apple" in text else "other"


def _requirement(facts: Facts) -> str:
    return f"{PACKAGE}=={facts.engine_pinned}" if facts.engine_pinned else PACKAGE


def _cuda_wheel_line(facts: Facts, device: Device) -> str | None:
    """A prebuilt wheel that the driver runs, with NVIDIA's runtime, or None."""
    if device.cuda_version is None:
        return None
    major, _, minor = device.cuda_version.partition(".")
    driver = (int(major), int(minor or 0))
    usable = [generation for generation in CUDA_GENERATIONS if generation <= driver]
    if not usable:
        return None
    generation = usable[0]
    suffix = f"-cu{generation[0]}" if generation[0] < 13 else ""
    return (
        f"{facts.python} -m pip install --force-reinstall --only-binary {PACKAGE} "
        f"--extra-index-url {WHEEL_INDEX}/cu{generation[0]}{generation[1]} {_requirement(facts)} "
        f"nvidia-cuda-runtime{suffix} nvidia-cublas{suffix}"
    )
