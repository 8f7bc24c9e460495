"""Rows of a bench from a file: localllm's saved document or rows, or llama-bench's own JSON.

Files come from other people: every field that is used later is checked here. Raises
IntegrityError, which says what is wrong with which row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localllm.core.bench.compare import FINGERPRINT, SETTINGS
from localllm.core.bench.row import BENCH_SCHEMA, Row
from localllm.errors import IntegrityError

_COUNTS = ("n_prompt", "n_gen", "n_depth")
_MOST = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFile:
    """What a file holds."""

    name: str
    rows: tuple[Row, ...]


def read_bench(name: str, text: str) -> BenchFile:
    """Return the rows of a file's text: an array, lines of JSON, or ``bench --save``'s document.

    Raises IntegrityError.
    """
    rows = _rows(name, text)
    if not rows:
        raise IntegrityError(f"{name} holds no test.", hint="Was it interrupted before the first?")
    for number, row in enumerate(rows, 1):
        _check(f"{name}, test {number}", row)
    return BenchFile(name=name, rows=tuple(rows))


def _rows(name: str, text: str) -> list[Any]:
    try:
        found = _parsed(text)
    except (ValueError, RecursionError):
        raise IntegrityError(
            f"{name} is not JSON.", hint="localllm bench --save and llama-bench -o json write it."
        ) from None
    if isinstance(found, dict):
        if "rows" not in found:
            found = [found]
        elif found.get("schema") == BENCH_SCHEMA:
            found = found["rows"]
        else:
            raise IntegrityError(f"{name} is no bench of this version of localllm.")
    if not isinstance(found, list):
        raise IntegrityError(f"{name} holds no list of tests.")
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _check(where: str, row: Any) -> None:
    if not isinstance(row, dict):
        raise IntegrityError(f"{where} is no object.")
    for field in _COUNTS:
        if not _is_count(row.get(field)):
            raise IntegrityError(f"{where}: {field} is no number of tokens.")
    if not _is_amount(row.get("avg_ts")):
        raise IntegrityError(f"{where}: avg_ts is no speed.")
    for field, is_one in _LISTS.items():
        values = row.get(field)
        if values is not None and not (isinstance(values, list) and all(map(is_one, values))):
            raise IntegrityError(f"{where}: {field} is not the list that it should be.")
    size = row.get("repetitions_per_window")
    if size is not None and not (_is_count(size) and size > 0):
        raise IntegrityError(f"{where}: repetitions_per_window is no number of repetitions.")
    gain = row.get("j_per_token_gain")
    if gain is not None and not _is_share(gain):
        raise IntegrityError(f"{where}: j_per_token_gain is no share.")
    for field in (*SETTINGS, *FINGERPRINT, "kind", "quick", "power_rough"):
        if isinstance(row.get(field), dict | list):
            raise IntegrityError(f"{where}: {field} is not one value.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 1e15 and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return value == 0 or _is_amount(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_LISTS: Mapping[str, Callable[[Any], bool]] = {
    "samples_ts": _is_amount,
    "samples_j_per_token": _is_share,
    "invalid": _is_text,
}
