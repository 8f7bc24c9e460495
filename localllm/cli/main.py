"""The ``localllm`` command: its sub-commands, loaded when they are called, and the exit codes.

Exit codes: 0 ok; 1 failed; 2 usage; 3 does not fit; 4 access refused; 5 not found or not available
offline; 6 the engine died; 7 integrity; 130 interrupted; 141 the reader of standard output left
(128 + SIGPIPE, as for any other program in a pipeline). A bug is none of these: it is a traceback.

Nothing heavy is imported here: ``localllm --help`` costs Python, click and this file.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

from localllm import __version__
from localllm.cli.options import CONTEXT_SETTINGS
from localllm.cli.output import reader_has_left, show_error, silence_stdout
from localllm.errors import LocalLLMError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_VARIABLE = "_LOCALLLM_COMPLETE"
"""Set by a completion script when it asks; click's own convention."""

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyCommand:
    """Where a sub-command lives, and its line in the help, so that listing it imports nothing."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "ui": LazyCommand(
        module="localllm.cli.ui",
        attribute="ui",
        summary="Open the terminal UI, as localllm alone does.",
    ),
    "chat": LazyCommand(
        module="localllm.cli.chat.command",
        attribute="chat",
        summary="Talk to MODEL at the terminal, or answer once.",
    ),
    "plan": LazyCommand(
        module="localllm.cli.plan",
        attribute="plan",
        summary="Show what fits where, and why.",
    ),
    "compare": LazyCommand(
        module="localllm.cli.compare",
        attribute="compare",
        summary="Compare machines for one model: what fits, how fast, how hungry.",
    ),
    "recommend": LazyCommand(
        module="localllm.cli.recommend",
        attribute="recommend",
        summary="Name the known models that a machine runs well.",
    ),
    "bench": LazyCommand(
        module="localllm.cli.bench.command",
        attribute="bench",
        summary="Measure a model's speed as llama-bench does.",
    ),
    "pull": LazyCommand(
        module="localllm.cli.pull",
        attribute="pull",
        summary="Fetch a model and verify it, without running it.",
    ),
    "list": LazyCommand(
        module="localllm.cli.kept.list",
        attribute="list_command",
        summary="List the models that are here, and how each would run.",
    ),
    "show": LazyCommand(
        module="localllm.cli.kept.show",
        attribute="show",
        summary="Show what a model is: shape, licence, tensor types, template.",
    ),
    "rm": LazyCommand(
        module="localllm.cli.kept.remove",
        attribute="remove",
        summary="Delete models that were fetched here.",
    ),
    "verify": LazyCommand(
        module="localllm.cli.kept.verify",
        attribute="verify",
        summary="Check that files are what they should be, by their hashes.",
    ),
    "prune": LazyCommand(
        module="localllm.cli.kept.prune",
        attribute="prune",
        summary="Delete what downloads left over in the cache.",
    ),
    "history": LazyCommand(
        module="localllm.cli.history",
        attribute="history",
        summary="Show what was run here: predicted beside measured.",
    ),
    "hardware": LazyCommand(
        module="localllm.cli.hardware",
        attribute="hardware",
        summary="Show this machine as the planner sees it, or a machine by name.",
    ),
    "doctor": LazyCommand(
        module="localllm.cli.doctor",
        attribute="doctor",
        summary="Check the installation; print the line that mends it.",
    ),
    "completion": LazyCommand(
        module="localllm.cli.completion",
        attribute="completion",
        summary="Print a completion script for bash, zsh or fish.",
    ),
}


ALIASES = {"ls": "list", "remove": "rm"}
"""Other names that work, and that no list shows."""


class LazyGroup(click.Group):
    """A group that lists its commands from a table and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or return None for an unknown name."""
        lazy = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if lazy is None:
            return None
        command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands without importing any."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=lazy.summary)
            for name, lazy in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=CONTEXT_SETTINGS,
    epilog="""\
\b
Examples:
  localllm
  localllm chat demo
  localllm chat demo -p "Which command shows the plan?"
  localllm chat llama-3-8b
  localllm plan model.gguf --ctx 32k --kv q8_0
  localllm plan model.gguf --hardware rtx-4090
  localllm bench model.gguf --json

A model is a known name (llama-3-8b, llama-3-8b:Q5_K_M), a repository on the Hub
(user/repo:Q4_K_M), a path to a .gguf file (of a split file, its first part), or demo, a small
model that comes with localllm. With --json a command prints a document for scripts.
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run language models on this machine: what fits, how it is placed, how fast it is.

    localllm plans before it loads, runs the model on llama.cpp, and shows the estimate next to
    the measurement.
    """
    if ctx.invoked_subcommand is None:
        from localllm.cli.ui import at_a_terminal, ui

        if not at_a_terminal():
            click.echo(ctx.get_help())
            return
        with ui.make_context("ui", [], parent=ctx) as inner:
            ui.invoke(inner)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are printed, bugs are raised."""
    try:
        code = _invoke(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end_line("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        if not reader_has_left(sys.stdout):
            raise
        silence_stdout()
        return EXIT_BROKEN_PIPE
    except LocalLLMError as error:
        show_error(error)
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        silence_stdout()
        show_error(LocalLLMError(f"The output could not be written: {error.strerror}."))
        return LocalLLMError.exit_code
    return code


def main() -> NoReturn:
    """Run the process's own command line and exit."""
    gc.set_threshold(50_000, 20, 20)  # imports make objects and no garbage: a tenth of a start
    stdout_is_open = _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 shows "?" where it cannot show a character.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if not stdout_is_open:
        show_error(LocalLLMError("The output could not be written: standard output is closed."))
        sys.exit(LocalLLMError.exit_code)
    sys.exit(run(sys.argv[1:]))


def _open_missing_streams() -> bool:
    """Give standard streams that the caller closed a place; return whether output has one.

    Otherwise the next file that is opened would become standard output or standard error, and what
    llama.cpp prints would be written into it.
    """
    stdout_is_open = sys.stdout is not None
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(spare, True)
    os.close(spare)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115  (it stays open)
    return stdout_is_open


def _invoke(args: Sequence[str]) -> int:
    """Parse and call, turning click's own exceptions into ours."""
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from localllm.cli.completion import complete

        return complete(cli, instruction)
    try:
        with cli.make_context("localllm", list(args)) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.UsageError as error:
        raise UsageError(error.format_message(), hint=_usage_hint(error)) from None
    except click.ClickException as error:
        raise LocalLLMError(error.format_message()) from None
    return 0


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "localllm"
    return f"{path} --help lists what it takes."


def _end_line(text: str) -> None:
    """Say why it ended; on a terminal over what ^C has echoed."""
    start = "\r\x1b[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
    click.echo(f"{start}{text}", err=True, color=bool(start))


if __name__ == "__main__":
    main()
