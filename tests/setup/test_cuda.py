"""An NVIDIA machine without one: the set-up under a fake driver, with a wheel that needs NVIDIA's
libraries.

The driver is tests/support/fake_nvml. The wheel's libllama is ten lines of C that list one device,
CUDA0, and is linked with a libcudart that only the wheel of NVIDIA's runtime brings: it loads only
if the set-up installs that and puts it on the child's library path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.setup.conftest import Checkout, Ready, make_wheel, shim_wheel
from tests.support.fake_nvml import Scenario, build, rtx_4090

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="CUDA wheels are for Linux"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="CUDA wheels are for x86-64"),
]

LIBLLAMA = """
#include <stddef.h>
extern int cudart(void);
size_t ggml_backend_dev_count(void) { return (size_t) cudart(); }
void *ggml_backend_dev_get(size_t index) { (void) index; static int device; return &device; }
const char *ggml_backend_dev_name(void *device) { (void) device; return "CUDA0"; }
const char *ggml_backend_dev_description(void *device) { (void) device; return "GeForce RTX 4090"; }
int ggml_backend_dev_type(void *device) { (void) device; return 1; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaMachine:
    """A checkout on a machine that seems to have an RTX 4090 and CUDA 12.6, and no nvcc."""

    checkout: Checkout
    wheels: Path
    """Where the wheels for this CUDA lie; pip looks there if it is told to."""

    def run(self, **environ: str) -> subprocess.CompletedProcess[str]:
        """scripts/localllm on it, after the engine that was there is forgotten."""
        self.checkout.forget("engine")
        return self.checkout.run(**environ)


def compile_library(path: Path, text: str, *flags: str) -> Path:
    """A shared library from C."""
    source = path.with_suffix(".c")
    source.write_text(text)
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path), str(source)]
    subprocess.run([*command, *flags], check=True)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What such a machine is made of. The tests leave it as it is."""

    driver: Path
    scenario: Path
    programs: Path
    wheels: Path


@pytest.fixture(scope="module")
def parts(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """The driver, the programs and the wheels, compiled once."""
    folder = tmp_path_factory.mktemp("nvidia")
    driver = build(folder / "driver")
    compile_library(driver / "libcuda.so.1", "int cuda(void) { return 0; }\n")
    scenario = folder / "scenario.txt"
    Scenario(gpus=(rtx_4090(),)).write(scenario)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sh", "cksum", "cc", "c++", "ld", "as"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)

    libcudart = compile_library(folder / "libcudart.so.12", "int cudart(void) { return 1; }\n")
    libllama = compile_library(folder / "libllama.so", LIBLLAMA, str(libcudart))
    runtime = {"nvidia/cuda_runtime/lib/libcudart.so.12": libcudart.read_bytes()}
    wheels = folder / "wheels"
    make_wheel(wheels, "nvidia_cuda_runtime_cu12", "12.5.82", runtime)
    make_wheel(wheels, "nvidia_cublas_cu12", "12.5.3.2", {})
    shim_wheel(wheels, version=ready.checkout.version, library=libllama)
    return Parts(driver=driver, scenario=scenario, programs=programs, wheels=wheels)


@pytest.fixture
def nvidia_machine(ready: Ready, parts: Parts, tmp_path: Path) -> NvidiaMachine:
    """The checkout that is set up for the CPU, moved to an NVIDIA machine."""
    environ = ready.checkout.environ | {
        "PATH": str(parts.programs),
        "LD_LIBRARY_PATH": str(parts.driver),
        "FAKE_NVML_SCENARIO": str(parts.scenario),
        "CUDA_HOME": "/nonexistent",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    del environ["LOCALLLM_BACKEND"]
    checkout = Checkout(root=ready.checkout.root, environ=environ)
    checkout.cache_wheel("cpu")
    return NvidiaMachine(checkout=checkout, wheels=parts.wheels)


def test_the_prebuilt_wheel_is_taken_with_nvidias_libraries(nvidia_machine: NvidiaMachine) -> None:
    done = nvidia_machine.run(PIP_FIND_LINKS=str(nvidia_machine.wheels))
    assert done.returncode == 0, done.stderr
    assert "(prebuilt wheel, cuda): devices CUDA0 [GeForce RTX 4090]" in done.stderr
    assert "warning:" not in done.stderr
    record = nvidia_machine.checkout.record()
    assert (record["backend"], record["how"]) == ("cuda", "wheel")
    assert str(record["index"]).endswith("/cu125")


def test_a_gpu_that_is_left_out_is_announced_with_the_line_that_mends_it(
    nvidia_machine: NvidiaMachine,
) -> None:
    done = nvidia_machine.run()
    assert done.returncode == 0, done.stderr
    assert "devices CPU [" in done.stderr
    assert "warning: this machine has an NVIDIA GPU; this llama.cpp uses the CPU alone" in (
        done.stderr
    )
    assert "tried: cuda, prebuilt for CUDA 12.5: its index has no such wheel" in done.stderr
    assert "mend:  LOCALLLM_BACKEND=cuda ./scripts/localllm" in done.stderr
    assert nvidia_machine.checkout.record()["gpu_left_out"] == "an NVIDIA GPU"


def test_a_wheel_whose_library_does_not_load_makes_room_for_the_cpu(
    nvidia_machine: NvidiaMachine, tmp_path: Path
) -> None:
    missing = compile_library(tmp_path / "libcudart.so.99", "int cudart(void) { return 1; }\n")
    library = compile_library(tmp_path / "libllama-99.so", LIBLLAMA, str(missing))
    wheels = Path(shutil.copytree(nvidia_machine.wheels, tmp_path / "wheels"))
    shim_wheel(wheels, version=nvidia_machine.checkout.version, library=library)
    done = nvidia_machine.run(PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 0, done.stderr
    assert "libcudart.so.99: cannot open shared object file" in done.stderr
    assert "warning: this machine has an NVIDIA GPU" in done.stderr


def test_cuda_that_was_asked_for_is_not_replaced(nvidia_machine: NvidiaMachine) -> None:
    done = nvidia_machine.run(LOCALLLM_BACKEND="cuda")
    assert done.returncode == 1
    assert "error: llama.cpp could not be built: cuda, prebuilt for CUDA 12.5" in done.stderr
    assert "its index has no such wheel" in done.stderr
    assert "hint:" in done.stderr


def test_a_driver_without_its_compute_library_is_named_as_the_reason(
    nvidia_machine: NvidiaMachine, parts: Parts, tmp_path: Path
) -> None:
    driver = Path(shutil.copytree(parts.driver, tmp_path / "driver"))
    (driver / "libcuda.so.1").unlink()
    done = nvidia_machine.run(LD_LIBRARY_PATH=str(driver))
    assert done.returncode == 0
    assert "an NVIDIA GPU that cannot be used here: the driver's compute library" in done.stderr
