"""A second opinion on compute buffers: llama.cpp's own allocator, in the version installed here.

Where a log and our formula differ and the allocator says what the formula says, the log's build was
another; where it says what the log says, the formula is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from _check.compare import Prediction, Row
from _check.rebuild import Rebuilt
from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Host
from localllm.engine.dryrun import DryRun
from localllm.engine.exact import EngineMemory
from localllm.errors import LocalLLMError
from localllm.hub.gguf.hollow import write_bare
from localllm.units import MiB

_SHARE, _LEAST_MIB = 0.03, 16.0


class SecondOpinion:
    """A warm dry-run child. Close it, or use it in ``with``."""

    def __init__(self, host: Host) -> None:
        """``host``: the machine that runs are predicted for."""
        self._host = host
        self._dry = DryRun()

    def __enter__(self) -> Self:
        """Start the child."""
        self._dry.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self._dry.close()

    def on(self, rebuilt: Rebuilt, prediction: Prediction, rows: Sequence[Row]) -> list[Row]:
        """Return rows of one record, the unexplained compute buffers among them with a verdict."""
        asked = [row for row in rows if row.term == "compute" and row.verdict == "unexplained"]
        whole = rebuilt.spec.n_swa and not prediction.model.n_swa
        if not asked or whole:  # llama.cpp here would store windows short
            return list(rows)
        try:
            exact = self._compute_mib(rebuilt, prediction)
        except LocalLLMError as error:
            return [
                _with(row, f"not asked: {error.message}") if row in asked else row for row in rows
            ]
        return [_judged(row, exact[row.device]) if row in asked else row for row in rows]

    def _compute_mib(self, rebuilt: Rebuilt, prediction: Prediction) -> dict[str, float]:
        formulas = MemoryModel(rebuilt.spec, prediction.devices, self._host)
        with tempfile.TemporaryDirectory() as folder:
            bare = write_bare(Path(folder), rebuilt.header)
            engine = EngineMemory(self._dry, formulas, full=bare, bare=bare)
            memory = engine.breakdown(prediction.placement, prediction.shape)
        names = [*(device.name for device in prediction.devices), "host"]
        terms = [*memory.devices, memory.host]
        return {name: each.compute_bytes / MiB for name, each in zip(names, terms, strict=True)}


def _judged(row: Row, exact_mib: float) -> Row:
    if row.predicted_mib is not None and _close(row.predicted_mib, exact_mib):
        reason = f"llama.cpp's allocator here says {exact_mib:,.1f} as well: another build's graph"
        return replace(row, reason=reason)
    if _close(exact_mib, row.logged_mib):
        return _with(row, f"OUR FORMULA: llama.cpp's allocator here says {exact_mib:,.1f}")
    return _with(row, f"llama.cpp's allocator here says {exact_mib:,.1f}")


def _with(row: Row, note: str) -> Row:
    """Return a row with what was learned of it; it stays unexplained."""
    return replace(row, note=note)


def _close(one_mib: float, other_mib: float) -> bool:
    return abs(one_mib - other_mib) <= max(_SHARE * other_mib, _LEAST_MIB)
