"""What a person may do with the records of their runs: look at them, and have them forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.errors import LocalLLMError
from localllm.records.history import HistoryStore, PastRun, Sought, runs
from localllm.records.lines import count_lines
from localllm.records.state import history_path, measurements_path, shortfalls_path


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file that holds what was measured."""

    path: Path
    what: str
    """What it is to the person: ``the history of runs``."""
    n: int
    """Lines in it."""


def past_runs(sought: Sought) -> tuple[PastRun, ...]:
    """Return the runs that were kept, the one used last first; none where nothing was.

    Raises LocalLLMError (exit 1) for a history that cannot be read.
    """
    store = HistoryStore(history_path())
    try:
        return runs(store.read(), sought)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LocalLLMError(f"{store.path} cannot be read: {reason}.") from error


def kept_files() -> tuple[KeptFile, ...]:
    """Return the files that hold what was measured, as far as there are any.

    Raises LocalLLMError (exit 1) where that cannot be told.
    """
    found = []
    for path, what in (
        (history_path(), "the history of runs"),
        (measurements_path(), "the measurements that move the estimates"),
        (shortfalls_path(), "the notes on where memory ran out"),
    ):
        try:
            found.append(KeptFile(path=path, what=what, n=count_lines(path)))
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocalLLMError(f"{path} cannot be read: {reason}.") from error
    return tuple(found)


def forget(files: Sequence[KeptFile]) -> None:
    """Delete what was measured. Raises LocalLLMError (exit 1) where that is not allowed."""
    for kept in files:
        try:
            kept.path.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocalLLMError(f"{kept.path} cannot be deleted: {reason}.") from error
