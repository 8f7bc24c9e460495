"""One measured speed beside the formula's, as a line of JSON: what is kept of a run.

Pure: a run's statistics and its plan become a ``Measurement``, a measurement a line and back, and
those of one machine the observations that ``core/calibration.py`` learns from.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from localllm.core.calibration import Observation, Phase
from localllm.core.fingerprint import formula_key, machine_key, model_key, plan_placement_key
from localllm.core.generation import BenchTest, RunStats
from localllm.core.plan import Plan
from localllm.core.prediction import run_of_plan

SCHEMA = "localllm.measurement/1"

MIN_GENERATED = 16
"""Fewer generated tokens say little of the speed."""
MIN_PROMPT = 64
"""Fewer prompt tokens do not fill a batch."""

Source = Literal["bench", "chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """One phase of a run, as it was timed."""

    source: Source
    phase: Phase
    n_tokens: int
    """Tokens of one repetition."""
    depth: int
    """Tokens in the context before them."""
    tok_s: float
    std_tok_s: float | None = None
    """Between repetitions; None for a single one."""
    n_repetitions: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One line of the store. Keys say what compares; the rest is for people and for later."""

    time: str
    """ISO 8601, with the offset from UTC."""
    machine: str
    """``fingerprint.machine_key``."""
    formula: str
    """``fingerprint.formula_key`` of the formula that ``predicted_tok_s`` is by."""
    engine: str | None
    """Version of llama-cpp-python."""
    source: Source
    model: str
    arch: str
    quant: str
    file_bytes: int
    content_id: str | None
    model_key: str
    placement_key: str
    devices: tuple[str, ...]
    """llama.cpp's names of the GPUs that held layers."""
    n_gpu_layers: int
    n_layer_total: int
    n_host_expert_layers: int
    n_ctx: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attn: str
    n_threads: int
    phase: Phase
    depth: int
    n_tokens: int
    """Of one repetition."""
    n_repetitions: int
    measured_tok_s: float
    std_tok_s: float | None
    predicted_tok_s: float
    """By formula, for this depth and these tokens, before any measurement moved it."""


def runs_of_answer(stats: RunStats) -> tuple[TimedRun, ...]:
    """Return what an answer measured: its prompt, its text, both or nothing.

    An answer during which the context was shifted had no depth that could be named.
    """
    runs: list[TimedRun] = []
    n_new = stats.n_prompt - stats.n_cached
    if n_new >= MIN_PROMPT and stats.pp_tok_s is not None:
        runs.append(
            TimedRun(
                source="chat",
                phase="pp",
                n_tokens=n_new,
                depth=stats.n_cached,
                tok_s=stats.pp_tok_s,
            )
        )
    shifted = stats.n_prompt + stats.n_gen > stats.n_ctx
    if stats.n_gen >= MIN_GENERATED and stats.tg_tok_s is not None and not shifted:
        runs.append(
            TimedRun(
                source="chat",
                phase="tg",
                n_tokens=stats.n_gen - 1,
                depth=stats.n_prompt,
                tok_s=stats.tg_tok_s,
            )
        )
    return tuple(runs)


def run_of_bench(test: BenchTest, samples_ns: Sequence[int]) -> TimedRun | None:
    """Return what a bench test measured; None for a mixed test, a short one, or none at all."""
    n_tokens = test.n_prompt + test.n_gen
    mixed = test.n_prompt > 0 and test.n_gen > 0
    if mixed or not samples_ns or min(samples_ns) <= 0:
        return None
    if test.n_prompt < MIN_PROMPT and test.n_gen * len(samples_ns) < MIN_GENERATED:
        return None
    from statistics import fmean, stdev  # 4 ms: this file is read before every first token

    rates = [1e9 * n_tokens / ns for ns in samples_ns]
    return TimedRun(
        source="bench",
        phase="pp" if test.n_prompt else "tg",
        n_tokens=n_tokens,
        depth=test.n_depth,
        tok_s=fmean(rates),
        std_tok_s=stdev(rates) if len(rates) > 1 else None,
        n_repetitions=len(rates),
    )


