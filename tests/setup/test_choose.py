"""Which build for which machine: the decision as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from _setup.choose import BACKENDS, Facts, choose, cuda_wheels
from _setup.errors import SetupError

BARE = Facts(system="linux", machine="x86_64")
MAC = Facts(system="darwin", machine="arm64")


def nvidia(major: int, minor: int) -> Facts:
    """A PC with an NVIDIA GPU whose driver runs this CUDA, and no compiler for it."""
    return replace(BARE, cuda_driver=(major, minor))


def with_nvcc(facts: Facts) -> Facts:
    """The same machine with the CUDA toolkit."""
    return replace(facts, nvcc="/usr/bin/nvcc")


def tried(facts: Facts) -> list[str]:
    """What is tried, in order."""
    return [build.label for build in choose(facts).builds]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BARE, ["cpu, from source"]),
        (replace(BARE, machine="aarch64"), ["cpu, from source"]),
        (with_nvcc(BARE), ["cpu, from source"]),  # a compiler is not a GPU
        (MAC, ["metal, from source"]),
        (
            nvidia(12, 4),
            [
                "cuda, prebuilt for CUDA 12.4",
                "cuda, prebuilt for CUDA 12.3",
                "cpu, from source",
            ],
        ),
        (
            with_nvcc(nvidia(13, 0)),
            [
                "cuda, prebuilt for CUDA 13.0",
                "cuda, prebuilt for CUDA 12.5",
                "cuda, from source",
                "cpu, from source",
            ],
        ),
        # No prebuilt CUDA wheels exist for ARM or musl.
        (replace(nvidia(13, 0), machine="aarch64"), ["cpu, from source"]),
        (
            with_nvcc(replace(nvidia(13, 0), machine="aarch64")),
            ["cuda, from source", "cpu, from source"],
        ),
        (replace(nvidia(12, 4), glibc=False), ["cpu, from source"]),
        # A prebuilt wheel would ignore the user's CMAKE_ARGS.
        (
            with_nvcc(replace(nvidia(12, 4), cmake_args=("-DGGML_CUDA_F16=on",))),
            ["cuda, from source", "cpu, from source"],
        ),
        (replace(BARE, amd_gpu=True), ["cpu, from source"]),
        # What is asked for is never replaced.
        (replace(nvidia(12, 4), asked="cpu"), ["cpu, from source"]),
        (replace(BARE, asked="vulkan"), ["vulkan, from source"]),
        (replace(BARE, asked="rocm"), ["rocm, from source"]),
        (replace(MAC, asked="metal"), ["metal, from source"]),
        (replace(MAC, asked="cpu"), ["cpu, from source"]),
        (with_nvcc(replace(BARE, asked="cuda")), ["cuda, from source"]),
        (replace(BARE, asked="cuda"), []),
    ],
)
def test_the_builds_that_are_tried(facts: Facts, expected: list[str]) -> None:
    assert tried(facts) == expected


@pytest.mark.parametrize(
    ("driver", "generations"),
    [
        ((11, 4), []),
        ((11, 8), ["cu118"]),
        ((12, 0), ["cu121", "cu118"]),  # minor version compatibility
        ((12, 1), ["cu121", "cu118"]),
        ((12, 5), ["cu125", "cu124"]),
        ((12, 9), ["cu125", "cu124"]),
        ((13, 0), ["cu130", "cu125"]),
        ((13, 1), ["cu130", "cu125"]),
        ((13, 2), ["cu132", "cu130"]),
        ((14, 0), ["cu132", "cu130"]),
    ],
)
def test_a_wheel_is_never_newer_than_the_driver(
    driver: tuple[int, int], generations: list[str]
) -> None:
    wheels = cuda_wheels(driver)
    assert [str(build.index).rpartition("/")[2] for build in wheels] == generations


def test_a_prebuilt_wheel_brings_the_runtime_libraries_of_its_own_generation() -> None:
    packages = {str(build.index)[-5:]: build.extra_packages for build in cuda_wheels((12, 5))}
    assert packages["cu125"] == ("nvidia-cuda-runtime-cu12==12.5.*", "nvidia-cublas-cu12==12.5.*")
    (newest, _) = cuda_wheels((13, 0))
    assert newest.extra_packages == ("nvidia-cuda-runtime==13.0.*", "nvidia-cublas==13.0.*")


@pytest.mark.parametrize(
    "facts",
    [
        nvidia(12, 4),
        with_nvcc(nvidia(12, 4)),
        replace(BARE, nvidia_trouble="libcuda.so.1 is missing"),
        replace(BARE, amd_gpu=True),
    ],
)
def test_a_gpu_that_may_be_left_out_comes_with_what_mends_it(facts: Facts) -> None:
    choice = choose(facts)
    assert choice.builds[-1].backend == "cpu"
    assert choice.gpu_left_out is not None
    assert choice.mend is not None
    assert "LOCALLLM_BACKEND=" in choice.mend


@pytest.mark.parametrize("facts", [BARE, MAC, replace(nvidia(12, 4), asked="cpu")])
def test_no_gpu_is_missed_where_there_is_none_or_the_cpu_was_asked_for(facts: Facts) -> None:
    assert choose(facts).gpu_left_out is None


@pytest.mark.parametrize("asked", BACKENDS)
def test_a_backend_that_is_asked_for_is_all_that_is_tried(asked: str) -> None:
    facts = replace(MAC if asked == "metal" else with_nvcc(nvidia(12, 4)), asked=asked)
    assert {build.backend for build in choose(facts).builds} == {asked}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(BARE, asked="CUDA"), "is not a backend"),
        (replace(BARE, asked="metal"), "does not exist on Linux"),
        (replace(MAC, asked="cuda"), "does not exist on macOS"),
        (replace(MAC, asked="rocm"), "does not exist on macOS"),
    ],
)
def test_a_backend_that_cannot_be_is_a_usage_error(facts: Facts, said: str) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        choose(facts)
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None


def test_source_builds_have_rpc_and_the_users_arguments_come_last() -> None:
    facts = replace(BARE, cmake_args=("-DGGML_RPC=OFF", "-DGGML_NATIVE=OFF"))
    arguments = choose(facts).builds[0].cmake_args
    assert arguments[0] == "-DGGML_RPC=ON"
    assert arguments[-2:] == facts.cmake_args


def test_cmake_is_told_where_an_nvcc_off_the_path_is() -> None:
    facts = replace(BARE, asked="cuda", nvcc="/usr/local/cuda/bin/nvcc", nvcc_on_path=False)
    assert "-DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc" in choose(facts).builds[0].cmake_args
