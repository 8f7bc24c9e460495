"""``localllm verify``: every byte of what is here, against the hash that its keeper states."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from localllm.cli.completers import complete_kept
from localllm.cli.options import Command, Option, json_option
from localllm.cli.output import LiveLine, emit_json, note, result, unicode_output
from localllm.core.fetching import FetchProgress, FileState, Rate
from localllm.core.kept import KeptModel, Verdict
from localllm.core.text import printable
from localllm.errors import IntegrityError, LocalLLMError, NotFoundError
from localllm.words.fetching import live_line
from localllm.words.kept import checked_line, set_aside_line, verdict_lines

SCHEMA = "localllm.verify/1"

EXAMPLES = """\
\b
Examples:
  localllm verify
  localllm verify bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
  localllm verify NAME --repair

The Hugging Face cache and Ollama name files by their hashes. Elsewhere nothing states what a file
should be: its header is read, and that is said. Exit code 7 says that a file is corrupt, 5 that a
part of a model is missing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file, and what became of it."""

    model: KeptModel
    verdict: Verdict
    set_aside: Path | None = None
    """Where it lies now."""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_kept)
@click.option(
    "--repair",
    is_flag=True,
    cls=Option,
    help="Set corrupt files aside, so that localllm pull fetches them anew.",
)
@json_option
def verify(names: tuple[str, ...], repair: bool, as_json: bool) -> None:
    """Check that files are what they should be, by their hashes.

    Every byte is read. Without a NAME all models that are here are checked.
    """
    from localllm import keeping

    models = keeping.named_kept(names)
    if not models and not as_json:
        result("No model is here that could be checked.")
        return
    began_s = time.monotonic()
    checked = []
    for each in check(models):
        if repair and each.verdict.result == "corrupt":
            each = _repaired(each)
        checked.append(each)
        if not as_json:
            for text in lines(each):
                result(printable(text))
    counts = Counter(each.verdict.result for each in checked)
    if as_json:
        emit_json(document(checked))
    else:
        verdicts = [each.verdict for each in checked]
        result(checked_line(verdicts, time.monotonic() - began_s))
    _raise(checked, counts, repair=repair)


def check(models: Sequence[KeptModel]) -> Iterator[Checked]:
    """Yield every file of the models with its verdict; draws how far it is on standard error."""
    from localllm import keeping

    state = FileState(path="", n_bytes=sum(model.n_bytes for model in models), phase="fetching")
    rate = Rate()
    with LiveLine() as line:
        unicode = unicode_output()
        for model in models:

            def on_bytes(n_bytes: int, name: str = printable(model.name)) -> None:
                nonlocal state
                state = replace(state, n_done=min(state.n_done + n_bytes, state.n_bytes))
                if not line.live:
                    return
                rate.add(time.monotonic(), state.n_done)
                line.draw(
                    live_line(
                        name,
                        FetchProgress(files=(state,)),
                        rate.bytes_per_s,
                        width=line.columns - 1,
                        unicode=unicode,
                        verb="checking",
                    )
                )

            for verdict in keeping.verify(model, on_bytes=on_bytes):
                line.wipe()
                yield Checked(model=model, verdict=verdict)


def lines(each: Checked) -> Iterator[str]:
    """Yield what is said of one file."""
    yield from verdict_lines(each.model, each.verdict)
    if each.set_aside is not None:
        yield f"{'':<8} {set_aside_line(each.model)}"


def document(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return the verdicts as JSON."""
    counts = Counter(each.verdict.result for each in checked)
    return {
        "schema": SCHEMA,
        **{word: counts[word] for word in ("ok", "corrupt", "unknown", "missing")},
        "files": [
            {
                "model": each.model.name,
                "keeper": each.model.keeper,
                "path": str(each.verdict.path),
                "n_bytes": each.verdict.n_bytes,
                "result": each.verdict.result,
                "reason": each.verdict.reason,
                "set_aside": str(each.set_aside) if each.set_aside else None,
            }
            for each in checked
        ],
    }


def _repaired(each: Checked) -> Checked:
    """The same with the corrupt file out of the way; where that cannot be, a note says why."""
    from localllm import keeping

    try:
        return replace(each, set_aside=keeping.set_aside(each.verdict))
    except LocalLLMError as error:
        note(" ".join(filter(None, (error.message, error.hint))))
        return each


def _raise(checked: Sequence[Checked], counts: Counter[Any], *, repair: bool) -> None:
    """Raise what makes the exit code."""
    bad = list(dict.fromkeys(e.model.name for e in checked if e.verdict.result == "corrupt"))
    if bad:
        left = [e for e in checked if e.verdict.result == "corrupt" and e.set_aside is None]
        again = f"`localllm pull {printable(bad[0])}` fetches it anew."
        if not repair:
            again = f"`localllm verify {printable(bad[0])} --repair` sets it aside, then {again}"
        n = counts["corrupt"]
        raise IntegrityError(
            f"{n:,} file{'s are' if n != 1 else ' is'} corrupt, of {printable(', '.join(bad))}.",
            hint=None if repair and left else again,
        )
    absent = next((each.model for each in checked if each.verdict.result == "missing"), None)
    if absent is not None:
        raise NotFoundError(
            f"{printable(absent.name)} is incomplete.",
            hint=f"`localllm pull {printable(absent.name)}` fetches what is missing."
            if absent.can_be_removed
            else None,
        )
