"""A run with figures that never change, for screens that are held to their characters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from localllm.benching.wanted import Wanted
from localllm.benching.whole import Measured
from localllm.core.bench.activity import Progress, Repeating, Where
from localllm.core.bench.energy import BenchEnergy, Window
from localllm.core.bench.row import Beside, bench_row
from localllm.core.generation import BenchTest
from localllm.core.metered.readings import Unmeasured
from localllm.core.reconcile import Comparison
from localllm.units import GiB
from tests.core.bench.test_bench_energy import constant
from tests.core.bench.test_bench_row import setup
from tests.core.test_documents import plan_8b

WANTED = Wanted(prompts=(512,), gens=(128,), depths=(0, 1024, 4096), chat=False)
EXPECTED = {"pp512": (2400.0, 2300.0, 2050.0), "tg128": (41.0, 40.2, 38.0)}
"""Tokens per second at each depth."""
MEASURED = {"pp512": (2510.0, 2390.0, 2080.0), "tg128": (43.5, 36.0, 30.2)}
ENDED = "The engine died: it was killed (SIGKILL)."


def row(test: BenchTest, *, watts: float | None = 118.0, factor: float = 1.0) -> dict[str, Any]:
    """A finished test: five repetitions that scatter by 1 %, at so many watts."""
    at_depth = WANTED.depths.index(test.n_depth)
    name = test.label.partition(" ")[0]
    tok_s, expected = factor * MEASURED[name][at_depth], EXPECTED[name][at_depth]
    n_tokens = test.n_prompt + test.n_gen
    samples = [round(1e9 * n_tokens / (tok_s * (1 + 0.01 * i))) for i in (-1, -0.5, 0, 0.5, 1)]
    none = Unmeasured(reason="this machine has no power meter")
    energy: BenchEnergy | Unmeasured = none if watts is None else _energy(watts, tok_s)
    made = bench_row(
        setup(plan_8b()),
        test,
        samples,
        test_time="2026-11-22T10:00:00Z",
        beside=Beside(energy=energy),
    )
    return made | {
        "model": "Llama 3 8B",
        "predicted_ts": expected,
        "predicted_ts_low": 0.85 * expected,
        "predicted_ts_high": 1.15 * expected,
        "predicted_ts_basis": "formula",
        "predicted_j_per_token": None,
    }


def run(*, n_rows: int, watts: float | None = 118.0, factor: float = 1.0) -> Measured:
    """A run with its first rows: under way, or complete with all of them."""
    tests = WANTED.tests
    rows = tuple(row(test, watts=watts, factor=factor) for test in tests[:n_rows])
    ended = n_rows == len(tests)
    trace = ((100.0 + t / 2, 90 + 25 * math.sin(t / 20)) for t in range(20 * n_rows))
    return Measured(
        name="llama-3-8b",
        wanted=WANTED,
        began="2026-11-22T10:00:00+00:00",
        plan=plan_8b(),
        estimates=tuple(
            (test, EXPECTED[test.label.partition(" ")[0]][WANTED.depths.index(test.n_depth)])
            for test in tests
        ),
        rows=rows,
        memory=(Comparison(device="CUDA0", planned_bytes=6 * GiB, measured_bytes=6 * GiB),)
        if rows
        else (),
        watts=() if watts is None else tuple(trace),
        progress=None if ended else _progress(n_rows),
        ended="complete" if ended else None,
    )


def _progress(n_done: int) -> Progress:
    where = Where(number=n_done + 1, n_tests=len(WANTED.tests), test=WANTED.tests[n_done])
    step = Repeating(repetition=2, n_repetitions=5, tok_s=37.25)
    return Progress(step=step, where=where, left_s=21.0)


def _energy(watts: float, tok_s: float) -> BenchEnergy:
    """Five windows of 12 s, which differ by a few joules."""
    n_tokens = round(12 * tok_s)
    windows = (
        Window(
            n_tokens=n_tokens,
            parts=(replace(constant(1), joules=12 * watts + extra, began_s=0.0, ended_s=12.0),),
        )
        for extra in (-12, -6, 0, 6, 12)
    )
    return BenchEnergy(windows=tuple(windows))
