"""From what is looked at to a model that can be loaded: found, chosen, and whether it fits here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.finding import Watch
from localllm.talking.obtained import Obtained, obtained_at
from localllm.words.failures import does_not_fit, engine_refuses
from localllm.words.fetching import reading_words

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.tui.desk import Desk
    from localllm.tui.subject import Subject


def found(desk: Desk, subject: Subject, said: Callable[[str], None]) -> Obtained | Decided:
    """Return a model that is given by its file, or what its name means on this machine. Blocks.

    ``said`` hears what is being asked. Raises what ``Session.find`` does, DoesNotFitError where
    what would have to be fetched does not fit, EngineError where llama.cpp would not run it.
    """
    assert subject.name is not None
    obtained = obtained_at(subject.name, subject.wishes)
    if obtained is not None:
        return obtained
    here = replace(subject, machines=())  # one talks on this machine, whatever is planned for
    watch = Watch(
        on_reading=lambda n_bytes, waiting: said(reading_words(n_bytes, waiting)),
        on_step=said,
        on_wait=said,
    )
    decided = desk.seek(here, to_run=True, watch=watch)
    if decided.fetch is not None:
        plan = desk.plan(here, decided=decided, with_counterfactuals=False).plan
        if plan.verdict != "fits":
            raise does_not_fit(desk.plan(here, decided=decided).plan)  # says what would help
        if plan.refusal is not None:
            raise engine_refuses(plan)
    return decided
