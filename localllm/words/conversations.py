"""A kept conversation in a line of a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from localllm.core.text import printable

if TYPE_CHECKING:
    from localllm.records.entries import Header
    from localllm.session import Summary


def conversation_line(row: Summary, *, now_s: float) -> str:
    """Return its id, when it was used last, how much was said, and the first question.

    ``now_s``: seconds since the epoch.
    """
    return (
        f"{row.id}  {age(now_s - row.modified_s):>11}  {row.n_messages:>3} messages  "
        + printable(row.title)
    )


def changes_since(
    header: Header, *, n_bad_lines: int, model_name: str, content_id: str | None
) -> Iterator[str]:
    """Yield what is not as it was when a conversation was kept.

    ``content_id``: of the model that goes on with it; None where that is not known.
    """
    began_with = header.content_id if header.model == model_name else None
    if content_id is not None and began_with not in (None, content_id):
        yield "The model's file has changed since this conversation began."
    n = n_bad_lines
    if n:
        yield f"{n} line{'s' * (n != 1)} of the conversation could not be read and were skipped."


def age(seconds: float) -> str:
    """Return how long ago something was: ``3 days``, ``1 hour``, ``just now``."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {name}{'s' * (n != 1)}"
    return "just now"
