"""What to do when llama-cpp-python is missing or cannot load its libraries."""

from __future__ import annotations

import re
import sys

from localllm.errors import EngineError

_PACKAGE = "llama-cpp-python"


def required_engine() -> str:
    """Return the requirement as this localllm pins it: ``llama-cpp-python==0.3.36``."""
    from importlib.metadata import PackageNotFoundError, requires  # 18 ms

    try:
        requirements = requires("localllm") or []
    except PackageNotFoundError:
        return _PACKAGE
    for requirement in requirements:
        name = requirement.partition(";")[0].strip()
        if name.startswith(_PACKAGE):
            return name
    return _PACKAGE


def install_line(*packages: str) -> str:
    """Return the command that installs packages next to localllm."""
    return f"{sys.executable} -m pip install {' '.join(packages)}"


def explain_import_error(error: Exception) -> EngineError:
    """Return what is missing, and the exact line that mends it."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name == "llama_cpp":
        return EngineError(
            "llama-cpp-python is not installed.", hint=f"Run: {install_line(required_engine())}"
        )
    cuda = re.search(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d+)", text)
    if cuda is not None:
        major = int(cuda.group(1))
        suffix = f"-cu{major}" if major < 13 else ""  # NVIDIA dropped the suffix with CUDA 13
        packages = [f"nvidia-{name}{suffix}" for name in ("cuda-runtime", "cublas")]
        if not suffix:
            packages = [f"'{name}=={major}.*'" for name in packages]
        return EngineError(
            f"llama.cpp was built for CUDA {major}, and {cuda.group()} is not there.",
            hint=f"Run: {install_line(*packages)}",
        )
    if "libcuda.so" in text:
        return EngineError(
            "llama.cpp was built for CUDA, and NVIDIA's driver is not installed.",
            hint="Install the driver, or a CPU build: "
            + install_line("--force-reinstall", "--no-cache-dir", required_engine()),
        )
    return EngineError(
        f"llama.cpp cannot be loaded: {text}.",
        hint="Reinstall it: "
        + install_line("--force-reinstall", "--no-cache-dir", required_engine()),
    )
