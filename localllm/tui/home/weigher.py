"""A child process that plans models for the list of Home, so that the screen never waits for it.

Planning is arithmetic in Python: in a thread it would share the interpreter with the screen, and
the lane of the plan that the person looks at. The child is nice, has no network, and ends with its
standard input. What goes through the pipes is pickled: both ends are ours.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localllm.core.hardware import Hardware
from localllm.core.kept import KeptModel
from localllm.core.policy import Policy
from localllm.errors import LocalLLMError
from localllm.tui.home.rows import Verdict

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.core.plan import Plan
    from localllm.session import Session

NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all models are planned for; sent once."""

    hardware: Hardware
    wishes: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One model to be planned."""

    key: str
    """Of its row."""
    name: str
    kept: KeptModel | None = None
    """Its files, where it is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A bug: the traceback of what ended the child."""

    text: str


def weigh(session: Session, ask: Ask, wishes: Policy) -> Verdict:
    """Plan a model by the formulas and return what the plan says, or why there is none."""
    try:
        if ask.kept is not None:
            from localllm.keeping import kept_model

            own = replace(wishes, quant=None)  # a file is in the one that it is in
            decided = session.decide(ask.name, kept_model(ask.kept), own)
        else:
            decided = session.find_for_plan(ask.name, wishes)
        plan = session.plan_decided(decided)
    except LocalLLMError as error:
        return Verdict(
            words=error.message.rstrip("."), fits=None, more=tuple(filter(None, [error.hint]))
        )
    return verdict_of(decided, plan)


def verdict_of(decided: Decided, plan: Plan) -> Verdict:
    """Return what a plan says of a model, in a few words and in some sentences."""
    from localllm.session import LocalModel
    from localllm.words.kept import plan_words
    from localllm.words.plan import basis_sentence, summary
    from localllm.words.speeds import speed_sentences

    helps = [each.change for each in plan.counterfactuals] if plan.verdict != "fits" else []
    return Verdict(
        words=plan_words(plan),
        fits=plan.verdict == "fits" and plan.refusal is None,
        quant=plan.model.quant,
        n_bytes=plan.model.file_bytes,
        tok_s=None if plan.speed is None else plan.speed.tg_tok_s,
        more=(
            f"{summary(plan)}.",
            *speed_sentences(plan),
            *helps[:2],
            f"Basis: {basis_sentence(plan)}",
        ),
        is_here=isinstance(decided.model, LocalModel),
    )


def main() -> None:
    """Read what to plan for, then one model after the other, and answer each."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints to standard output is no answer
    os.nice(NICENESS)
    asked = sys.stdin.buffer
    setup: Setup = pickle.load(asked)
    from localllm.session import Session

    with Session(hardware=setup.hardware, basis="formula") as session:
        while True:
            try:
                ask: Ask = pickle.load(asked)
            except EOFError:
                return
            try:
                answer: Verdict | Broken = weigh(session, ask, setup.wishes)
            except Exception:  # the parent raises it: a bug stays a traceback
                answer = Broken(text=traceback.format_exc())
            pickle.dump(answer, answers)
            answers.flush()
