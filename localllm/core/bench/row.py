"""One bench test as llama-bench's JSON object, with our fields after its own.

The first 42 fields are ``test::get_fields`` of tools/llama-bench/llama-bench.cpp, in its order.
Pure: values in, a plain dictionary out. Names are fixed, more may be added; a value that is not
known is ``None``, with a reason beside it. Rows of the kind ``chat`` are sampled answers: they have
the same fields, and are never a ``tg``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from localllm.core.bench.conditions import Conditions
from localllm.core.bench.energy import BenchEnergy
from localllm.core.bench.setup import BenchSetup, settings_row
from localllm.core.expected_energy import expected_energy
from localllm.core.fingerprint import machine_key
from localllm.core.generation import BenchTest
from localllm.core.metered.readings import Unmeasured
from localllm.core.prediction import Prediction, predicted_test

BENCH_SCHEMA = "localllm.bench/1"

Row = Mapping[str, Any]

NO_METER = Unmeasured(reason="no meter was asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What else was seen while a test ran."""

    energy: BenchEnergy | Unmeasured = NO_METER
    conditions: Conditions = field(default_factory=Conditions)
    peak_rss_bytes: int | None = None
    """The most memory that the engine's process ever had."""
    per_window: int | None = None
    """Repetitions that make one window of a steady run."""


