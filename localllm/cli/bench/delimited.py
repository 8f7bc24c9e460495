"""Bench rows as CSV and as SQL, quoted as llama-bench quotes them.

Its 42 fields come first, in its order; ours follow. Lists are written as JSON. What is not known is
an empty field in CSV and NULL in SQL. llama-bench leaves a quote inside a value as it is, which
breaks its SQL; ours is doubled.
"""

from __future__ import annotations

import json
from typing import Any

from localllm.core.bench.row import Row

TABLE = "llama_bench"
"""llama-bench's own table, so that both may be read into one database."""

_REAL = frozenset(
    {
        "avg_ts",
        "stddev_ts",
        "power_w",
        "energy_j",
        "j_per_token",
        "j_per_token_stat",
        "j_per_token_gain",
        "j_per_token_net",
        "temperature_c",
        "clock_mhz",
        "power_limit_w",
        "other_cpus",
        "stolen_cpus",
        "predicted_ts",
        "predicted_ts_low",
        "predicted_ts_high",
        "predicted_w",
        "predicted_j_per_token",
    }
)
_WHOLE = frozenset(
    {
        "n_ctx",
        "quick",
        "complete",
        "repetitions",
        "repetitions_per_window",
        "power_rough",
        "peak_device_bytes",
        "peak_rss_bytes",
        "predicted_bytes",
        "measured_bytes",
    }
)
"""Fields that may be unknown, whose type their value does not tell."""


def csv_head(row: Row) -> str:
    """Return the names of the fields, which are never quoted."""
    return ",".join(row)


def csv_line(row: Row) -> str:
    """Return one test; every value is quoted, with quotes inside doubled."""
    return ",".join('"' + _text(value).replace('"', '""') + '"' for value in row.values())


def sql_head(row: Row) -> str:
    """Return the statement that makes the table, where there is none."""
    fields = ",\n".join(f"  {name} {_sql_type(name, value)}" for name, value in row.items())
    return f"CREATE TABLE IF NOT EXISTS {TABLE} (\n{fields}\n);\n"


def sql_line(row: Row) -> str:
    """Return the statement that adds one test."""
    values = ", ".join(_sql_value(value) for value in row.values())
    return f"INSERT INTO {TABLE} ({', '.join(row)}) VALUES ({values});"


def _sql_type(name: str, value: Any) -> str:
    if name in _REAL:
        return "REAL"
    if name in _WHOLE or isinstance(value, int):
        return "INTEGER"
    return "TEXT"


def _sql_value(value: Any) -> str:
    return "NULL" if value is None else "'" + _text(value).replace("'", "''") + "'"


def _text(value: Any) -> str:
    """A value as C++'s ``to_string`` writes it: truth as 0 or 1, six digits after the point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=True)
    return str(value)
