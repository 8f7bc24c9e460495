"""The file of our facts: a line per public row, with what its tests share and what each adds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from _fit.names import FACTS
from _fit.normalise import Record

TABLE = FACTS / "throughput.jsonl"

_OF_A_TEST = frozenset(("id", "phase", "n_tokens", "depth", "tok_s"))


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file of ours: what a line's tests share, and what each adds."""
    for line in path.read_text(encoding="utf-8").splitlines():
        shared = json.loads(line)
        for name, test in shared.pop("tests").items():
            yield {**shared, **test, "id": f"{shared['id']}/{name}"}


def lines_of(records: Iterable[Record]) -> Iterator[str]:
    """Yield the lines of such a file, sorted: one per public row."""
    by_row: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda each: str(each["id"])):
        by_row.setdefault(str(record["id"]).partition("/")[0], []).append(record)
    for row_id, tests in by_row.items():
        first = tests[0]
        shared = {
            key: value
            for key, value in first.items()
            if key not in _OF_A_TEST and all(other.get(key) == value for other in tests)
        }
        own = {
            str(test["id"]).partition("/")[2]: {
                key: value for key, value in test.items() if key not in shared and key != "id"
            }
            for test in tests
        }
        yield json.dumps({"id": row_id} | shared | {"tests": own}, ensure_ascii=False) + "\n"
