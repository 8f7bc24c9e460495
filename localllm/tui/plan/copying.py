"""A plan as text to be copied: a localllm command, llama.cpp's flags, or the JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from localllm.core.documents import plan_document
from localllm.tui.subject import ONE_MORE, Planned
from localllm.words.flags import command, command_line, in_lines, llama_command

Form = Literal["localllm", "llama", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What is copied, or why there is nothing to copy."""

    text: str | None
    why_not: str = ""


FORMS: Mapping[Form, str] = {
    "localllm": "localllm command",
    "llama": "llama.cpp flags",
    "json": "plan as JSON",
}
"""What each form is called."""


def copied(form: Form, planned: Planned) -> Copied:
    """Return a plan in a form."""
    return _MAKERS[form](planned)


def _localllm(planned: Planned) -> Copied:
    subject = planned.subject
    assert subject.name is not None, "only what has a name is planned"
    if ONE_MORE in subject.machines:
        return Copied(
            text=None,
            why_not="No name says what this machine with one more card is. Its plan as JSON holds "
            "the machine: saved to a file, --hardware takes that.",
        )
    verb: Literal["plan", "chat"] = "plan" if subject.machines else "chat"
    return Copied(text=command_line(command(verb, subject.name, subject.wishes, subject.machines)))


def _llama(planned: Planned) -> Copied:
    return Copied(text=in_lines(llama_command(planned.plan)))


def _json(planned: Planned) -> Copied:
    return Copied(text=json.dumps(plan_document(planned.plan), indent=2, allow_nan=False))


_MAKERS: Mapping[Form, Callable[[Planned], Copied]] = {
    "localllm": _localllm,
    "llama": _llama,
    "json": _json,
}
