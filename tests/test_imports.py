"""What a fresh interpreter loads: `localllm --help` and every planning value stay light."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import localllm.core

HEAVY = {
    "huggingface_hub",
    "llama_cpp",
    "numpy",
    "prompt_toolkit",
    "psutil",
    "pynvml",
    "rich",
    "textual",
}

CORE = [f"localllm.core.{module.name}" for module in pkgutil.iter_modules(localllm.core.__path__)]


def modules_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after running the code."""
    report = "import json, sys; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in loaded}


def test_the_probe_sees_what_is_loaded() -> None:
    assert "psutil" in modules_after("import psutil")


@pytest.mark.parametrize(
    "module", ["localllm", "localllm.units", "localllm.errors", *CORE, "localllm.cli.main"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert modules_after(f"import {module}") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['localllm', *{arguments!r}]\n"
        "from localllm.cli.main import main\n"
        "try:\n    code = main()\nexcept SystemExit as end:\n    code = end.code\n"
        "assert not code, code"
    )
    assert modules_after(code) & HEAVY == set()


def test_one_answer_for_a_pipe_needs_no_markdown_and_no_dry_run(toy_model: Path) -> None:
    """What is imported before a first token is waited for."""
    arguments = ["chat", str(toy_model), "-p", "hi", "-n", "1"]
    code = (
        "import json, sys\n"
        "from localllm.engine.process import EngineProcess\n"
        "send, loaded = EngineProcess.send, []\n"
        "def spy(self, line, **rest):\n"
        "    loaded.append(sorted(sys.modules))\n"
        "    return send(self, line, **rest)\n"
        "EngineProcess.send = spy\n"
        f"from localllm.cli.main import run\nassert run({arguments!r}) == 0\n"
        "print('\\n' + json.dumps(loaded[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"localllm.core.planner", "localllm.engine.client"} <= modules
    unneeded = HEAVY - {"pynvml"}  # with a driver here, NVML is read
    unneeded |= {"markdown_it", "pygments", "importlib.metadata", "secrets", "statistics"}
    unneeded |= {"tempfile", "localllm.cli.chat.view", "localllm.engine.dryrun"}
    assert modules & unneeded == set()


def test_the_engines_child_reads_requests_without_the_planner() -> None:
    code = (
        "import localllm.engine.worker, localllm.engine.host, sys\n"
        "assert 'localllm.core.plan' not in sys.modules"
    )
    light = {"argparse", "email", "secrets", "statistics"}
    assert modules_after(code) & (HEAVY - {"llama_cpp"} | light) == set()


def test_the_core_needs_the_standard_library_alone() -> None:
    code = "\n".join(f"import {module}" for module in CORE)
    assert modules_after(code) - modules_after("pass") - set(sys.stdlib_module_names) == {
        "localllm"
    }
