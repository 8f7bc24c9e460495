"""Two bench runs beside each other: which tests differ by more than their repetitions scatter.

Pure. Rows are those of ``row.py`` or llama-bench's own; ``read.py`` makes sure of their
fields. Means are compared by Welch's t-test, the p-values of all tests corrected by Holm: among
many comparisons one in twenty must not pass for a finding. A test that says nothing of the machine
(a quick run, somebody else on the device, a single repetition, a mean that was kept without its
repetitions) is never called significant.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from localllm.core.bench.row import Row
from localllm.core.bench.statistics import CONFIDENCE, Welch, holm, welch

SETTINGS = (
    "model",
    "model_type",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "load_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
    "repack",
)
"""How a model was loaded, and which one it was."""

FINGERPRINT = (
    "build_commit",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_size",
    "model_n_params",
    "content_id",
    "n_ctx",
    "localllm",
    "llama_cpp_python",
    "driver",
    "machine",
    "mode",
    "power_limit_w",
    "power_source",
    "power_scope",
)
"""Of what and with what it was measured."""

_UNSTATED = {"kind": "test", "mode": "standard"}
"""What a row of llama-bench leaves unsaid."""

_REPEATED = {"t/s": "repetitions", "J/token": "windows"}

Verdict = Literal["higher", "lower", "no significant difference", "not judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity of a test in both runs."""

    name: Literal["t/s", "J/token"]
    a: float
    b: float
    a_deviation: float | None
    """Between repetitions; None for fewer than two."""
    b_deviation: float | None
    low: float | None = None
    """95 % interval of ``b / a - 1``, for a mean of A that is taken as known."""
    high: float | None = None
    p: float | None = None
    """Corrected for the number of comparisons; None where nothing can be judged."""
    verdict: Verdict = "not judged"
    reason: str | None = None
    """Why it is not judged."""

    @property
    def change(self) -> float:
        """``b / a - 1``."""
        return self.b / self.a - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field that is not the same in both runs."""

    field: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One test in both runs."""

    label: str
    speed: Figure
    energy: Figure | None
    """None where a run has no joules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Everything that two runs say of each other: B as seen from A."""

    pairs: tuple[Pair, ...]
    differences: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(a: Sequence[Row], b: Sequence[Row]) -> Compared:
    """Return the tests of A and B beside each other.

    Tests meet by their prompt, tokens and depth, and by those settings that a run itself varies;
    what else differs is listed.
    """
    varied = tuple(name for name in SETTINGS if _varies(a, name) or _varies(b, name))
    rows_a = {_key(row, varied): row for row in a}
    rows_b = {_key(row, varied): row for row in b}
    met = [(row, rows_b[key]) for key, row in rows_a.items() if key in rows_b]
    return Compared(
        pairs=_judged(met, varied),
        differences=tuple(_differences(met, varied)),
        only_a=tuple(row_label(r, varied) for key, r in rows_a.items() if key not in rows_b),
        only_b=tuple(row_label(r, varied) for key, r in rows_b.items() if key not in rows_a),
    )


def row_label(row: Row, varied: Sequence[str] = ()) -> str:
    """Return a test's name, with the settings that tell it from its siblings."""
    if _value(row, "kind") == "chat":
        name = "chat (sampled)"
    else:
        parts = [f"pp{row['n_prompt']}"] * (row["n_prompt"] > 0)
        parts += [f"tg{row['n_gen']}"] * (row["n_gen"] > 0)
        name = "+".join(parts) + (f" @ d{row['n_depth']}" if row["n_depth"] else "")
    settings = ", ".join(f"{field} {_value(row, field)}" for field in varied)
    return f"{name}, {settings}" if settings else name


def _key(row: Row, varied: Sequence[str]) -> tuple[Any, ...]:
    kind = _value(row, "kind")
    # Sampled answers end where the model ends them: their numbers of tokens need not be equal.
    test = () if kind == "chat" else (row["n_prompt"], row["n_gen"], row["n_depth"])
    return (kind, *test, *(_value(row, field) for field in varied))


def _value(row: Row, field: str) -> Any:
    if field == "model" and "model" not in row:  # llama-bench says no more than the path
        return str(row.get("model_filename", "")).rpartition("/")[2].removesuffix(".gguf") or None
    return row.get(field, _UNSTATED.get(field))


def _varies(rows: Sequence[Row], field: str) -> bool:
    return len({_value(row, field) for row in rows}) > 1


def _differences(met: Sequence[tuple[Row, Row]], varied: Sequence[str]) -> Iterator[Difference]:
    """Fields that both runs state and state differently."""
    for field in (*SETTINGS, *FINGERPRINT):
        if field in varied:
            continue
        for row_a, row_b in met:
            a, b = _value(row_a, field), _value(row_b, field)
            if a != b and a is not None and b is not None:
                yield Difference(field=field, a=a, b=b)
                break


