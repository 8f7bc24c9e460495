"""llama-cpp-python in the .venv: got, installed, asked for its devices, and put on record.

The record, ``.venv/localllm-build.json``, is what ``localllm doctor`` reads. Every build is judged
by what it says of itself in a process of its own, so a prebuilt wheel that does not load here, or
that sees no GPU, makes room for the next choice instead of failing later.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _setup.choose import Build, Choice, Facts, choose
from _setup.compiler import require_compiler
from _setup.errors import CommandFailed, SetupError, explain, last_words
from _setup.run import run
from _setup.state import write_atomically
from _setup.venv import Venv
from _setup.wheel import PACKAGE, Wheels, why_not

RECORD = "localllm-build.json"
SCHEMA = "localllm.build/1"

# Symbols come from libllama's own handle: loading libggml by its path would bring a second,
# empty registry. Types as in ggml-backend.h: enum ggml_backend_dev_type.
PROBE = """
import ctypes, json
from llama_cpp import llama_cpp
lib = llama_cpp._lib
count, get = lib.ggml_backend_dev_count, lib.ggml_backend_dev_get
count.restype, count.argtypes = ctypes.c_size_t, []
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def text(name, device):
    function = getattr(lib, name)
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return function(device).decode("utf-8", "replace")
kind = lib.ggml_backend_dev_type
kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p]
kinds = ("cpu", "gpu", "igpu", "accel", "meta")
devices = []
for index in range(count()):
    device = get(index)
    number = kind(device)
    devices.append({
        "name": text("ggml_backend_dev_name", device),
        "description": text("ggml_backend_dev_description", device),
        "type": kinds[number] if 0 <= number < len(kinds) else str(number),
    })
