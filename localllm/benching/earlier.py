"""Runs of earlier days to compare with: saved files, and what the history keeps of tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from localllm.benching.saving import bench_file
from localllm.core.bench.read import BenchFile
from localllm.core.bench.row import Row
from localllm.lookups import past_runs
from localllm.records.history import PastRun, Sought
from localllm.records.runs import KeptPhase, RunRecord

MOST_KEPT = 50
"""Runs of the history; more are no list to choose from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A run that can be compared with, before it is read."""

    kind: Literal["file", "kept"]
    """``kept``: of the history, which keeps the mean of each test and not its repetitions."""
    name: str
    """Of the file, or of the model."""
    when: datetime
    path: Path | None = None
    """Of a file."""
    rows: tuple[Row, ...] = ()
    """Of a kept one."""

    def read(self) -> BenchFile:
        """Return its tests. Raises what ``saving.bench_file`` does."""
        if self.path is not None:
            return bench_file(self.path)
        when = self.when.astimezone().strftime("%Y-%m-%d %H:%M")
        return BenchFile(name=f"{self.name}, {when}", rows=self.rows)


def saved_runs(folder: Path) -> tuple[Earlier, ...]:
    """Return the JSON files of a folder, the newest first; none where there is no folder."""
    found = []
    for path in folder.glob("*.json"):
        try:
            changed_s = path.stat().st_mtime
        except OSError:
            continue  # gone since
        when = datetime.fromtimestamp(changed_s).astimezone()
        found.append(Earlier(kind="file", name=path.name, when=when, path=path))
    return tuple(sorted(found, key=lambda one: one.when, reverse=True))


def kept_runs(model: str) -> tuple[Earlier, ...]:
    """Return the bench runs of a model that the history keeps, the last one first.

    ``model``: its name in its file (``ModelSpec.name``). Raises LocalLLMError (exit 1) for a
    history that cannot be read.
    """
    of_model = (run for run in past_runs(Sought()) if run.first.model.name == model)
    benches = (one for one in map(_kept, of_model) if one.rows)
    return tuple(one for one, _ in zip(benches, range(MOST_KEPT), strict=False))


def _kept(run: PastRun) -> Earlier:
    return Earlier(kind="kept", name=run.first.model.name, when=run.began, rows=tuple(_rows(run)))


def _rows(run: PastRun) -> Iterator[Row]:
    for record in run.records:
        if record.kind == "bench":
            for phase in record.phases:
                yield _row(record, phase)


def _row(record: RunRecord, phase: KeptPhase) -> Row:
    """A kept test under the names of a bench row; what was not kept is left out."""
    plan, energy, estimate = record.plan, phase.energy, phase.prediction
    row = {
        "kind": "test",
        "only_mean": True,
        "test_time": record.time,
        "n_prompt": phase.n_prompt,
        "n_gen": phase.n_gen,
        "n_depth": phase.depth,
        "avg_ts": phase.tok_s,
        "stddev_ts": phase.std_tok_s,
        "predicted_ts": estimate.tok_s if estimate else None,
        "content_id": record.model.content_id,
        "n_ctx": plan.n_ctx,
        "n_ubatch": plan.n_ubatch,
        "n_threads": plan.n_threads,
        "type_k": plan.type_k,
        "type_v": plan.type_v,
        "n_gpu_layers": plan.n_gpu_layers,
        "repack": plan.repack,
        "power_limit_w": plan.power_limit_w,
        "machine": record.machine.key,
        "driver": record.machine.driver,
        "llama_cpp_python": record.engine,
        "localllm": record.localllm,
    }
    if energy is not None:
        row |= {
            "samples_j_per_token": [energy.joules / energy.n_tokens],
            "j_per_token_gain": energy.gain,
            "power_source": ", ".join(energy.sources),
            "power_scope": energy.scope,
            "power_rough": energy.rough,
        }
    return row
