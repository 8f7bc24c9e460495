"""Why a plan is what it is, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.tui.looks import Panel
from localllm.words.plan import basis_sentence


class Reasons(Panel):
    """The plan's reasons, and who counted its memory."""

    plan: var[Plan | None] = var(None)

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(title="Why", empty="Reasons come with a plan.", id=id)
        self._said: tuple[str, ...] = ()

    def compose_body(self) -> ComposeResult:
        """Yield the sentences."""
        yield Static(markup=False, classes="reasons")

    def watch_plan(self, plan: Plan | None) -> None:
        """Follow another plan."""
        if plan is None or not self.is_attached:
            return
        sentences = tuple(_sentences(plan))
        if sentences != self._said:
            self._said = sentences
            lines = [Content.assemble(("· ", "$text-accent"), text) for text in sentences]
            self.query_one(".reasons", Static).update(Content("\n").join(lines))
        self.show_ready()


def _sentences(plan: Plan) -> Iterator[str]:
    for reason in plan.reasons:
        yield printable(reason)
    basis = basis_sentence(plan)
    yield printable(f"Basis: {basis}")