print("DEVICES " + json.dumps(devices))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A build that is in the .venv and answers."""

    build: Build
    devices: list[dict[str, str]]
    failures: list[str] = field(default_factory=list)
    """Why earlier choices could not be had, one line each."""

    @property
    def uses_gpu(self) -> bool:
        """Whether llama.cpp itself lists a GPU."""
        return any(device["type"] in ("gpu", "igpu") for device in self.devices)


class Engine:
    """The engine step of the set-up."""

    def __init__(self, venv: Venv, *, facts: Facts, version: str) -> None:
        self.venv = venv
        self.talk = venv.talk
        self.facts = facts
        self.version = version
        self.wheels = Wheels(venv, version=version)

    def is_ready(self) -> bool:
        """Whether the installed engine is the one that is wanted; a wish not repeated is kept."""
        done = self.venv.steps.get("engine")
        return (
            isinstance(done, dict)
            and done.get("version") == self.version
            and self.facts.asked in (None, done.get("backend"))
            and list(self.facts.cmake_args) in ([], done.get("cmake_args"))
        )

    def backend(self) -> str:
        """The backend that is installed."""
        return str(self.venv.steps.get("engine")["backend"])

    def choice(self) -> Choice:
        """What to try, refused early when the first try would want a compiler that is not there."""
        choice = choose(self.facts)
        if not choice.builds:
            raise SetupError(
                "LOCALLLM_BACKEND=cuda: no prebuilt wheel suits this machine, and there is no nvcc",
                hint=self.facts.nvidia_trouble
                or "Install NVIDIA's driver, or the CUDA toolkit: "
                "https://developer.nvidia.com/cuda-downloads",
            )
        first = choice.builds[0]
        if first.how == "source" and self.wheels.cached(first) is None:
            require_compiler(self.venv.environ)
            self.talk.say("(llama.cpp is compiled for this machine, once: minutes, 5 on two cores)")
        return choice

    def install(self, choice: Choice) -> Installed:
        """Installs the first build that works.

        Raises:
            SetupError: where none does.
        """
        failures: list[str] = []
        for build in choice.builds:
            last = build is choice.builds[-1]
            try:
                devices = self._try(build)
            except (CommandFailed, SetupError) as error:
                self.talk.done()
                self._give_up_on_full_disk(error)
                failures.append(why_not(build, error))
                if last:
                    raise self._failed(build, error, failures) from error
                self.talk.say(f"  not possible: {failures[-1]}")
                continue
            installed = Installed(build=build, devices=devices, failures=failures)
            if build.backend != "cpu" and not installed.uses_gpu and not last:
                failures.append(f"{build.label}: installed, but llama.cpp sees no GPU through it")
                self.talk.say(f"  not possible: {failures[-1]}")
                continue
            self._record(installed, choice)
            return installed
        raise AssertionError("no builds to try")

    def _try(self, build: Build) -> list[dict[str, str]]:
        from_cache = self.wheels.cached(build)
        if build.how == "source" and from_cache is None:
            require_compiler(self.venv.environ)
        wheel = from_cache or self.wheels.get(build)
        try:
            return self._install_wheel(build, wheel)
        except CommandFailed:
            self.wheels.forget(wheel)
            if from_cache is None:
                raise
        return self._install_wheel(build, self.wheels.get(build))

    def _install_wheel(self, build: Build, wheel: Path) -> list[dict[str, str]]:
        self.talk.step(f"installing llama.cpp ({build.label}) and asking which devices it has")
        self.venv.change("engine")
        if any(self.venv.path.glob("lib/python3*/site-packages/llama_cpp*")):
            self.venv.pip("uninstall", "--yes", PACKAGE)
        self.venv.install(
            [str(wheel), *build.extra_packages], doing="installing llama-cpp-python failed"
        )
        devices = self.probe()
        self.talk.done()
        return devices

    def probe(self) -> list[dict[str, str]]:
        """llama.cpp's own list of devices.

        Raises:
            CommandFailed: when the library does not load, or kills its process (an instruction this
            CPU lacks).
        """
        environ = dict(self.venv.environ)
        environ.pop("CUDA_VISIBLE_DEVICES", None)
        environ["GGML_NO_BACKTRACE"] = "1"
        libraries = [
            str(path)
            for path in sorted(self.venv.path.glob("lib/python3*/site-packages/nvidia/*/lib"))
        ]
        if libraries:
            environ["LD_LIBRARY_PATH"] = os.pathsep.join(
                [*libraries, environ.get("LD_LIBRARY_PATH", "")]
            ).rstrip(":")
        command = [str(self.venv.python), "-I", "-c", PROBE]
        output = run(
            command, talk=self.talk, environ=environ, cwd=self.venv.path, locks=self.venv.locks
        )
        for line in output.splitlines():
            if line.startswith("DEVICES "):
                devices: list[dict[str, str]] = json.loads(line.removeprefix("DEVICES "))
                return devices
        raise CommandFailed(command=command, returncode=0, tail=output)

    def _record(self, installed: Installed, choice: Choice) -> None:
        build = installed.build
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "package": PACKAGE,
            "version": self.version,
            "asked": self.facts.asked,
            **asdict(build),
            "devices": installed.devices,
            "failures": installed.failures,
            "gpu_left_out": choice.gpu_left_out if build.backend == "cpu" else None,
            "mend": choice.mend if build.backend == "cpu" else None,
        }
        write_atomically(self.venv.path / RECORD, json.dumps(record, indent=2) + "\n")
        done = {
            "version": self.version,
            "backend": build.backend,
            "how": build.how,
            "cmake_args": list(self.facts.cmake_args),
        }
        self.venv.steps.finish("engine", done)

    def report(self, installed: Installed, choice: Choice) -> None:
        """Says which devices there are; a GPU that is left out is never passed over in silence."""
        build = installed.build
        listed = ", ".join(
            f"{device['name']} [{device['description'].strip()}]" for device in installed.devices
        )
        how = "source build" if build.how == "source" else "prebuilt wheel"
        self.talk.say(
            f"llama.cpp {self.version} ({how}, {build.backend}): devices {listed or 'none'}"
        )
        if build.backend == "cpu" and choice.gpu_left_out is not None:
            self._warn(
                f"this machine has {choice.gpu_left_out}; this llama.cpp uses the CPU alone",
                installed,
                choice.mend,
            )
        elif build.backend != "cpu" and not installed.uses_gpu:
            self._warn(
                f"llama.cpp was built for {build.backend} and sees no such device here", installed,
                "LOCALLLM_BACKEND=cpu ./scripts/localllm doctor, or run it where the GPU is",
            )  # fmt: skip

    def _warn(self, message: str, installed: Installed, mend: str | None) -> None:
        self.talk.say("")
        self.talk.say(f"warning: {message}")
        for line in installed.failures:
            self.talk.say(f"  tried: {line}")
        if mend is not None:
            self.talk.say(f"  mend:  {mend}")
        self.talk.say("")

    def _give_up_on_full_disk(self, error: CommandFailed | SetupError) -> None:
        """A full disk would fail every further choice too, and slowly."""
        if isinstance(error, CommandFailed):
            known = explain(error.tail)
            if known is not None and "disk" in known[0]:
                raise SetupError(f"getting llama.cpp failed: {known[0]}", hint=known[1]) from error

    def _failed(
        self, build: Build, error: CommandFailed | SetupError, failures: list[str]
    ) -> SetupError:
        if isinstance(error, SetupError):
            return error
        known = explain(error.tail)
        if known is not None:
            return SetupError(f"getting llama.cpp failed: {known[0]}", hint=known[1])
        needs = {
            "vulkan": "Debian, Ubuntu: sudo apt install libvulkan-dev glslc spirv-headers · "
            "Fedora: sudo dnf install vulkan-headers vulkan-loader-devel glslc "
            "spirv-headers-devel · Arch: sudo pacman -S vulkan-headers shaderc spirv-headers",
            "rocm": "ROCm's compiler must be there (HIPCXX, /opt/rocm): https://rocm.docs.amd.com",
            "cuda": "nvcc takes only certain versions of g++; another one is named by "
            "CMAKE_ARGS=-DCMAKE_CUDA_HOST_COMPILER=/usr/bin/g++-12",
        }
        said = "; ".join([*failures[:-1], f"{build.label}: {last_words(error.tail)}"])
        return SetupError(f"llama.cpp could not be built: {said}", hint=needs.get(build.backend))
