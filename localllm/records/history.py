"""The history: every load, answer and bench test that was kept, gathered into runs.

A run is a load and what was asked of the loaded model. The file grows by a line for each, several
processes at a time, and is shortened like that of the measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from localllm.records.lines import Bounds, LineFile
from localllm.records.runs import RunRecord, parse_record, record_line

BOUNDS = Bounds(shortest_line=600)


class HistoryStore:
    """The records in one file, which need not exist."""

    def __init__(self, path: Path, bounds: Bounds = BOUNDS) -> None:
        """Take the file; it is made with the first record."""
        self.path = path
        self._lines = LineFile(
            path, bounds, is_readable=lambda line: parse_record(line) is not None
        )

    def keep(self, records: Iterable[RunRecord]) -> None:
        """Append records, each with one write. Raises OSError."""
        self._lines.append([record_line(record) for record in records])

    def read(self) -> tuple[RunRecord, ...]:
        """Return what can be read, the oldest first; nothing without a file. Raises OSError."""
        return tuple(one for one in map(parse_record, self._lines.read()) if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A load and what was asked of the loaded model, in order; at least one record."""

    records: tuple[RunRecord, ...]

    @property
    def first(self) -> RunRecord:
        """What all of them share is taken from here."""
        return self.records[0]

    @property
    def began(self) -> datetime:
        """When its first record was kept."""
        return datetime.fromisoformat(self.first.time)

    @property
    def ended(self) -> datetime:
        """When its last record was kept."""
        return datetime.fromisoformat(self.records[-1].time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which runs are wanted."""

    words: tuple[str, ...] = ()
    """All of them must be in the model's name, quantisation or content id, in any case."""
    since: datetime | None = None
    """Runs that ended before are left out."""
    machine: str | None = None
    """``fingerprint.machine_key``; None: of every machine that shares the file."""


def runs(records: Sequence[RunRecord], sought: Sought) -> tuple[PastRun, ...]:
    """Return the runs that are wanted, the one used last first.

    In the file's order: a clock that was set back does not move a run into the past.
    """
    gathered: dict[str, list[RunRecord]] = {}
    for record in records:
        # Taken out and put in again: the last to be used is then the last of all.
        gathered[record.run] = [*gathered.pop(record.run, []), record]
    every = (PastRun(records=tuple(of_run)) for of_run in reversed(gathered.values()))
    return tuple(run for run in every if _is_sought(run, sought))


def _is_sought(run: PastRun, sought: Sought) -> bool:
    model = run.first.model
    names = f"{model.name} {model.quant} {model.content_id or ''}".casefold()
    return (
        all(word.casefold() in names for word in sought.words)
        and (sought.since is None or run.ended >= sought.since)
        and (sought.machine is None or run.first.machine.key == sought.machine)
    )
