"""What a run would be, before it is started: the plan, the tests, how long it takes. It blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localllm.benching.wanted import (
    Estimate,
    Wanted,
    estimates,
    expected_s,
    proposed,
    usual,
)
from localllm.core.bench.sweep import Axes, configurations
from localllm.core.bench.tests import bench_policy, check_size
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.planning import Plannable
from localllm.session import LocalModel, Session
from localllm.talking.obtained import obtained_at
from localllm.tui.desk import Desk
from localllm.tui.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A run that could be started."""

    subject: Subject
    wanted: Wanted
    plan: Plan
    """By the formulas; the run asks llama.cpp."""
    seconds: float | None
    """Once the model is loaded; None where nobody can say."""
    estimates: tuple[Estimate, ...]
    """What the plan expects of the tests."""
    model: LocalModel | None
    """None: its files are not here."""

    @property
    def policy(self) -> Policy:
        """The person's wishes, for the run."""
        return self.subject.wishes


def preview(desk: Desk, subject: Subject, wanted: Wanted | None) -> Preview:
    """Return what a run of a subject's model on this machine would be.

    ``wanted``: None for what ends within a minute. Raises what ``Desk.find`` does, and UsageError
    for tests that make no sense.
    """
    assert subject.name is not None
    obtained = obtained_at(subject.name, subject.wishes)
    found: Plannable
    if obtained is not None:
        found = obtained.model
    else:
        found = desk.find(replace(subject, machines=())).model
    policy = replace(subject.wishes, quant=None)  # it has been found
    with desk.planning():
        session = desk.formula_session()
        if wanted is None:
            wanted = _proposed(session, found, policy)
        check_size(1, Axes.of_policy(policy), wanted.tests)
        plan = _planned(session, found, policy, wanted)
    return Preview(
        subject=subject,
        wanted=wanted,
        plan=plan,
        seconds=expected_s(plan, wanted),
        estimates=estimates(plan, wanted.tests),
        model=found if isinstance(found, LocalModel) else None,
    )


def _proposed(session: Session, found: Plannable, policy: Policy) -> Wanted:
    """Return what ends within a minute, in a plan that has room for its deepest test."""
    limits = [n for n in (policy.n_ctx, found.spec.n_ctx_train) if isinstance(n, int) and n]
    most_tokens = min(limits) if limits else None
    least = replace(usual("quick"), chat=False)
    wanted = proposed(_planned(session, found, policy, least), most_tokens=most_tokens)
    return proposed(_planned(session, found, policy, wanted), most_tokens=most_tokens)


def _planned(session: Session, found: Plannable, policy: Policy, wanted: Wanted) -> Plan:
    wishes = bench_policy(
        policy, wanted.tests, chat=wanted.chat, n_ctx_train=found.spec.n_ctx_train
    )
    (configuration,) = configurations(wishes, Axes.of_policy(policy))
    return session.make_plan(found, configuration.policy)
