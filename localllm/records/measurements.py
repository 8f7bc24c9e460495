"""The store of own measurements: the lines that move the estimates of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from localllm.records.lines import Bounds, LineFile
from localllm.records.measured import Measurement, measurement_line, parse_line

VARIABLE = "LOCALLLM_MEASUREMENTS"
"""``off`` keeps nothing and uses nothing that was kept."""

BOUNDS = Bounds(shortest_line=400)


def measurements_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether measurements are kept and used."""
    return environ.get(VARIABLE, "").strip().lower() not in ("off", "0", "no", "false")


class MeasurementStore:
    """The measurements in one file, which need not exist."""

    def __init__(self, path: Path, bounds: Bounds = BOUNDS) -> None:
        """Take the file; it is made with the first measurement."""
        self.path = path
        self._lines = LineFile(path, bounds, is_readable=lambda line: parse_line(line) is not None)

    def keep(self, measurements: Iterable[Measurement]) -> None:
        """Append measurements, each with one write. Raises OSError."""
        self._lines.append([measurement_line(one) for one in measurements])

    def read(self) -> tuple[Measurement, ...]:
        """Return what can be read, the oldest first; nothing without a file. Raises OSError."""
        return tuple(one for one in map(parse_line, self._lines.read()) if one is not None)
