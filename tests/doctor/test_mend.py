"""The lines that mend: right for the driver, the distribution and the way of installing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.hardware import Device
from localllm.doctor.mend import backend_line, compiler_line, device_maker, reinstall_line
from tests.doctor.test_findings import HEALTHY, UNUSED
from tests.support.specs import gpu, host

AMD = replace(
    gpu(),
    name="amd0",
    description="AMD Radeon RX 7900 XTX",
    backend="none",
    arch="gfx1100",
    compute_capability=None,
)
APPLE = replace(gpu(), name="apple0", description="Apple M3 Max", compute_capability=None)


@pytest.mark.parametrize(
    ("cuda", "folder", "runtime"),
    [
        ("13.3", "cu132", "nvidia-cuda-runtime nvidia-cublas"),
        ("13.0", "cu130", "nvidia-cuda-runtime nvidia-cublas"),
        ("12.9", "cu125", "nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"),
        ("12.2", "cu122", "nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"),
        ("11.8", "cu118", "nvidia-cuda-runtime-cu11 nvidia-cublas-cu11"),
    ],
)
def test_a_wheel_is_never_newer_than_the_driver(cuda: str, folder: str, runtime: str) -> None:
    line = backend_line(HEALTHY, replace(UNUSED, cuda_version=cuda))
    assert line == (
        "/venv/bin/python -m pip install --force-reinstall --only-binary llama-cpp-python "
        f"--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/{folder} "
        f"llama-cpp-python==0.3.36 {runtime}"
    )


@pytest.mark.parametrize("cuda", [None, "11.4"])
def test_without_a_wheel_for_the_driver_cuda_is_built(cuda: str | None) -> None:
    line = backend_line(HEALTHY, replace(UNUSED, cuda_version=cuda))
    assert line.startswith('CMAKE_ARGS="-DGGML_CUDA=on -DGGML_RPC=on" /venv/bin/python -m pip')
    assert "--no-binary llama-cpp-python" in line


def test_there_are_no_wheels_for_arm() -> None:
    arm = replace(
        HEALTHY, hardware=replace(HEALTHY.hardware, host=replace(host(), machine="aarch64"))
    )
    assert backend_line(arm, UNUSED).startswith("CMAKE_ARGS=")


def test_amd_gets_vulkan() -> None:
    assert "-DGGML_VULKAN=on" in backend_line(HEALTHY, AMD)


@pytest.mark.parametrize(
    ("device", "backend"), [(UNUSED, "cuda"), (AMD, "vulkan"), (APPLE, "metal")]
)
def test_in_a_checkout_the_set_up_does_it(device: Device, backend: str) -> None:
    facts = replace(HEALTHY, checkout=Path("/src"))
    line = f"LOCALLLM_BACKEND={backend} ./scripts/localllm doctor"
    assert backend_line(facts, device) == line
    assert reinstall_line(facts) == "rm -rf .venv && ./scripts/localllm doctor"


@pytest.mark.parametrize(
    ("distribution", "line"),
    [
        (("ubuntu", "debian"), "sudo apt install build-essential"),
        (("pop", "ubuntu", "debian"), "sudo apt install build-essential"),
        (("fedora",), "sudo dnf install gcc-c++ make"),
        (("rocky", "rhel", "centos", "fedora"), "sudo dnf install gcc-c++ make"),
        (("manjaro", "arch"), "sudo pacman -S base-devel"),
        (("alpine",), "sudo apk add build-base linux-headers"),
        (("nixos",), "Install a C and C++ compiler (gcc or clang)."),
        ((), "Install a C and C++ compiler (gcc or clang)."),
    ],
)
def test_a_compiler_comes_from_the_distribution(distribution: tuple[str, ...], line: str) -> None:
    assert compiler_line(replace(HEALTHY, distribution=distribution)) == line


def test_a_mac_has_its_own_compiler() -> None:
    mac = replace(HEALTHY.hardware, host=replace(host(), os="darwin"))
    facts = replace(HEALTHY, distribution=(), hardware=mac)
    assert compiler_line(facts) == "xcode-select --install"


def test_makers_are_told_apart() -> None:
    unknown = replace(gpu(), description="Moore Threads", compute_capability=None)
    makers = [device_maker(device) for device in (UNUSED, AMD, APPLE, unknown)]
    assert makers == ["nvidia", "amd", "apple", "other"]
