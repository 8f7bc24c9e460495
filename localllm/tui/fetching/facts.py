"""What a person is told before a download: which file and why, its cost, what to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual.content import Content

from localllm.core.plan import Plan
from localllm.core.text import printable
from localllm.units import format_bytes
from localllm.words.choosing import choice_line
from localllm.words.fetching import before_line, licence_words, not_fitting
from localllm.words.plan import model_facts

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.core.fetching import ToFetch


def before(decided: Decided, wanted: ToFetch, *, plan: Plan | None) -> Content:
    """Return the lines about a model that is to be fetched.

    ``plan``: of it on this machine, as soon as there is one.
    """
    return Content("\n").join(_lines(decided, wanted, plan))


def _lines(decided: Decided, wanted: ToFetch, plan: Plan | None) -> Iterator[Content]:
    yield Content(model_facts(decided.model.spec))
    why = choice_line(decided)
    if why is not None:
        yield Content(printable(why))
    yield Content("")
    yield Content(before_line(wanted))
    if wanted.here_bytes and wanted.left_bytes:
        yield Content(f"{format_bytes(wanted.here_bytes)} of it are here already.")
    licence = licence_words(wanted.licence or "not stated on its page", is_gated=wanted.is_gated)
    yield Content(printable(f"Licence: {licence}."))
    unfit = None if plan is None else not_fitting(plan)
    if unfit is not None:
        yield Content.styled(f"! {unfit}", "$text-warning")
    yield Content("")
    for file in wanted.files:
        yield Content.styled(
            f"  {printable(file.path)}  {format_bytes(file.n_bytes)}", "$text-muted"
        )
