"""A kept conversation in a line of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.core.text import printable

if TYPE_CHECKING:
    from localllm.session import Summary


def conversation_line(row: Summary, *, now_s: float) -> str:
    """Return its id, when it was used last, how much was said, and the first question.

    ``now_s``: seconds since the epoch.
    """
    return (
        f"{row.id}  {age(now_s - row.modified_s):>11}  {row.n_messages:>3} messages  "
        + printable(row.title)
    )


def age(seconds: float) -> str:
    """Return how long ago something was: ``3 days``, ``1 hour``, ``just now``."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {name}{'s' * (n != 1)}"
    return "just now"
