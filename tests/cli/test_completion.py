"""Completion: what bash really offers, and that the other shells' scripts carry our changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localllm import session
from localllm.core.policy import KV_TYPES
from tests.cli.conftest import Command

ASK = """\
eval "$(localllm completion bash)"
compopt() { printf 'OPTION %s %s\\n' "$1" "$2"; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_localllm_completion localllm
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(folder: Path, *words: str, **variables: str) -> list[str]:
    """What bash would offer for the last word, and the options that it is told to set."""
    scripts = folder / "bin"
    scripts.mkdir(exist_ok=True)
    command = scripts / "localllm"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localllm "$@"\n')
    command.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "--norc", "-c", ASK, "bash", "localllm", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"} | variables,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    assert offered(tmp_path, "pl") == ["plan"]
    assert "--n-gpu-layers" in offered(tmp_path, "plan", "demo", "--n-")
    assert offered(tmp_path, "plan", "demo", "--kv", "q") == ["q8_0", "q4_0"]
    assert offered(tmp_path, "plan", "demo", "-fa", "o") == ["on", "off"]


@needs_bash
def test_bash_walks_into_folders_without_a_space(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a model.gguf").touch()
    assert offered(tmp_path, "plan", "mo") == ["OPTION -o nospace", "models/"]
    assert offered(tmp_path, "plan", "models/") == ["models/a model.gguf"]
    assert offered(tmp_path, "chat", "dem") == ["demo"]


@needs_bash
def test_bash_offers_known_models_where_they_can_be_planned(tmp_path: Path) -> None:
    assert "llama-3-70b" in offered(tmp_path, "plan", "llama-3")
    assert "llama-3-70b" in offered(tmp_path, "chat", "llama-3")


@needs_bash
def test_bash_offers_what_is_here_and_goes_on_behind_its_colon(tmp_path: Path) -> None:
    """bash itself splits at a colon, and replaces what stands behind it; where it does not, all."""
    folder = tmp_path / "hf" / "hub" / "models--maker--Toy-GGUF"
    snapshot = folder / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    for quant in ("Q4_K_M", "Q8_0"):
        (snapshot / f"Toy-{quant}.gguf").write_bytes(b"x")
    home = str(tmp_path / "hf")
    both = ["maker/Toy-GGUF:Q4_K_M", "maker/Toy-GGUF:Q8_0"]
    for command in ("chat", "show", "rm", "verify"):
        assert offered(tmp_path, command, "maker/", HF_HOME=home) == both
    assert offered(tmp_path, "chat", "maker/Toy-GGUF", ":", HF_HOME=home) == ["Q4_K_M", "Q8_0"]
    assert offered(tmp_path, "chat", "maker/Toy-GGUF", ":", "Q8", HF_HOME=home) == ["Q8_0"]
    assert offered(tmp_path, "chat", "maker/Toy-GGUF:Q8", HF_HOME=home) == both[1:]


@needs_bash
def test_bash_completes_hardware_by_name(tmp_path: Path) -> None:
    assert offered(tmp_path, "plan", "demo", "--hardware", "rtx-3090-") == ["rtx-3090-ti"]


def test_words_are_the_planners_own() -> None:
    assert set(KV_TYPES) == {"f16", "bf16", "q8_0", "q4_0", "f32"}
    assert "rtx-4090" in session.hardware_names()


@pytest.mark.parametrize(
    ("shell", "change"),
    [
        ("bash", "compopt -o nospace"),
        ("zsh", "-S '' -- ${(M)completions:#*/}"),
        ("fish", "complete --no-files --command localllm"),
    ],
)
def test_a_script_is_printed_for_each_shell(localllm: Command, shell: str, change: str) -> None:
    outcome = localllm("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert change in outcome.out
    assert "_LOCALLLM_COMPLETE" in outcome.out


def test_a_request_that_no_script_makes_is_an_error(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_LOCALLLM_COMPLETE", "tcsh_complete")
    outcome = localllm("plan")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: _LOCALLLM_COMPLETE=tcsh_complete")
