"""What a chat says about itself in lines: the banner, ``/stats``, the figures under an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.core.plan import Plan
from localllm.talking.chat import Chat
from localllm.talking.figures import status_of
from localllm.talking.stats import stats as figures
from localllm.talking.turn import Answer
from localllm.words import answers, loads
from localllm.words.conversations import conversation_line

if TYPE_CHECKING:
    from localllm.session import Summary


def model_line(chat: Chat) -> str:
    """Return what is loaded and how it is placed, in one line, the name first."""
    session = chat.session
    return loads.model_line(session.model, session.plan, session.loaded)


def load_line(chat: Chat) -> str:
    """Return what the load showed: predicted beside measured memory, the time, the template."""
    status = status_of(chat)
    return loads.load_line(
        chat.session.loaded,
        planned_bytes=status.planned_bytes,
        measured_bytes=status.measured_bytes,
    )


def footer(answer: Answer, plan: Plan | None = None) -> str | None:
    """Return the figures under an answer, the plan's estimate beside them; None without any."""
    return answers.footer(answer.stats, answer.energy, plan)


def ending(answer: Answer, chat: Chat) -> str | None:
    """Return why an answer ended, where that is not the model's own end, and the ways on."""
    loaded = chat.session.loaded
    why = answers.ending(
        answer.reason,
        max_tokens=chat.settings.max_tokens,
        n_ctx=loaded.n_ctx if loaded is not None else None,
    )
    if answer.reason == "length":
        return f"{why}: /set max_tokens none"
    if answer.reason == "context_full":
        shift = (
            ", /set context_shift on drops the oldest part"
            if loaded is not None and loaded.can_shift and not chat.settings.context_shift
            else ""
        )
        return f"{why}: /clear starts anew, --ctx gives more{shift}"
    return why


def stats(chat: Chat) -> Iterator[str]:
    """Yield the lines of ``/stats``."""
    for name, text in figures(chat):
        yield f"  {name:<12}  {text}"


def conversations(rows: Sequence[Summary]) -> list[str]:
    """Return one line per conversation, the one used last first."""
    now_s = time.time()
    return ["  " + conversation_line(row, now_s=now_s) for row in rows] or [
        "  No conversation has been kept yet."
    ]
