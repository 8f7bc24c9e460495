"""Every message of an error is a sentence, wherever it is raised."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import localllm
from localllm import errors

KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.LocalLLMError)
}
ROOT = Path(localllm.__file__).parent
NAMED_FIRST = (
    "hub/gguf/foreign.py",
    "hub/gguf/tensors.py",
    "hub/gguf/kinds.py",
    "hub/gguf/reader.py",
    "hub/headers/remote.py",
)
"""Their messages follow the name of the file and a colon."""


def messages() -> Iterator[tuple[str, str, bool]]:
    """Where, the text with {} for what is filled in, and whether it begins a sentence."""
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in KINDS and node.args and (text := shown(node.args[0])):
                yield f"{place}:{node.lineno}", text, place not in NAMED_FIRST


def shown(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part) or "{}" for part in node.values)
    return None


def test_every_error_is_a_sentence() -> None:
    found = list(messages())
    assert len(found) > 60
    passed_on = ("{}: {}",)  # a finished sentence after the name of its file
    open_ended = [(p, text) for p, text, _ in found if text[-1] not in ".?!"]
    assert [each for each in open_ended if each[1] not in passed_on] == []
    product = ("llama", "localllm", "profiles/", "-", "{", '"')
    lower = [(p, t) for p, t, begins in found if begins and not t[0].isupper()]
    assert [each for each in lower if not each[1].startswith(product)] == []


def test_no_hint_names_an_option_that_does_not_exist() -> None:
    import re

    import click

    from localllm.cli.main import COMMANDS, cli

    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in COMMANDS]
    known = {"--help", "--version"} | {
        option
        for c in commands
        if c
        for parameter in c.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    of_others = {"--force-reinstall", "--no-cache-dir", "--upgrade"}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                named = set(re.findall(r"(?<![\\w-])--[a-z][a-z-]+", shown(node.value) or ""))
                assert named <= known | of_others, f"{path.name}: {named - known}"
