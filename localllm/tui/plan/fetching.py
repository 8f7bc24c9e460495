"""What has to be downloaded before a subject can be run on this machine."""

from __future__ import annotations

from localllm.choosing import Decided
from localllm.tui.desk import Desk
from localllm.tui.subject import Subject


def to_fetch(desk: Desk, subject: Subject) -> Decided:
    """Return what a subject means to be run; ``fetch`` of it is None where it is here.

    Blocks for as long as the Hub takes. Raises what ``Session.find`` does.
    """
    assert subject.name is not None, "only what has a name is fetched"
    with desk.planning():
        return desk.formula_session().find(subject.name, subject.wishes)
