"""Which build of llama-cpp-python suits a machine: the decision, from facts alone.

Reads nothing and runs nothing: ``facts.py`` gathers, ``llama.py`` carries out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from _setup.errors import SetupError

BACKENDS = ("cpu", "cuda", "metal", "vulkan", "rocm")

WHEEL_INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
"""llama-cpp-python's own index of prebuilt wheels, one folder per CUDA generation."""

CUDA_GENERATIONS = ((13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8))
"""The CUDA toolkits that have a folder there, newest first."""

COMMON_CMAKE_ARGS = ("-DGGML_RPC=ON", "-DLLAVA_BUILD=OFF", "-DLLAMA_OPENSSL=OFF")
"""RPC on, for workers on other machines. Without image input, a library of its own that is never
loaded here, and without OpenSSL, which only llama.cpp's own downloader wants and which would tie
the libraries to one libssl."""

SOURCE_CMAKE_ARGS = {
    # On a Mac this has Metal too: llama-cpp-python's CMakeLists.txt switches it on by force.
    "cpu": (),
    "cuda": ("-DGGML_CUDA=on",),
    "metal": ("-DGGML_METAL=on",),
    "vulkan": ("-DGGML_VULKAN=on",),
    "rocm": ("-DGGML_HIP=on",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the decision rests on."""

    system: str
    """``linux`` or ``darwin``."""

    machine: str
    """As ``uname -m`` says it: ``x86_64``, ``aarch64``, ``arm64``."""

    glibc: bool = True
    """False on musl, for which there are no prebuilt wheels."""

    asked: str | None = None
    """``LOCALLLM_BACKEND``, None where it is unset or empty."""

    cmake_args: tuple[str, ...] = ()
    """The user's own ``CMAKE_ARGS``."""

    cuda_driver: tuple[int, int] | None = None
    """The newest CUDA that the NVIDIA driver runs, None without a usable NVIDIA GPU."""

    nvidia_trouble: str | None = None
    """Why an NVIDIA GPU that is there cannot be used, as a clause; None where nothing is wrong."""

    nvcc: str | None = None
    """Path of CUDA's compiler; None where there is none."""

    nvcc_on_path: bool = True

    amd_gpu: bool = False
    """An AMD GPU with memory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One way to get llama-cpp-python."""

    backend: str
    how: str
    """``wheel`` (prebuilt) or ``source``."""

    index: str | None = None
    """The extra package index of a prebuilt wheel."""

    extra_packages: tuple[str, ...] = ()
    """What a prebuilt wheel needs beside it: NVIDIA's runtime libraries."""

    cmake_args: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people: ``cuda, prebuilt for CUDA 12.4`` or ``cpu, from source``."""
        if self.how == "source":
            return f"{self.backend}, from source"
        generation = (self.index or "").rpartition("/cu")[2]
        return f"{self.backend}, prebuilt for CUDA {generation[:2]}.{generation[2:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to try, in order, and what to say if only the CPU is left."""

    builds: tuple[Build, ...]

    gpu_left_out: str | None = None
    """A GPU that the last of ``builds`` leaves out, as a clause; None where it leaves none out."""

    mend: str | None = None
    """What the person can do about ``gpu_left_out``."""


def cuda_wheels(driver: tuple[int, int]) -> list[Build]:
    """Prebuilt CUDA wheels that the driver can run, the best first.

    A driver runs every toolkit up to its own version. From 12.0 on it also runs newer toolkits of
    its major version, but not their PTX, so a 12.0 driver gets 12.1 and nothing beyond (CUDA
    compatibility guide, minor version compatibility). At most two: of toolkits that differ by a
    minor version one is as good as another, and each that is missing costs a round trip."""
    usable = [generation for generation in CUDA_GENERATIONS if generation <= driver]
    if (12, 0) <= driver < (12, 1):
        usable.insert(0, (12, 1))
    return [_cuda_wheel(*generation) for generation in usable[:2]]


def _cuda_wheel(major: int, minor: int) -> Build:
    if major >= 13:
        packages = (f"nvidia-cuda-runtime==13.{minor}.*", f"nvidia-cublas==13.{minor}.*")
    elif major == 12:
        packages = (f"nvidia-cuda-runtime-cu12==12.{minor}.*", f"nvidia-cublas-cu12==12.{minor}.*")
    else:
        packages = ("nvidia-cuda-runtime-cu11==11.8.*", "nvidia-cublas-cu11==11.11.*")
    return Build(
        backend="cuda",
        how="wheel",
        index=f"{WHEEL_INDEX}/cu{major}{minor}",
        extra_packages=packages,
    )


def source_build(backend: str, facts: Facts) -> Build:
    """A build from the source distribution; the user's own CMAKE_ARGS come last and win."""
    compiler: Sequence[str] = ()
    if backend == "cuda" and facts.nvcc is not None and not facts.nvcc_on_path:
        compiler = (f"-DCMAKE_CUDA_COMPILER={facts.nvcc}",)
    arguments = (*COMMON_CMAKE_ARGS, *SOURCE_CMAKE_ARGS[backend], *compiler, *facts.cmake_args)
    return Build(backend=backend, how="source", cmake_args=arguments)


def choose(facts: Facts) -> Choice:
    """The builds to try, in order.

    A backend that was asked for is never replaced by another. Without one: CUDA where an NVIDIA
    driver is usable, Metal on a Mac, else the CPU; the CPU is also what is left where every CUDA
    build fails, and is then announced.

    Raises:
        SetupError: exit code 2 for a backend that does not exist or that this system cannot have.
    """
    if facts.asked is not None:
        return Choice(builds=tuple(_asked_for(facts.asked, facts)))
    if facts.system == "darwin":
        return Choice(builds=(source_build("metal", facts),))
    cpu = source_build("cpu", facts)
    if facts.cuda_driver is not None:
        return Choice(
            builds=(*_cuda_builds(facts), cpu),
            gpu_left_out="an NVIDIA GPU",
            mend="LOCALLLM_BACKEND=cuda ./scripts/localllm doctor tries again; with the CUDA "
            "toolkit (nvcc) installed it compiles llama.cpp here",
        )
    if facts.nvidia_trouble is not None:
        return Choice(
            builds=(cpu,),
            gpu_left_out=f"an NVIDIA GPU that cannot be used here: {facts.nvidia_trouble}",
            mend="Mend that, then: LOCALLLM_BACKEND=cuda ./scripts/localllm doctor",
        )
    if facts.amd_gpu:
        return Choice(
            builds=(cpu,),
            gpu_left_out="an AMD GPU",
            mend="LOCALLLM_BACKEND=vulkan ./scripts/localllm doctor (needs its headers and glslc), "
            "or LOCALLLM_BACKEND=rocm (needs ROCm)",
        )
    return Choice(builds=(cpu,))


def _asked_for(backend: str, facts: Facts) -> list[Build]:
    if backend not in BACKENDS:
        raise SetupError(
            f"LOCALLLM_BACKEND={backend} is not a backend",
            hint=f"Use one of {', '.join(BACKENDS)}, or unset it to let the set-up choose.",
            exit_code=2,
        )
    if (backend == "metal") != (facts.system == "darwin") and backend not in ("cpu", "vulkan"):
        system = "macOS" if facts.system == "darwin" else "Linux"
        raise SetupError(
            f"LOCALLLM_BACKEND={backend} does not exist on {system}",
            hint="Unset LOCALLLM_BACKEND to let the set-up choose.",
            exit_code=2,
        )
    if backend == "cuda":
        return _cuda_builds(facts)
    return [source_build(backend, facts)]


def _cuda_builds(facts: Facts) -> list[Build]:
    source = [source_build("cuda", facts)] if facts.nvcc is not None else []
    wheels: list[Build] = []
    if facts.cuda_driver is not None and facts.glibc and facts.machine == "x86_64":
        wheels = cuda_wheels(facts.cuda_driver)
    if facts.cmake_args and source:
        return source  # a prebuilt wheel would ignore them
    return wheels + source
