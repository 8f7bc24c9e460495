"""What a run does with the desk's engine and models. All of it blocks: it is called in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.benching.whole import Measured, WholeRun
from localllm.session import LocalModel
from localllm.talking.obtained import Obtained, obtained_of
from localllm.tui.bench.preview import Preview
from localllm.tui.desk import Desk
from localllm.tui.fetching.finding import found

if TYPE_CHECKING:
    from localllm.choosing import Decided


def measured_with(desk: Desk, run: WholeRun, model: LocalModel, chosen: Preview) -> Measured | None:
    """Measure; whatever is loaded lets go of its memory before, and this model afterwards.

    None where another place is at work with the engine.
    """
    if not desk.take_engine("bench"):
        return None
    try:
        desk.release()
        session = desk.run_session()
        try:
            return run.measure(session, model, chosen.policy, chosen.wanted)
        finally:
            if desk.running is session:
                desk.release()
    finally:
        desk.give_engine("bench")


def to_run(desk: Desk, chosen: Preview) -> LocalModel | Decided:
    """Return the model of a run, or what has to be fetched for it.

    Raises what ``Session.find`` does, DoesNotFitError for what would be fetched in vain.
    """
    what = found(desk, chosen.subject, lambda text: None)
    if isinstance(what, Obtained):
        return what.model
    if what.fetch is None:
        return obtained_of(what, chosen.subject.name or "").model
    return what
