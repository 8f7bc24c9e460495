"""Finished tests as a table's cells, and what the table has no room for."""

from __future__ import annotations

from localllm.core.reconcile import Comparison
from localllm.units import GiB
from localllm.words.bench_results import HEAD, result_cells, result_lines
from tests.tui.bench.fixed import WANTED, row

PP, TG, *_, DEEP = WANTED.tests


def test_the_estimate_stands_beside_what_was_measured() -> None:
    assert HEAD == ("test", "t/s", "est. t/s", "off", "J/token")
    assert result_cells(row(TG)) == (
        *("tg128", "43.50 ± 0.34", "41.0 (35 to 47)", "+6.1 %", "2.71 ± 0.02"),
    )
    assert result_cells(row(DEEP), ranges=False) == (
        *("tg128 @ d4096", "30.20 ± 0.24", "38.0", "-21 % !", "3.91 ± 0.03"),
    )


def test_what_is_not_known_is_a_dash_with_its_reason_below() -> None:
    unknown = row(TG, watts=None) | {
        "predicted_ts": None,
        "predicted_ts_low": None,
        "predicted_ts_high": None,
        "predicted_ts_basis": None,
        "samples_ts": [43.5],
    }
    assert result_cells(unknown) == ("tg128", "43.50", "—", "—", "—")
    assert list(result_lines([unknown], ())) == [
        "power: not measured (this machine has no power meter)"
    ]
    assert list(result_lines([], ())) == []


def test_below_are_the_meter_the_conditions_and_the_memory() -> None:
    rows = [row(PP), row(TG, watts=96.0), row(DEEP) | {"invalid": ["another process (pid 7)"]}]
    memory = [Comparison(device="CUDA0", planned_bytes=6 * GiB, measured_bytes=6 * GiB)]
    assert list(result_lines(rows, memory)) == [
        "!: outside the range of the estimate",
        "tg128 @ d4096: not valid: another process (pid 7)",
        "estimates: formula",
        "J/token: NVML energy counter, GPU board, 96.0 to 118 W; the sensor is good to ± 5 %",
        "CUDA0: planned 6.00 GiB, measured 6.00 GiB (to the byte)",
    ]


def test_a_sampled_answer_has_no_estimate() -> None:
    chat = row(TG) | {"kind": "chat"}
    name, _, estimate, off, _ = result_cells(chat)
    assert (name, estimate, off) == ("chat (sampled)", "—", "—")
