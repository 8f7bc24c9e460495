"""The figures of a chat as of its last answer, for the status line."""

from __future__ import annotations

from typing import TypedDict

from localllm.core.generation import RunStats
from localllm.core.metered.readings import Unmeasured
from localllm.core.plan import Plan
from localllm.core.prediction import predicted
from localllm.talking.chat import Chat
from localllm.talking.turn import Answer
from localllm.words.loads import label
from localllm.words.status import Status


def status_of(chat: Chat) -> Status:
    """Return speed, context, memory and power, each beside its estimate where there is one."""
    session = chat.session
    plan, loaded = session.plan, session.loaded
    stats = chat.last.stats if chat.last is not None else None
    compared = session.memory_comparison()
    planned = sum(row.planned_bytes for row in compared) if compared else None
    measured = sum(row.measured_bytes for row in compared) if compared else None
    if chat.needs_load:
        measured = None
    if plan is not None and planned is None:
        planned = sum(device.self_bytes for device in plan.devices)
    return Status(
        model=label(session.model) if session.model is not None else chat.model_name,
        n_ctx=loaded.n_ctx if loaded is not None else plan.n_ctx if plan is not None else 0,
        n_ctx_used=stats.n_ctx_used if stats is not None else None,
        tok_s=stats.tg_tok_s if stats is not None else None,
        predicted_tok_s=_predicted_tok_s(plan, stats),
        planned_bytes=planned,
        measured_bytes=measured,
        phase="not loaded" if chat.needs_load else None,
        **_power(chat.last),
    )


class _PowerFields(TypedDict, total=False):
    power_w: float
    power_scope: str
    j_per_token: float


def _power(last: Answer | None) -> _PowerFields:
    """The mean watts and the joules a token of the last answer, where they were measured."""
    if last is None or last.energy is None or last.stats is None:
        return {}
    decode = last.energy.decode
    if isinstance(decode, Unmeasured) or last.stats.n_gen < 2:
        return {}
    return {
        "power_w": decode.mean_w,
        "power_scope": decode.scope,
        "j_per_token": decode.joules / (last.stats.n_gen - 1),
    }


def _predicted_tok_s(plan: Plan | None, last: RunStats | None) -> float | None:
    """The estimate for the last answer, at the depth it was measured at, or else the plan's."""
    if plan is None or plan.speed is None:
        return None
    if last is None or last.n_gen < 2:
        return plan.speed.tg_tok_s
    estimate = predicted(plan, "tg", n_tokens=last.n_gen - 1, depth=last.n_prompt)
    return estimate.tok_s if estimate is not None else None
