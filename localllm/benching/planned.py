"""The configurations of a run, planned before the first is loaded.

So a wish that contradicts itself ends the run before it has begun, what does not fit is known, and
the time that is left can be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localllm.core.bench.activity import OnProgress, Planning, Progress
from localllm.core.bench.sweep import Axes, Configuration, configurations
from localllm.core.bench.tests import bench_policy
from localllm.core.generation import BenchTest
from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.errors import EngineError, LocalLLMError, UsageError
from localllm.words.failures import does_not_fit

if TYPE_CHECKING:
    from localllm.session import LocalModel, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One configuration of one model, ready to be loaded."""

    local: LocalModel
    configuration: Configuration
    hardware: Hardware
    plan: Plan
    label: str
    """The settings that tell it from the others; empty where it is the only one."""
    error: LocalLLMError | None = None
    """Why it cannot be loaded."""


def plan_all(
    session: Session,
    models: Sequence[LocalModel],
    policy: Policy,
    axes: Axes,
    tests: Sequence[BenchTest],
    *,
    chat: bool,
    on_progress: OnProgress,
) -> tuple[Planned, ...]:
    """Plan every configuration of every model. Raises UsageError for a wish that makes no sense."""
    planned: list[Planned] = []
    sessions = _Sessions(session)
    try:
        for local in models:
            wishes = bench_policy(policy, tests, chat=chat, n_ctx_train=local.spec.n_ctx_train)
            for configuration in configurations(wishes, axes):
                label = _label(local, configuration, axes, several_models=len(models) > 1)
                on_progress(Progress(step=Planning(model=local.name, settings=label)))
                planned.append(_planned(sessions.on(configuration), local, configuration, label))
    finally:
        sessions.close()
    return tuple(planned)


class _Sessions:
    """The session of the whole machine, and one for each of its GPUs that is to be used alone."""

    def __init__(self, whole: Session) -> None:
        self._whole = whole
        self._alone: dict[int, Session] = {}

    def on(self, configuration: Configuration) -> Session:
        """Return the session for a configuration's devices."""
        gpus = self._whole.hardware.usable_devices
        number = configuration.main_gpu
        if configuration.split_mode == "layer" or not gpus:
            return self._whole
        if number >= len(gpus):
            raise UsageError(
                f"--main-gpu {number} names no GPU: there are {len(gpus)}.",
                hint="The first is 0; `localllm hardware` lists them.",
            )
        if number not in self._alone:
            hardware = replace(self._whole.hardware, devices=(gpus[number],))
            self._alone[number] = type(self._whole)(hardware=hardware)
        return self._alone[number]

    def close(self) -> None:
        """End what planning has started."""
        for session in self._alone.values():
            session.close()


def _planned(
    session: Session, local: LocalModel, configuration: Configuration, label: str
) -> Planned:
    try:
        plan = session.make_plan(local, configuration.policy)
    except UsageError as refused:
        if not label:
            raise
        raise UsageError(f"{label}: {refused.message}", hint=refused.hint) from None
    error: LocalLLMError | None = None
    if plan.verdict != "fits":
        error = does_not_fit(plan)
    elif plan.refusal is not None:
        error = EngineError(
            f"The installed llama.cpp would not run it ({plan.refusal.rstrip('.')}).",
            hint="Try other cache types or --flash-attn.",
        )
    return Planned(
        local=local,
        configuration=configuration,
        hardware=session.hardware,
        plan=plan,
        label=label,
        error=error,
    )


def _label(
    local: LocalModel, configuration: Configuration, axes: Axes, *, several_models: bool
) -> str:
    """Return ``n_gpu_layers 20, type_k q8_0``: what is swept, as it was asked for."""
    words = [local.name] if several_models else []
    policy = configuration.policy
    for name in (*axes.__slots__, "type_k", "type_v"):
        if name not in axes.swept:
            continue
        if name in ("split_mode", "main_gpu"):
            value = getattr(configuration, name)
        elif name == "load_mode":
            value = {None: "auto", True: "mmap", False: "none"}[policy.use_mmap]
        else:
            value = getattr(policy, name)
        if isinstance(value, tuple):
            value = "/".join(f"{share:g}" for share in value)
        words.append(f"{name} {'auto' if value is None else value}")
    return ", ".join(words)
