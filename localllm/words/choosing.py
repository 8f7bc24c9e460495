"""What was chosen among the quantisations of a model, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localllm.choosing import Decided


def choice_line(decided: Decided) -> str | None:
    """Return what was chosen, why, and what comes next to it.

    None where there was nothing to choose between.
    """
    if decided.choice is None or decided.runner_up is None:
        return None
    from localllm.core.choice_words import taken

    choice = decided.choice
    words = taken(choice.best, decided.runner_up) if choice.best.fits else choice.reason
    if decided.fetch is None and choice.best.fits:
        words = f"Of what is here {words}"
    return words if choice.unmet is None else f"{words} {choice.unmet}"