def measurement(
    plan: Plan,
    run: TimedRun,
    *,
    predicted_tok_s: float,
    now: datetime,
    engine: str | None = None,
    content_id: str | None = None,
) -> Measurement:
    """Return what is kept of a run under a plan."""
    model = plan.model
    return Measurement(
        time=now.astimezone().isoformat(timespec="seconds"),
        machine=machine_key(plan.hardware),
        formula=formula_key(),
        engine=engine,
        source=run.source,
        model=model.name,
        arch=model.arch,
        quant=model.quant,
        file_bytes=model.file_bytes,
        content_id=content_id,
        model_key=model_key(model),
        placement_key=plan_placement_key(plan),
        devices=tuple(row.name for row in plan.devices if row.kind == "gpu" and row.n_layers),
        n_gpu_layers=plan.n_gpu_layers,
        n_layer_total=plan.n_layer_total,
        n_host_expert_layers=len(run_of_plan(plan).placement.host_expert_layers),
        n_ctx=plan.n_ctx,
        n_ubatch=plan.n_ubatch,
        type_k=plan.type_k,
        type_v=plan.type_v,
        flash_attn=plan.flash_attn,
        n_threads=plan.n_threads,
        phase=run.phase,
        depth=run.depth,
        n_tokens=run.n_tokens,
        n_repetitions=run.n_repetitions,
        measured_tok_s=run.tok_s,
        std_tok_s=run.std_tok_s,
        predicted_tok_s=predicted_tok_s,
    )


def measurement_line(kept: Measurement) -> str:
    """Return a measurement as a line, without its newline."""
    fields = {"schema": SCHEMA, **dataclasses.asdict(kept)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_line(line: bytes) -> Measurement | None:
    """Read a line; None for one that is torn, foreign, newer, or says what cannot be."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
        return None
    known = {name: fields.get(name) for name in _KINDS}
    if not all(_KINDS[name](value) for name, value in known.items()):
        return None
    known["devices"] = tuple(cast(list[str], known["devices"]))
    return Measurement(**cast(dict[str, Any], known))


def observations(
    kept: Iterable[Measurement], *, machine: str, formula: str, now: datetime
) -> tuple[Observation, ...]:
    """Return what one machine's measurements say of the formula as it is now; the rest is left out.

    ``machine`` and ``formula`` are those of ``core/fingerprint.py``.
    """
    return tuple(
        Observation(
            model_key=one.model_key,
            placement_key=one.placement_key,
            phase=one.phase,
            predicted_tok_s=one.predicted_tok_s,
            measured_tok_s=one.measured_tok_s,
            n_tokens=one.n_tokens * one.n_repetitions,
            age_days=max(0.0, (now - datetime.fromisoformat(one.time)).total_seconds() / 86400),
            std_tok_s=one.std_tok_s,
            n_repetitions=one.n_repetitions,
        )
        for one in kept
        if one.machine == machine and one.formula == formula
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_some(value: object) -> bool:
    return _is_count(value) and value != 0


def _is_rate(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 1e12 and math.isfinite(value)


def _is_time(value: object) -> bool:
    try:
        return datetime.fromisoformat(cast(str, value)).tzinfo is not None
    except (TypeError, ValueError):
        return False


_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("machine", "formula", "model_key", "placement_key"), _is_text),
    **dict.fromkeys(("model", "arch", "quant", "type_k", "type_v", "flash_attn"), _is_text),
    **dict.fromkeys(("engine", "content_id"), lambda value: value is None or _is_text(value)),
    **dict.fromkeys(("file_bytes", "n_gpu_layers", "n_layer_total", "n_ctx", "depth"), _is_count),
    **dict.fromkeys(("n_host_expert_layers", "n_ubatch", "n_threads"), _is_count),
    **dict.fromkeys(("n_tokens", "n_repetitions"), _is_some),
    **dict.fromkeys(("measured_tok_s", "predicted_tok_s"), _is_rate),
    "std_tok_s": lambda value: value is None or value == 0 or _is_rate(value),
    "time": _is_time,
    "source": lambda value: value in ("bench", "chat"),
    "phase": lambda value: value in ("tg", "pp"),
    "devices": lambda value: isinstance(value, list) and all(map(_is_text, value)),
}
"""What each field of a line must be."""
