"""``localllm doctor``: what is installed, what is missing, and the line that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.options import Command, json_option
from localllm.cli.output import LiveLine, emit_json, stdout_console, unicode_output
from localllm.errors import LocalLLMError

if TYPE_CHECKING:
    from rich.console import Console

    from localllm.doctor import Facts, Finding

SCHEMA = "localllm.doctor/1"

_COLOURS = {"ok": "green", "warn": "yellow", "missing": "red"}


@click.command(cls=Command, epilog="\b\nExamples:\n  localllm doctor\n  localllm doctor --json")
@json_option
def doctor(as_json: bool) -> None:
    """Check the installation; print the line that mends it.

    Exit code 0 when models can run here, 1 when something essential is missing. --json is made
    for bug reports: it holds no secrets, but names of folders and devices.
    """
    from localllm.doctor import diagnose, gather

    with LiveLine() as live:
        live.draw("asking llama.cpp and looking at this machine")
        facts = gather()
    findings = diagnose(facts)
    if as_json:
        emit_json(doctor_document(facts, findings))
    else:
        _print(stdout_console(), findings)
    missing = next((finding for finding in findings if finding.level == "missing"), None)
    if missing is not None:
        text = missing.text.rstrip(".")
        if missing.topic not in text:
            text = f"{missing.topic}: {text}"
        raise LocalLLMError(f"Models cannot run here: {text}.", hint=missing.fix)


def doctor_document(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the diagnosis as its JSON document: the verdict, the findings, and all facts."""
    from localllm.core.hardware_document import hardware_document

    levels = {finding.level for finding in findings}
    verdict = "missing" if "missing" in levels else "warn" if "warn" in levels else "ok"
    known = asdict(facts) | {
        "python_version": ".".join(map(str, facts.python_version)),
        "checkout": str(facts.checkout) if facts.checkout else None,
        "hardware": hardware_document(facts.hardware),
        **facts.meters.document,
    }
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "findings": [asdict(finding) for finding in findings],
        **known,
    }


def _print(console: Console, findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from localllm.core.text import printable
    from localllm.words.findings import MARKS

    unicode = unicode_output()
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        mark, plain = MARKS[finding.level]
        table.add_row(
            Text(mark if unicode else plain, style=f"bold {_COLOURS[finding.level]}"),
            Text(finding.topic, style="bold"),
            Text(printable(finding.text)),
        )
    console.print(table)
    for finding in findings:
        if finding.fix is not None:
            console.print(Text(f"\nTo mend {finding.topic}:", style="bold"))
            # Not wrapped by us, so that it can be copied as one line.
            console.print(Text(printable(finding.fix), style="cyan"), soft_wrap=True)
