"""What the place says of loads and answers: the shells' words, and the keys of this one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from localllm.core.generation import Loaded
from localllm.records.export import CUT
from localllm.talking.figures import status_of
from localllm.words import answers
from localllm.words.loads import load_line, model_line

if TYPE_CHECKING:
    from localllm.talking.chat import Chat
    from localllm.talking.turn import Answer
    from localllm.tui.chat.progress import Load


def lines_of_load(chat: Chat, load: Load, loaded: Loaded) -> Iterator[str]:
    """Yield what was loaded and where, what it took beside what was planned, and what to know."""
    session, status = chat.session, status_of(chat)
    took = load_line(
        loaded, planned_bytes=status.planned_bytes, measured_bytes=status.measured_bytes
    )
    yield f"{model_line(session.model, session.plan, loaded)}\n{took}"
    for note in (*load.notes, *loaded.warnings):
        yield f"note: {note}"


def line_under(chat: Chat, answer: Answer) -> str | None:
    """Return the line under an answer: why it ended, the way on, and its figures."""
    figures = None
    if chat.settings.footer:
        figures = answers.footer(answer.stats, answer.energy, chat.session.plan)
    cut = CUT[answer.finish_reason] if answer.fault is not None else _ending(chat, answer)
    return " · ".join(part for part in (cut, figures) if part) or None


def _ending(chat: Chat, answer: Answer) -> str | None:
    loaded, settings = chat.session.loaded, chat.settings
    why = answers.ending(
        answer.reason,
        max_tokens=settings.max_tokens,
        n_ctx=loaded.n_ctx if loaded is not None else None,
    )
    if answer.reason == "length":
        return f"{why}: ctrl+s, max_tokens"
    if answer.reason == "context_full":
        can_shift = loaded is not None and loaded.can_shift and not settings.context_shift
        shift = ", ctrl+s, context_shift drops the oldest part" if can_shift else ""
        return f"{why}: ctrl+n starts anew, F3 plans more{shift}"
    return why


def problems(chat: Chat) -> Iterator[str]:
    """Yield, once each, why the conversation or what was measured cannot be kept."""
    problem = chat.write_error()
    if problem is not None:
        yield f"This conversation is no longer being kept: {problem}."
    unmeasured = chat.session.measuring.problem()
    if unmeasured is not None:
        yield unmeasured