def bench_row(
    setup: BenchSetup,
    test: BenchTest,
    samples_ns: Sequence[int],
    *,
    test_time: str,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Return one test's row.

    ``t/s = 1e9 * (n_prompt + n_gen) / ns`` for each repetition; mean and sample standard deviation
    (n - 1; 0 for a single repetition) are taken of these. ``test_time`` is RFC 3339, UTC.
    ``predicted_ts`` is the plan's estimate at the test's depth, with its 80 % range.
    """
    estimate = predicted_test(
        setup.plan, n_prompt=test.n_prompt, n_gen=test.n_gen, depth=test.n_depth
    )
    return _row(
        setup,
        test,
        samples_ns=samples_ns,
        samples_ts=tokens_per_second(test, samples_ns),
        estimate=estimate,
        test_time=test_time,
        beside=beside or Beside(),
        kind="test",
    )


def chat_row(
    setup: BenchSetup,
    *,
    n_prompt: int,
    n_gen: int,
    answers: Sequence[tuple[int, float]],
    test_time: str,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Return the row of sampled answers: tokens after the first, and the seconds they took.

    ``n_gen`` is that of the longest.
    """
    test = BenchTest(n_prompt=n_prompt, n_gen=n_gen, repetitions=len(answers))
    estimate = predicted_test(setup.plan, n_prompt=0, n_gen=max(n_gen, 1), depth=n_prompt)
    return _row(
        setup,
        test,
        samples_ns=[round(1e9 * seconds) for _, seconds in answers],
        samples_ts=[n_tokens / seconds for n_tokens, seconds in answers],
        estimate=estimate,
        test_time=test_time,
        beside=beside or Beside(),
        kind="chat",
    )


def tokens_per_second(test: BenchTest, samples_ns: Sequence[int]) -> list[float]:
    """Tokens per second of each repetition, prompt and generated tokens together."""
    n_tokens = test.n_prompt + test.n_gen
    return [1e9 * n_tokens / ns for ns in samples_ns]


def _row(
    setup: BenchSetup,
    test: BenchTest,
    *,
    samples_ns: Sequence[int],
    samples_ts: Sequence[float],
    estimate: Prediction | None,
    test_time: str,
    beside: Beside,
    kind: Literal["test", "chat"],
) -> dict[str, Any]:
    plan = setup.plan
    measured = None if isinstance(beside.energy, Unmeasured) else beside.energy.whole.scope
    expected = expected_energy(
        plan,
        n_prompt=test.n_prompt if kind == "test" else 0,
        n_gen=test.n_gen,
        depth=test.n_depth if kind == "test" else test.n_prompt,
        scope=measured,
    )
    # As it is measured: without the mapped file, of which llama.cpp counts the whole span.
    predicted_bytes = sum(row.self_bytes - row.mapped_bytes for row in plan.devices)
    return {
        **settings_row(setup),
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "test_time": test_time,
        "avg_ns": sum(samples_ns) // len(samples_ns),
        "stddev_ns": round(_deviation([float(ns) for ns in samples_ns])),
        "avg_ts": statistics.fmean(samples_ts),
        "stddev_ts": _deviation(samples_ts),
        "samples_ns": list(samples_ns),
        "samples_ts": list(samples_ts),
        "schema": BENCH_SCHEMA,
        "kind": kind,
        "mode": setup.mode,
        "quick": setup.mode == "quick",
        "repetitions": test.repetitions,
        "complete": len(samples_ns) >= test.repetitions,
        "repetitions_per_window": beside.per_window,
        "invalid": [*beside.conditions.invalid, *_spoilt(beside.energy)],
        **_fingerprint(setup),
        **_energy_fields(beside.energy),
        **_condition_fields(beside),
        "predicted_ts": estimate.tok_s if estimate else None,
        "predicted_ts_low": estimate.low if estimate else None,
        "predicted_ts_high": estimate.high if estimate else None,
        "predicted_ts_basis": plan.speed.basis if estimate and plan.speed else None,
        "predicted_w": expected.watts if expected else None,
        "predicted_j_per_token": expected.j_per_token if expected else None,
        "predicted_power_scope": expected.scope if expected else None,
        "predicted_bytes": predicted_bytes,
        "measured_bytes": setup.measured_bytes,
    }


def _fingerprint(setup: BenchSetup) -> dict[str, Any]:
    """What must be equal for two rows to be of the same thing, beside llama-bench's fields."""
    return {
        "model": setup.name,
        "content_id": setup.content_id,
        "n_ctx": setup.plan.n_ctx,
        "localllm": setup.version,
        "llama_cpp_python": setup.engine.version,
        "driver": setup.driver,
        "machine": machine_key(setup.plan.hardware),
    }


def _energy_fields(energy: BenchEnergy | Unmeasured) -> dict[str, Any]:
    if isinstance(energy, Unmeasured):
        return dict.fromkeys(_ENERGY_FIELDS) | {"power_unknown": energy.reason}
    values = (
        energy.watts,
        energy.joules,
        energy.j_per_token,
        energy.stat,
        energy.gain,
        energy.net_j_per_token,
        energy.rough,
        list(energy.samples),
        ", ".join(energy.whole.sources),
        energy.whole.scope,
        ", ".join(energy.whole.kinds),
    )
    return dict(zip(_ENERGY_FIELDS, values, strict=True)) | {"power_unknown": None}


def _spoilt(energy: BenchEnergy | Unmeasured) -> tuple[str, ...]:
    """What happened to a device or the machine meanwhile, as its meters tell."""
    if isinstance(energy, Unmeasured):
        return (energy.reason,) if energy.spoilt else ()
    return energy.whole.missing


_ENERGY_FIELDS = (
    "power_w",
    "energy_j",
    "j_per_token",
    "j_per_token_stat",
    "j_per_token_gain",
    "j_per_token_net",
    "power_rough",
    "samples_j_per_token",
    "power_source",
    "power_scope",
    "power_kind",
)


def _condition_fields(beside: Beside) -> dict[str, Any]:
    seen = beside.conditions
    return {
        "temperature_c": seen.temperature_c,
        "clock_mhz": seen.clock_mhz,
        "power_limit_w": seen.power_limit_w,
        "throttled": list(seen.throttle),
        "other_cpus": seen.cpu.others if seen.cpu else None,
        "stolen_cpus": seen.cpu.stolen if seen.cpu else None,
        "peak_device_bytes": seen.used_bytes,
        "peak_rss_bytes": beside.peak_rss_bytes,
    }


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
