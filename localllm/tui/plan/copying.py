"""A plan as text to be copied: a localllm command, llama.cpp's flags, or the JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from localllm.core.documents import plan_document
from localllm.core.policy import Policy
from localllm.tui.subject import ONE_MORE, Planned
from localllm.words.flags import Verb, command, command_line, in_lines, llama_command

Form = Literal["plan", "chat", "bench", "llama", "json"]

FORMS: Mapping[Form, tuple[str, str]] = {
    "plan": ("p", "plan"),
    "chat": ("c", "chat"),
    "bench": ("b", "bench"),
    "llama": ("f", "llama.cpp flags"),
    "json": ("j", "JSON"),
}
"""The key and the name of each form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What is copied, or why there is nothing to copy."""

    text: str | None
    why_not: str = ""


def usual_form(planned: Planned) -> Form:
    """Return what a person most likely wants: to run it, where it can be run."""
    return "plan" if planned.subject.simulated else "chat"


def copied(form: Form, planned: Planned) -> Copied:
    """Return a plan in a form."""
    if form == "llama":
        return Copied(text=in_lines(llama_command(planned.plan)))
    if form == "json":
        document = plan_document(planned.plan)
        return Copied(text=json.dumps(document, indent=2, allow_nan=False))
    return _localllm(form, planned)


def _localllm(verb: Verb, planned: Planned) -> Copied:
    subject = planned.subject
    assert subject.name is not None, "only what has a name is planned"
    if verb != "plan" and subject.simulated:
        why_not = f"localllm {verb} runs on this machine, and the plan is for another one."
        return Copied(text=None, why_not=why_not)
    if ONE_MORE in subject.machines:
        return Copied(
            text=None,
            why_not="No name says what this machine with one more card is. Its plan as JSON holds "
            "the machine: saved to a file, --hardware takes that.",
        )
    wishes = _as_planned(planned) if verb == "bench" else subject.wishes
    return Copied(text=command_line(command(verb, subject.name, wishes, subject.machines)))


def _as_planned(planned: Planned) -> Policy:
    """The wishes with what bench does not choose as a plan does."""
    plan, chosen = planned.plan, planned.decided.choice is not None
    return replace(
        planned.subject.wishes,
        quant=plan.model.quant if chosen else planned.subject.wishes.quant,
        type_k=plan.type_k,
        type_v=plan.type_v,
        n_ubatch=plan.n_ubatch,
    )
