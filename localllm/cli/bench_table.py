"""Bench results as llama-bench's own Markdown table, so that lines can be compared and pasted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localllm.core.text import printable

Row = Mapping[str, Any]
"""A row of ``localllm.core.documents.bench_row``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: llama-bench's heading and width; a negative width is left-aligned."""

    heading: str
    width: int
    text: Callable[[Row], str]
    when: Callable[[Row], bool] = lambda row: True
    """llama-bench shows a setting only where it is not the default."""


def label(row: Row) -> str:
    """Return llama-bench's name of the test: ``pp512``, ``tg128 @ d4096``, ``pp512+tg128``."""
    parts = [f"pp{row['n_prompt']}"] * (row["n_prompt"] > 0)
    parts += [f"tg{row['n_gen']}"] * (row["n_gen"] > 0)
    return "+".join(parts) + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def _size(row: Row) -> str:
    mib = row["model_size"] / 1024**2
    return f"{mib:.2f} MiB" if mib < 1024 else f"{mib / 1024:.2f} GiB"


def _params(row: Row) -> str:
    n = row["model_n_params"]
    return f"{n / 1e6:.2f} M" if n < 1e9 else f"{n / 1e9:.2f} B"


def _runs_on_cpu(row: Row) -> bool:
    return any(name in row["backends"] for name in ("CPU", "BLAS"))


def _plain(field: str) -> Callable[[Row], str]:
    return lambda row: printable(str(row[field]))


def _unlike(field: str, default: object) -> Callable[[Row], bool]:
    return lambda row: bool(row[field] != default)


_COLUMNS = (
    Column(heading="model", width=-30, text=_plain("model_type")),
    Column(heading="size", width=10, text=_size),
    Column(heading="params", width=10, text=_params),
    Column(heading="backend", width=-10, text=_plain("backends")),
    Column(
        heading="ngl",
        width=3,
        text=_plain("n_gpu_layers"),
        when=lambda row: not _runs_on_cpu(row),
    ),
    Column(heading="n_cpu_moe", width=10, text=_plain("n_cpu_moe"), when=_unlike("n_cpu_moe", 0)),
    Column(heading="threads", width=7, text=_plain("n_threads"), when=_runs_on_cpu),
    Column(heading="n_batch", width=7, text=_plain("n_batch"), when=_unlike("n_batch", 2048)),
    Column(heading="n_ubatch", width=8, text=_plain("n_ubatch"), when=_unlike("n_ubatch", 512)),
    Column(heading="type_k", width=6, text=_plain("type_k"), when=_unlike("type_k", "f16")),
    Column(heading="type_v", width=6, text=_plain("type_v"), when=_unlike("type_v", "f16")),
    Column(heading="fa", width=3, text=_plain("flash_attn"), when=_unlike("flash_attn", -1)),
    Column(
        heading="dev",
        width=-12,
        text=_plain("devices"),
        when=lambda row: "/" in row["devices"] or row["devices"] == "none",
    ),
    Column(
        heading="ts",
        width=-12,
        text=_plain("tensor_split"),
        when=lambda row: "/" in row["tensor_split"],
    ),
    Column(
        heading="ot",
        width=-21,
        text=_plain("tensor_buft_overrides"),
        when=_unlike("tensor_buft_overrides", "none"),
    ),
    Column(heading="lm", width=10, text=_plain("load_mode"), when=_unlike("load_mode", "mmap")),
    Column(heading="rpk", width=3, text=_plain("repack"), when=_unlike("repack", True)),
    Column(heading="test", width=15, text=label),
    Column(
        heading="t/s",
        width=20,
        text=lambda row: f"{row['avg_ts']:.2f} ± {row['stddev_ts']:.2f}",
    ),
)


def columns(row: Row) -> tuple[Column, ...]:
    """Return the columns that a run shows; all its rows agree on them."""
    return tuple(column for column in _COLUMNS if column.when(row))


def head(shown: Sequence[Column]) -> str:
    """Return the heading and the line under it."""
    names = [_aligned(column.heading, column.width) for column in shown]
    rules = ["-" * (abs(c.width) - 1) + (":" if c.width > 0 else "-") for c in shown]
    return f"| {' | '.join(names)} |\n| {' | '.join(rules)} |"


def line(shown: Sequence[Column], row: Row) -> str:
    """Return one test."""
    cells = [_aligned(column.text(row).replace("|", "\\|"), column.width) for column in shown]
    return f"| {' | '.join(cells)} |"


def estimate_line(row: Row) -> str:
    """Return a test's estimate beside what was measured, for a row that has one."""
    estimated, measured = row["predicted_ts"], row["avg_ts"]
    off = f"{(estimated - measured) / measured:+.1%}; " if measured else ""
    span = f"{_rate(row['predicted_ts_low'])} to {_rate(row['predicted_ts_high'])}"
    return (
        f"{label(row)}: estimated {_rate(estimated)} t/s ({off}{span}), measured {_rate(measured)}"
    )


def _rate(tok_s: float) -> str:
    """Tokens per second with three digits or more; an estimate has no more to give."""
    return f"{tok_s:,.{0 if tok_s >= 100 else 1 if tok_s >= 10 else 2}f}"


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if width > 0 else text.ljust(-width)
