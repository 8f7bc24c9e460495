"""The energy of one answer, prompt and generation apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localllm.core.generation import RunStats, Timeline
from localllm.core.metered.idle import with_idle
from localllm.core.metered.per_token import PerToken, per_token
from localllm.core.metered.readings import Energy, Idle, Source, Trace, Unmeasured
from localllm.core.metered.sums import together_known
from localllm.core.metered.window import energy


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEnergy:
    """What an answer took. ``prefill`` and ``decode`` add up to ``total`` within their errors."""

    prefill: Energy | Unmeasured
    """From the prompt's first batch to its last."""
    decode: Energy | Unmeasured
    """From the first token to the last: ``n_gen - 1`` tokens."""
    total: Energy | Unmeasured
    """From the prompt's first batch to the last token."""


def energy_of(
    traces: Sequence[Trace],
    began_s: float,
    ended_s: float,
    *,
    idle: Mapping[Source, Idle] | None = None,
) -> Energy | Unmeasured:
    """Return the energy of one window, summed over meters that may be added (``sums.addable``).

    A meter that gave nothing is named in the scope: ``1 of 2 GPU boards``. ``idle``: draws by
    meter; net figures need one for each.
    """
    found: list[tuple[Source, Energy | Unmeasured]] = []
    for trace in traces:
        part = energy(trace, began_s, ended_s)
        draw = (idle or {}).get(trace.source)
        if isinstance(part, Energy) and draw is not None:
            part = with_idle(part, draw)
        found.append((trace.source, part))
    return together_known(found)


def answer_energy(
    traces: Sequence[Trace], timeline: Timeline, *, idle: Mapping[Source, Idle] | None = None
) -> AnswerEnergy:
    """Return the energy of an answer's phases, each as ``energy_of`` has it."""
    began_s, ended_s = timeline.prompt_began_s, timeline.last_token_s
    return AnswerEnergy(
        prefill=energy_of(traces, began_s, timeline.prompt_ended_s, idle=idle),
        decode=energy_of(traces, timeline.first_token_s, ended_s, idle=idle),
        total=energy_of(traces, began_s, ended_s, idle=idle),
    )


def prefill_per_token(
    answer: AnswerEnergy, stats: RunStats, *, net: bool = False
) -> PerToken | Unmeasured:
    """Return joules for each prompt token that was evaluated; cached ones took none."""
    return per_token(answer.prefill, stats.n_prompt - stats.n_cached, net=net)


def decode_per_token(
    answer: AnswerEnergy, stats: RunStats, *, net: bool = False
) -> PerToken | Unmeasured:
    """Return joules for each generated token after the first, which falls out of the prefill."""
    return per_token(answer.decode, stats.n_gen - 1, net=net)
