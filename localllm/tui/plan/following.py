"""What has to be planned when the wishes change, quickly first: no widget, no loop.

A change that leaves model and machine alone is planned at once with what was chosen before. Where
the name leaves a choice open, that choice is then made anew; what would help is worked out last,
since each such change is a plan of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from localllm.choosing import Decided, on_offer
from localllm.core.change import Change
from localllm.core.hardware import THIS_MACHINE
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.errors import LocalLLMError
from localllm.finding import Watch
from localllm.lookups import hardware_named, without_quant
from localllm.tui.desk import Desk
from localllm.tui.plan.knob import Offered
from localllm.tui.plan.machines import one_more
from localllm.tui.plan.wishes import applied, carried_over
from localllm.tui.subject import ONE_MORE, Planned, Subject
from localllm.words.fetching import reading_words

Wanted = Callable[[], bool]
"""Whether anybody still waits for it."""
Say = Callable[[str], None]
"""Hears what is going on; from the thread that works."""


def quickly(desk: Desk, subject: Subject, before: Planned | None, wanted: Wanted) -> Planned | None:
    """Plan with what was chosen before; None where that says nothing of this subject.

    Raises UsageError for wishes that contradict each other.
    """
    if before is None or _sought(before.subject) != _sought(subject):
        return None
    decided = carried_over(before.decided, subject.wishes)
    with desk.planning():
        if not wanted():
            return None
        return desk.plan(subject, decided=decided, with_counterfactuals=False)


def wholly(desk: Desk, subject: Subject, wanted: Wanted, *, say: Say, note: Say) -> Planned | None:
    """Find and plan a subject; None where nobody waits for it. Raises what ``Desk.find`` does.

    ``say`` hears what is waited for, ``note`` what a person should know of what was found.
    """
    watch = Watch(
        on_reading=lambda n_bytes, waiting: say(reading_words(n_bytes, waiting)),
        on_step=say,
        on_wait=say,
        on_note=note,
    )
    decided = desk.find_if(subject, wanted=wanted, watch=watch)
    if decided is None:
        return None
    with desk.planning():
        if not wanted():
            return None
        return desk.plan(subject, decided=decided, with_counterfactuals=False)


def with_help(desk: Desk, planned: Planned, wanted: Wanted) -> Plan | None:
    """Return a plan with what would help it, counted by llama.cpp where it can be asked.

    None where nobody waits for it. Where llama.cpp is not to be asked, by the formulas.
    """
    proven = desk.prove(planned, wanted=wanted)
    if proven is not None or not wanted():
        return proven
    with desk.planning():
        return desk.plan(planned.subject, decided=planned.decided).plan if wanted() else None


def leaves_a_choice(decided: Decided) -> bool:
    """Whether other wishes may lead to another quantisation or cache."""
    return decided.choice is not None


def offered(planned: Planned) -> tuple[Offered, ...]:
    """Return the quantisations that a model can be had in, the smallest first; 0.1 s."""
    assert planned.subject.name is not None, "only what has a name is planned"
    variants = on_offer(planned.subject.name, planned.decided.model)
    return tuple(
        Offered(quant=model.quant, n_bytes=model.file_bytes) for model in reversed(variants)
    )


def with_wishes(subject: Subject, wishes: Policy) -> Subject:
    """Return a subject with other wishes; a quantisation that is fixed leaves the name's place."""
    name = subject.name
    if name is not None and wishes.quant is not None and wishes.quant != subject.wishes.quant:
        name = without_quant(name)
    return replace(subject, name=name, wishes=wishes)


def helped(planned: Planned, change: Change) -> Subject:
    """Return the subject with what would help its plan."""
    subject = planned.subject
    changed = with_wishes(subject, applied(change, subject.wishes, planned.decided))
    if change.device is None:
        return changed
    return replace(changed, machines=_with_one_more(subject.machines))


def _with_one_more(machines: tuple[str, ...]) -> tuple[str, ...]:
    """Machines with one more of their card: by a name that the command line knows, if any does."""
    counted = one_more(machines)
    if counted is not None:
        with suppress(LocalLLMError):  # whole machines cannot be counted
            hardware_named(*counted)
            return counted
    return (*(machines or (THIS_MACHINE,)), ONE_MORE)


def _sought(subject: Subject) -> tuple[object, ...]:
    """What decides which file or shape a subject means."""
    wishes = subject.wishes
    chosen_by = (wishes.quant, wishes.prefer, wishes.min_tok_s, wishes.max_j_per_token)
    return (subject.name, subject.machines, *chosen_by)
