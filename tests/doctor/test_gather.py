"""What the doctor gathers: folders and variables as they are, and no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.doctor.gather import (
    chosen_variables,
    folder,
    gather,
    read_build_record,
    tool_version,
)


def test_secrets_are_left_out() -> None:
    found = chosen_variables(
        {
            "HF_TOKEN": "hf_abcdef",
            "LOCALLLM_API_KEY": "hush",
            "LOCALLLM_CTX": "4096",
            "HF_HOME": "/models",
            "HF_ENDPOINT": "http://me:hush@mirror.example/hub?key=hush",
            "HOME": "/home/me",
        }
    )
    assert found == {
        "HF_HOME": "/models",
        "HF_ENDPOINT": "http://mirror.example/hub",
        "HF_TOKEN": "(set)",
        "LOCALLLM_API_KEY": "(set)",
        "LOCALLLM_CTX": "4096",
    }


def test_a_folder_that_does_not_exist_yet_is_judged_by_where_it_would_be_made(
    tmp_path: Path,
) -> None:
    found = folder("models", tmp_path / "not" / "yet")
    assert found.writable
    assert found.free_bytes is not None
    assert found.free_bytes > 0
    assert not (tmp_path / "not").exists()


def test_a_file_in_the_way_of_a_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert not folder("state", tmp_path / "state").writable
    assert not folder("state", tmp_path / "state" / "deeper").writable


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("c++ (Debian 12.2.0) 12.2.0\nCopyright\n", "c++ (Debian 12.2.0) 12.2.0"),
        (
            "nvcc: NVIDIA\nCopyright\nBuilt on\nCuda release 12.6, V12.6.20\n",
            "Cuda release 12.6, V12.6.20",
        ),
        ("\n\n", None),
        ("tool\x1b[31m 1\n", r"tool\x1b[31m 1"),
    ],
)
def test_the_version_is_the_line_that_names_it(output: str, version: str | None) -> None:
    assert tool_version(output) == version


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    assert read_build_record(path) is None
    path.write_text(text)
    assert read_build_record(path) is None


def test_this_machine_can_be_gathered() -> None:
    facts = gather()
    assert facts.python_version >= (3, 11)
    assert facts.hardware.host.total_bytes > 0
    assert {folder.purpose for folder in facts.folders} == {"models", "state", "config"}
    assert facts.engine is not None or facts.engine_problem
