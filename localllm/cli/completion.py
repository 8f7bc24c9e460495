"""``localllm completion``: click's completion for bash, zsh and fish, made to walk into folders.

click's scripts put a space after every completed word; after a folder that is wrong, so the bash
and zsh scripts here leave it out where the word ends in a slash. fish does so by itself.
"""

from __future__ import annotations

from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from localllm.cli.options import Command
from localllm.errors import LocalLLMError

PROGRAM = "localllm"
VARIABLE = "_LOCALLLM_COMPLETE"
"""``COMPLETION_VARIABLE`` of ``cli/main.py``, which reads it before this module is needed."""


class _Bash(BashComplete):
    """bash takes the colon of ``user/repo:Q4_K_M`` for a word of its own, and puts an answer behind
    it: so words are joined again, and what stands before the colon is left out of the answer.
    """

    _typed = ""
    """What of the last word bash keeps as it is."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the last one, and that one, with their colons."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in (*args, incomplete):
            if words and (word == ":" or words[-1].endswith(":")) and ":" in (*args, incomplete):
                words[-1] += word
            else:
                words.append(word)
        *args, last = words
        if ":" in last and last != incomplete:
            self._typed = last[: last.rindex(":") + 1]
        return args, last

    def format_completion(self, item: CompletionItem) -> str:
        """Return one answer, without what bash keeps."""
        return f"{item.type},{item.value.removeprefix(self._typed)}"

    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "            COMPREPLY+=($value)\n",
        '            COMPREPLY+=("$value")\n            [[ $value == */ ]] && compopt -o nospace\n',
    )


class _Zsh(ZshComplete):
    source_template: ClassVar[str] = ZshComplete.source_template.replace(
        "        compadd -U -V unsorted -a completions\n",
        "        compadd -U -V unsorted -S '' -- ${(M)completions:#*/}\n"
        "        compadd -U -V unsorted -- ${completions:#*/}\n",
    )


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": FishComplete}


@click.command(cls=Command, epilog="\b\nExample:\n  localllm completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for bash, zsh or fish.

    It completes commands, options and their values, folders, .gguf files and hardware names.
    """
    root = ctx.find_root().command
    click.echo(_SHELLS[shell](root, {}, PROGRAM, VARIABLE).source(), nl=False)


def complete(root: click.Command, instruction: str) -> int:
    """Answer a completion script (``bash_complete``) and return the exit code."""
    for shell in _SHELLS.values():
        add_completion_class(shell)
    code = shell_complete(root, {}, PROGRAM, VARIABLE, instruction)
    if code:
        raise LocalLLMError(
            f"{VARIABLE}={instruction} is not a request that localllm knows.",
            hint="Unset it; the scripts of localllm completion set it themselves.",
        )
    return code