def _judged(met: Sequence[tuple[Row, Row]], varied: Sequence[str]) -> tuple[Pair, ...]:
    """Judge all speeds together, and all energies: each is one family of comparisons."""
    speeds = _family("t/s", [(_speeds(a), _speeds(b), _doubt(a, b)) for a, b in met])
    speeds = [_with_kept(figure, a, b) for figure, (a, b) in zip(speeds, met, strict=True)]
    with_joules = [i for i, (a, b) in enumerate(met) if _joules(a) and _joules(b)]
    energies = _family(
        "J/token",
        [(_joules(met[i][0]), _joules(met[i][1]), _energy_doubt(*met[i])) for i in with_joules],
    )
    energy_of = dict(zip(with_joules, energies, strict=True))
    return tuple(
        Pair(label=row_label(row, varied), speed=speed, energy=energy_of.get(i))
        for i, ((row, _), speed) in enumerate(zip(met, speeds, strict=True))
    )


def _family(
    name: Literal["t/s", "J/token"],
    samples: Sequence[tuple[Sequence[float], Sequence[float], str | None]],
) -> list[Figure]:
    tests = [None if doubt else welch(a, b) for a, b, doubt in samples]
    judged = [test.p for test in tests if test is not None]
    corrected = iter(holm(judged))
    return [
        _figure(name, a, b, test, next(corrected) if test is not None else None, doubt)
        for (a, b, doubt), test in zip(samples, tests, strict=True)
    ]


def _figure(
    name: Literal["t/s", "J/token"],
    a: Sequence[float],
    b: Sequence[float],
    test: Welch | None,
    p: float | None,
    doubt: str | None,
) -> Figure:
    mean_a, mean_b = statistics.fmean(a), statistics.fmean(b)
    verdict: Verdict = "not judged"
    if p is not None:
        verdict = "no significant difference"
        if p < 1 - CONFIDENCE:
            verdict = "higher" if mean_b > mean_a else "lower"
    return Figure(
        name=name,
        a=mean_a,
        b=mean_b,
        a_deviation=statistics.stdev(a) if len(a) > 1 else None,
        b_deviation=statistics.stdev(b) if len(b) > 1 else None,
        low=test.low / mean_a if test else None,
        high=test.high / mean_a if test else None,
        p=p,
        verdict=verdict,
        reason=None if test else doubt or f"fewer than two {_REPEATED[name]}",
    )


def _speeds(row: Row) -> list[float]:
    """A run's repetitions; of a steady run its windows.

    Thousands of short repetitions in a row share whatever the machine did in those seconds: taken
    as independent they would make any two runs differ.
    """
    samples = list(row.get("samples_ts") or [row["avg_ts"]])
    size = row.get("repetitions_per_window") or 1
    return [statistics.fmean(samples[i : i + size]) for i in range(0, len(samples), size)]


def _with_kept(figure: Figure, a: Row, b: Row) -> Figure:
    """Add the deviations between repetitions that were not kept themselves."""
    return replace(
        figure,
        a_deviation=a.get("stddev_ts") if a.get("only_mean") else figure.a_deviation,
        b_deviation=b.get("stddev_ts") if b.get("only_mean") else figure.b_deviation,
    )


def _joules(row: Row) -> list[float]:
    joules = list(row.get("samples_j_per_token") or [])
    return joules if any(joules) else []


def _doubt(a: Row, b: Row) -> str | None:
    """Why two speeds cannot be judged."""
    for name, row in (("A", a), ("B", b)):
        if row.get("quick"):
            return f"{name} is a quick run"
        if row.get("invalid"):
            return f"{name}: {row['invalid'][0]}"
        if row.get("only_mean"):
            return f"{name} was kept without its repetitions"
    return None


def _energy_doubt(a: Row, b: Row) -> str | None:
    doubt = _doubt(a, b)
    if doubt is not None:
        return doubt
    for name, row in (("A", a), ("B", b)):
        if row.get("power_rough"):
            return f"{name}: too short for its meter"
    for field, words in (("power_scope", "scopes"), ("power_source", "sources")):
        if a.get(field) != b.get(field):
            return f"different {words}: {a.get(field)} and {b.get(field)}"
    if a.get("machine") != b.get("machine") or a.get("gpu_info") != b.get("gpu_info"):
        gain = max(a.get("j_per_token_gain") or 0.0, b.get("j_per_token_gain") or 0.0)
        means = [statistics.fmean(_joules(row)) for row in (a, b)]
        if abs(means[1] - means[0]) <= 2 * gain * max(means):
            return f"different sensors, each good to {gain:.0%}"
    return None
