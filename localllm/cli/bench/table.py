"""Bench results as llama-bench's own Markdown table, so that lines can be compared and pasted."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from localllm.core.bench.compare import row_label
from localllm.core.bench.row import Row
from localllm.core.text import printable
from localllm.words.bench import speed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: llama-bench's heading and width; a negative width is left-aligned."""

    heading: str
    width: int
    field: str
    """llama-bench's name of the setting, which may be swept; empty for what is none."""
    text: Callable[[Row], str]
    when: Callable[[Row], bool] = lambda row: True
    """llama-bench shows a setting only where it is not the default."""


def _size(row: Row) -> str:
    mib = row["model_size"] / 1024**2
    return f"{mib:.2f} MiB" if mib < 1024 else f"{mib / 1024:.2f} GiB"


def _params(row: Row) -> str:
    n = row["model_n_params"]
    return f"{n / 1e6:.2f} M" if n < 1e9 else f"{n / 1e9:.2f} B"


def _runs_on_cpu(row: Row) -> bool:
    return any(name in row["backends"] for name in ("CPU", "BLAS", "ZenDNN"))


def _plain(field: str) -> Callable[[Row], str]:
    return lambda row: printable(_as_llama_bench(row[field]))


def _as_llama_bench(value: object) -> str:
    return str(int(value) if isinstance(value, bool) else value)


def _unlike(field: str, default: object) -> Callable[[Row], bool]:
    return lambda row: bool(row[field] != default)


def _setting(heading: str, width: int, field: str, when: Callable[[Row], bool]) -> Column:
    return Column(heading=heading, width=width, field=field, text=_plain(field), when=when)


_COLUMNS = (
    Column(heading="model", width=-30, field="", text=_plain("model_type")),
    Column(heading="size", width=10, field="", text=_size),
    Column(heading="params", width=10, field="", text=_params),
    Column(heading="backend", width=-10, field="", text=_plain("backends")),
    _setting("ngl", 3, "n_gpu_layers", lambda row: not _runs_on_cpu(row)),
    _setting("n_cpu_moe", 10, "n_cpu_moe", _unlike("n_cpu_moe", 0)),
    _setting("threads", 7, "n_threads", lambda row: _runs_on_cpu(row)),
    _setting("n_batch", 7, "n_batch", _unlike("n_batch", 2048)),
    _setting("n_ubatch", 8, "n_ubatch", _unlike("n_ubatch", 512)),
    _setting("type_k", 6, "type_k", _unlike("type_k", "f16")),
    _setting("type_v", 6, "type_v", _unlike("type_v", "f16")),
    _setting("main_gpu", 10, "main_gpu", _unlike("main_gpu", 0)),
    _setting("sm", 6, "split_mode", _unlike("split_mode", "layer")),
    _setting("fa", 3, "flash_attn", _unlike("flash_attn", -1)),
    _setting("dev", -12, "devices", lambda row: "/" in row["devices"] or row["devices"] == "none"),
    _setting("ts", -12, "tensor_split", lambda row: "/" in row["tensor_split"]),
    _setting("ot", -21, "tensor_buft_overrides", _unlike("tensor_buft_overrides", "none")),
    _setting("lm", 10, "load_mode", _unlike("load_mode", "mmap")),
    _setting("rpk", 3, "repack", _unlike("repack", True)),
    Column(heading="test", width=15, field="", text=row_label),
    Column(
        heading="t/s",
        width=20,
        field="",
        text=speed_text,
    ),
)


def columns(rows: Sequence[Row], swept: Set[str] = frozenset()) -> tuple[Column, ...]:
    """Return the columns that a run shows: what is swept, or not the default in any row."""
    return tuple(
        column
        for column in _COLUMNS
        if (column.field in swept and column.field) or any(map(column.when, rows))
    )


def head(shown: Sequence[Column]) -> str:
    """Return the heading and the line under it."""
    names = [_aligned(column.heading, column.width) for column in shown]
    rules = ["-" * (abs(c.width) - 1) + (":" if c.width > 0 else "-") for c in shown]
    return f"| {' | '.join(names)} |\n| {' | '.join(rules)} |"


def line(shown: Sequence[Column], row: Row) -> str:
    """Return one test."""
    cells = [_aligned(column.text(row).replace("|", "\\|"), column.width) for column in shown]
    return f"| {' | '.join(cells)} |"


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if width > 0 else text.ljust(-width)
