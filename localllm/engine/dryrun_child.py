"""The dry-run child: llama.cpp's own allocator asked what a placement takes, nothing allocated.

``python -m localllm.engine.dryrun_child`` is started by ``dryrun`` and by nothing else. Questions
are JSON lines on stdin, answers JSON lines on stdout. Every import is paid before the first
answer: no dataclasses here, no protocol, no ``core``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from localllm.engine import lifeline

if TYPE_CHECKING:
    from localllm.engine.dryrun_models import DryModels

VERSION = 1
_MAX_DATA_BYTES = 8 << 30
"""No header that a dry run is asked about needs more; a hostile one shall not take the machine."""


def main() -> None:
    """Answer until stdin ends."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints to stdout is log
    lifeline.be_expendable()
    lifeline.die_with_parent(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_DATA, (_MAX_DATA_BYTES, _MAX_DATA_BYTES))
    models, why_not = _start()
    isa = [] if models is None else models.isa
    _write(answers, {"version": VERSION, "unavailable": why_not, "isa": isa})
    if models is None:
        return
    for line in questions:
        _write(answers, models.answer(json.loads(line)))
    os._exit(0)


def _start() -> tuple[DryModels | None, str | None]:
    """Load llama.cpp and check it. Return what answers, or why nothing does."""
    try:
        from localllm.engine.dryrun_models import DryModels
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return None, f"llama.cpp cannot be loaded: {error}"
    from localllm.engine.layouts import UnknownLayout

    try:
        return DryModels(), None
    except UnknownLayout as error:
        return None, str(error)


def _write(to: BinaryIO, message: dict[str, Any]) -> None:
    to.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    to.flush()


if __name__ == "__main__":
    main()
