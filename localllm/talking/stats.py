"""All figures of a chat, each beside its estimate where there is one."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.talking.chat import Chat
from localllm.words.chat_stats import (
    answer_lines,
    health_lines,
    memory_lines,
    meters_lines,
    predicted_line,
    totals_line,
)
from localllm.words.energy_lines import Line, energy_lines


def stats(chat: Chat) -> Iterator[Line]:
    """Yield what each figure is about, empty where it goes on with the one before, and its text."""
    answer, session = chat.last, chat.session
    last = answer.stats if answer is not None else None
    finished = answer.finished if answer is not None else None
    yield from answer_lines(last, "host" if finished is None else finished.sampled_on)
    yield totals_line(chat.totals)
    yield from memory_lines(session.memory_comparison(), session.loaded)
    plan, meters = session.plan, session.measuring.meters
    if plan is not None and plan.speed is not None:
        yield predicted_line(plan.speed)
    if last is not None and answer is not None:
        yield from energy_lines(last, answer.energy, plan)
    elif meters is not None:
        yield from meters_lines(meters.live())
    yield from health_lines(meters.health() if meters is not None else ())
    yield "kept in", str(chat.conversation.path or "nothing: it is not being kept")
