"""What llama.cpp is installed, and the exact line when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.engine import info, install
from localllm.engine.children import child_environment
from localllm.errors import EngineError


def test_info_lists_the_devices_llama_cpp_really_has() -> None:
    found = info.engine_info()
    assert any(device.type == "cpu" and device.name == "CPU" for device in found.devices)
    assert found.version and found.build_commit and "libllama" in found.library_path


def test_without_llama_cpp_the_exact_line_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'llama_cpp':\n"
        "            raise ModuleNotFoundError(\n"
        "                \"No module named 'llama_cpp'\", name='llama_cpp')\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match="not installed") as caught:
        info.engine_info()
    assert caught.value.hint is not None
    assert f"-m pip install {install.required_engine()}" in caught.value.hint
    assert "==" in install.required_engine()


@pytest.mark.parametrize(
    ("error", "part"),
    [
        ("libcudart.so.12: cannot open shared object file", "nvidia-cuda-runtime-cu12"),
        ("libcublas.so.13: cannot open shared object file", "'nvidia-cublas==13.*'"),
        ("libcuda.so.1: cannot open shared object file", "driver"),
        ("libllama.so: file too short", "--force-reinstall"),
    ],
)
def test_a_library_that_cannot_be_loaded_names_what_to_install(error: str, part: str) -> None:
    assert part in str(install.explain_import_error(RuntimeError(error)).hint)


def test_a_broken_library_reaches_the_caller_as_an_engine_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libllama.so").write_bytes(b"not a library")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    with pytest.raises(EngineError, match="cannot be loaded"):
        info.engine_info()


def test_nvidias_libraries_from_pypi_are_on_the_childs_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("cublas/lib", "cuda_runtime/lib", "cu13/lib", "cublas/include"):
        (tmp_path / "nvidia" / folder).mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/mine")
    folders = child_environment()["LD_LIBRARY_PATH"].split(":")
    ours = [f"{tmp_path}/nvidia/{name}/lib" for name in ("cu13", "cublas", "cuda_runtime")]
    assert folders[-1] == "/opt/mine"
    assert [folder for folder in folders if folder.startswith(str(tmp_path))] == ours
