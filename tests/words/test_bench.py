"""What is said of a bench test, and of a run while it goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localllm.core.bench.activity import (
    Answering,
    CoolingDown,
    Loading,
    Planning,
    Progress,
    Repeating,
    Trying,
    WarmingUp,
    Where,
)
from localllm.core.bench.conditions import conditions
from localllm.core.bench.energy import BenchEnergy, Window
from localllm.core.bench.row import Beside, bench_row
from localllm.core.generation import BenchTest
from localllm.words import bench as words
from localllm.words.bench_progress import progress_line
from tests.core.bench.test_bench_energy import constant
from tests.core.bench.test_bench_row import PP512, setup
from tests.core.test_documents import plan_8b


def steady_row(**changes: Any) -> dict[str, Any]:
    """Five windows of 12 s at 100 W, 50 tokens/s: 2 J/token, some more and some less."""
    windows = tuple(
        Window(
            n_tokens=600,
            parts=(replace(constant(1), joules=1200.0 + extra, began_s=0.0, ended_s=12.0),),
        )
        for extra in (-12, -6, 0, 6, 12)
    )
    beside = Beside(energy=BenchEnergy(windows=windows), conditions=conditions([]))
    row = bench_row(setup(plan_8b()), PP512, [10**9] * 5, test_time="", beside=beside)
    return row | changes


def test_both_errors_of_the_joules_are_printed() -> None:
    """Deviation 0.0158 J/token over five windows: 2.776 * 0.0158 / sqrt(5) = 0.0196."""
    assert words.energy_text(steady_row()) == (
        "100 W, 2.00 ± 0.02 J/token (stat) ± 5 % (sensor), NVML energy counter, GPU board"
    )


HERE = Where(number=2, n_tests=3, test=BenchTest(n_prompt=0, n_gen=128, n_depth=512))


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(step=Planning(model="demo", settings="")), "planning demo "),
        (Progress(step=Loading(model="demo", fraction=0.426)), "loading demo: 43%"),
        (
            Progress(step=WarmingUp(worked_s=3.4), left_s=185),
            "warming up, 3 s, about 3 min 05 s left",
        ),
        (
            Progress(step=CoolingDown(pause_left_s=8), left_s=9.6),
            "cooling down, 8 s, about 10 s left",
        ),
        (
            Progress(step=Trying(), where=replace(HERE, settings="n_batch 64")),
            "bench 2/3: tg128 @ d512, n_batch 64, one repetition to see how long it takes",
        ),
        (
            Progress(step=Repeating(repetition=0, n_repetitions=5, tok_s=None), where=HERE),
            "bench 2/3: tg128 @ d512, warmed up",
        ),
        (
            Progress(
                step=Repeating(repetition=4, n_repetitions=5, tok_s=1234.5), where=HERE, left_s=7
            ),
            "bench 2/3: tg128 @ d512, 4/5, 1,234.50 t/s, about 7 s left",
        ),
        (
            Progress(step=Answering(number=1, n_answers=3, n_tokens=20)),
            "sampled answer 1/3, 20 tokens",
        ),
    ],
)
def test_progress_is_a_line(progress: Progress, line: str) -> None:
    assert progress_line(progress) == line
