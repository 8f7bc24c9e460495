"""The command's frame: help, exit codes, errors on standard error, and ends that are not errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
import pytest

import localllm as package
from localllm import errors, session
from localllm.cli import main
from localllm.core.generation import Died, Failed
from localllm.words.failures import failure
from tests.cli.conftest import Command

COMMANDS = list(main.COMMANDS)


def test_without_arguments_it_prints_the_help(localllm: Command) -> None:
    outcome = localllm()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == localllm("--help").out == localllm("-h").out
    for name in ("Usage: localllm", "Commands:", "Examples:", *COMMANDS):
        assert name in outcome.out


def test_the_version_is_the_packages(localllm: Command) -> None:
    assert localllm("--version").out == f"localllm {package.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(localllm: Command, name: str) -> None:
    outcome = localllm(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: localllm {name}")
    assert max(map(len, outcome.out.splitlines())) <= 80
    if name != "completion":
        assert "--json" in outcome.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_they_say_themselves(name: str) -> None:
    """The table is kept apart so that listing imports nothing; this holds the two together."""
    group = main.cli
    assert isinstance(group, main.LazyGroup)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == main.COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(name: str) -> None:
    heavy = {"llama_cpp", "numpy", "prompt_toolkit", "psutil", "pynvml", "rich", "textual"}
    code = (
        "import sys\n"
        "from localllm.cli.main import run\n"
        f"assert run([{name!r}, '--help']) == 0\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["plan"], "Missing argument 'MODEL'.", "localllm plan --help lists what it takes."),
        (["plan", "a", "b"], "Got unexpected extra argument", "localllm plan --help"),
        (["plam"], "No such command 'plam'.", "localllm --help lists what it takes."),
        (["--frobnicate"], "No such option", "localllm --help"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'", "--help"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_hint(
    localllm: Command, arguments: list[str], message: str, hint: str
) -> None:
    outcome = localllm(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    first, second = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second


def raising(error: BaseException) -> object:
    def find(*arguments: object, **options: object) -> NoReturn:
        raise error

    return find


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LocalLLMError("m", hint="h"), 1),
        (errors.UsageError("m", hint="h"), 2),
        (errors.DoesNotFitError("m", hint="h"), 3),
        (errors.AccessError("m", hint="h"), 4),
        (errors.NotFoundError("m", hint="h"), 5),
        (errors.EngineError("m", hint="h"), 6),
        (errors.IntegrityError("m", hint="h"), 7),
        (errors.GGUFError("m", hint="h", offset=24), 7),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_every_error_has_its_exit_code_and_leaves_stdout_empty(
    localllm: Command,
    monkeypatch: pytest.MonkeyPatch,
    error: errors.LocalLLMError,
    code: int,
    form: list[str],
) -> None:
    monkeypatch.setattr(session.Session, "find_for_plan", raising(error))
    outcome = localllm("plan", "demo", *form)
    assert (outcome.code, outcome.out, outcome.err) == (code, "", "error: m\nhint: h\n")


def test_an_error_without_a_hint_is_one_line(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.Session, "find_for_plan", raising(errors.NotFoundError("gone")))
    assert localllm("plan", "demo").err == "error: gone\n"


def test_errors_cannot_write_escapes(localllm: Command) -> None:
    outcome = localllm("plan", "evil\x1b[2J.gguf")
    assert outcome.code == 5
    assert "\x1b" not in outcome.err


def test_a_bug_stays_a_traceback(localllm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.Session, "find_for_plan", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        localllm("plan", "demo")


def test_an_interruption_is_exit_130_and_one_line(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.Session, "find_for_plan", raising(KeyboardInterrupt()))
    outcome = localllm("plan", "demo")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "interrupted\n")


def test_a_broken_pipe_of_something_else_is_a_bug(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a reader of standard output that left is nobody's fault."""
    monkeypatch.setattr(session.Session, "find_for_plan", raising(BrokenPipeError()))
    with pytest.raises(BrokenPipeError):
        localllm("plan", "demo")


@pytest.mark.parametrize("arguments", [["--help"], ["hardware", "--json"]])
def test_a_reader_that_leaves_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "localllm", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_an_error_with_words() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "localllm", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: The output could not be written: No space left on device.\n"


@pytest.mark.parametrize("command", ["--help", "plan demo"])
def test_a_closed_standard_output_is_an_error_with_words(command: str) -> None:
    done = in_a_shell(f"{command} >&-")
    assert done.returncode == 1
    assert done.stderr == "error: The output could not be written: standard output is closed.\n"


@pytest.mark.parametrize(("command", "code"), [("plan demo", 0), ("plan absent.gguf", 5)])
@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-", "2>/dev/full"])
def test_the_exit_code_survives_without_the_other_streams(
    command: str, code: int, closed: str
) -> None:
    done = in_a_shell(f"{command} {closed}")
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)


def test_a_reader_that_leaves_a_table_early_is_exit_141() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "localllm", "plan", "demo"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def in_a_shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'"$0" -m localllm {command}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localllm", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"localllm {package.__version__}\n"


DEATH = Died(message="m", hint="h", phase="load", signal="SIGKILL", out_of_memory=False)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Failed(error="UsageError", message="m"), errors.UsageError),
        (Failed(error="IntegrityError", message="m", hint="h"), errors.IntegrityError),
        (Failed(error="GGUFError", message="m"), errors.GGUFError),
        (Failed(error="annotations", message="m"), errors.EngineError),
        (Failed(error="Unheard", message="m"), errors.EngineError),
        (DEATH, errors.EngineError),
    ],
)
def test_an_engines_event_becomes_the_error_it_names(
    event: Failed | Died, kind: type[errors.LocalLLMError]
) -> None:
    error = failure(event)
    assert (type(error), error.message, error.hint) == (kind, event.message, event.hint)
