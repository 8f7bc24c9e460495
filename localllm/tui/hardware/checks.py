"""The doctor's findings: problems first, each with the line that mends it, to be copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Static

from localllm.core.text import printable
from localllm.doctor import Finding
from localllm.doctor.finding import Level
from localllm.tui.looks import Panel
from localllm.tui.widgets.labelled import Labelled, Row
from localllm.words.findings import MARKS

_STYLES: Mapping[Level, str] = {
    "ok": "$text-success",
    "warn": "$text-warning",
    "missing": "$text-error",
}

_ORDER: Mapping[Level, int] = {"missing": 0, "warn": 1, "ok": 2}


class CopyAsked(Message):
    """The person wants a line in the clipboard."""

    def __init__(self, text: str) -> None:
        """Take the line."""
        super().__init__()
        self.text = text


class Fix(Static, can_focus=True):
    """A line that mends something. Enter or a click copies it."""

    DEFAULT_CSS = """
    Fix {
        height: auto;
        padding: 0 0 0 2;
        color: $text-accent;
        &:focus { background: $block-cursor-background; color: $block-cursor-foreground; }
        &:hover { text-style: underline; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "copy",
            "Copy the line",
            id="checks.copy",
            tooltip="Copy the line that mends this, to be pasted into a shell",
        )
    ]

    def __init__(self, finding: Finding) -> None:
        """Take a finding that has one."""
        self._line = finding.fix or ""
        super().__init__(Content.assemble("→ ", printable(self._line)))
        self.tooltip = "enter or a click copies it"

    def action_copy(self) -> None:
        """Ask for it to be copied."""
        self.post_message(CopyAsked(self._line))

    def on_click(self, event: Click) -> None:
        """Do as enter does."""
        event.stop()
        self.action_copy()


class ChecksPanel(Panel):
    """Give it ``findings``."""

    findings: var[tuple[Finding, ...]] = var[tuple[Finding, ...]](
        (), init=False, always_update=True
    )

    def __init__(self) -> None:
        """Begin before anything was looked at."""
        super().__init__(title="checks", id="checks")
        self._list = Findings()

    def compose_body(self) -> Iterable[Widget]:
        """Yield the list."""
        yield self._list

    def watch_findings(self, findings: tuple[Finding, ...]) -> None:
        """Show what was found."""
        n = sum(finding.level != "ok" for finding in findings)
        self.border_title = "checks" + (f" · {n} problem{'s' * (n > 1)}" if n else "")
        if findings:
            self._list.findings = findings
            self.show_ready()


class Findings(Vertical):
    """Problems with their lines, then what is fine."""

    DEFAULT_CSS = """
    Findings { height: auto; }
    """

    findings: var[tuple[Finding, ...]] = var[tuple[Finding, ...]](
        (), init=False, always_update=True
    )

    def compose(self) -> ComposeResult:
        """Yield them."""
        width = max((len(finding.topic) for finding in self.findings), default=0)
        for finding in sorted(self.findings, key=lambda finding: _ORDER[finding.level]):
            yield Labelled([_row(finding, width=width)])
            if finding.fix is not None:
                yield Fix(finding)

    async def watch_findings(self) -> None:
        """Compose anew."""
        await self.recompose()


def _row(finding: Finding, *, width: int) -> Row:
    mark, _ = MARKS[finding.level]
    style = f"bold {_STYLES[finding.level]}"
    label = Content.assemble((mark, style), " ", (finding.topic.ljust(width), "bold"))
    return Row(label=label, lines=(Content(printable(finding.text)),))
