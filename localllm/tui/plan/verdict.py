"""What a plan comes to, in a few lines: whether it fits, where it lies, and who counted it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive

from localllm.core.hardware import THIS_MACHINE
from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.plan.drawn import Drawn, Lines
from localllm.words.failures import does_not_fit, engine_refuses
from localllm.words.plan import (
    difference_sentence,
    model_facts,
    planned_for,
    runs,
    summary,
    verdict,
)
from localllm.words.speeds import decode, no_speed

Proof = Literal["none", "checking", "done"]
"""How far a plan is: as the formulas have it, being counted by llama.cpp, or as it will stay.

What would help a plan, and why llama.cpp cannot count it, are known when it is done.
"""

ROOMY = 96
"""Columns from which everything is said."""


class Verdict(Drawn):
    """The head of the place. ``proof`` and the plan's basis make the badge at its right."""

    proof: reactive[Proof] = reactive("none")

    def watch_proof(self) -> None:
        """Say how far it is."""
        self.fit()

    def lines(self, plan: Plan, width: int) -> Lines:
        """Return verdict and badge, then what a person must know before the figures."""
        return [line for part in self._parts(plan, width) for line in part.wrap(width)]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Never less than the line that the badge is in."""
        return max(super().get_content_height(container, viewport, width), 1)

    def _parts(self, plan: Plan, width: int) -> Iterator[Content]:
        shown = badge(plan, self.proof)
        if width >= ROOMY:
            yield from _beside(_title(plan), shown, width)
            yield from _beside(_verdict(plan), _elsewhere(plan), width)
        else:  # the masthead names model and machine, and the gauges may be out of sight
            yield _verdict(plan)
            yield from _beside(_speed(plan), shown, width)
        if plan.verdict != "fits":
            yield from _error(does_not_fit(plan), hints=self.proof == "done")
        elif plan.refusal is not None:
            yield from _error(engine_refuses(plan))
        if plan.basis_reason and self.proof == "done":
            yield Content.styled(f"Not exact: {printable(plan.basis_reason)}.", "$text-muted")
        for difference in plan.differences:
            yield Content.styled(f"≠ {printable(difference_sentence(difference))}", "$text-warning")


def badge(plan: Plan, proof: Proof) -> Content:
    """Return who counted the memory of what is shown, as far as that is known by now."""
    shape = " · recorded shape" if plan.basis == "recorded shape" else ""
    if plan.memory_basis == "exact":
        return Content.styled(f"✓ exact (llama.cpp){shape}", "$text-success")
    if proof == "checking":
        return Content.styled(f"… formula · checking{shape}", "$text-accent")
    return Content.styled(f"≈ formula · est.{shape}", "$text-accent")


def _title(plan: Plan) -> Content:
    return Content.assemble(
        (printable(plan.model.name), "bold"), "  ", (model_facts(plan.model), "$text-muted")
    )


def _verdict(plan: Plan) -> Content:
    mark, style = ("✓", "bold $text-success") if runs(plan) else ("✗", "bold $text-error")
    return Content.assemble((f"{mark} {verdict(plan)}", style), f"  {summary(plan)}")


def _elsewhere(plan: Plan) -> Content:
    """A plan for a machine that is not this one says so; nothing for this one."""
    if plan.hardware.source == THIS_MACHINE:
        return Content("")
    words = planned_for(plan.hardware)
    return Content.assemble(("▐SIMULATED▌", "bold $text-warning"), f" {words}")


def _beside(left: Content, right: Content, width: int) -> Iterator[Content]:
    """Two pieces on one line, the second at its end; on two where there is no room."""
    gap = width - left.cell_length - right.cell_length
    if gap < 2:
        yield left
        yield right
    else:
        yield Content.assemble(left, " " * gap, right)


def _speed(plan: Plan) -> Content:
    """What the gauges say first."""
    if plan.speed is None:
        return Content.styled(no_speed(plan), "$text-muted")
    return Content.assemble((decode(plan.speed).said, "bold"), (" est.", "$text-muted"))


def _error(error: LocalLLMError, *, hints: bool = True) -> Iterator[Content]:
    yield Content(printable(error.message))
    if error.hint and hints:
        yield Content.assemble(("→ ", "$text-accent"), printable(error.hint))
