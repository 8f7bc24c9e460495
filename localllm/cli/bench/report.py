"""Where the rows of a run go: to standard output as they are finished, into a file, a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from localllm.benching.loaded import Running
from localllm.benching.planned import Planned
from localllm.cli.bench import delimited, table
from localllm.cli.bench.forms import Form
from localllm.cli.output import emit_json, emit_json_line, result
from localllm.words import bench as words


class Report:
    """Prints rows in one form; a JSON array and the text below a table come at the end."""

    def __init__(self, form: Form, columns: Sequence[table.Column], varied: Set[str]) -> None:
        """Take the form, the table's columns, and llama-bench's names of what is swept."""
        self._form, self._columns = form, columns
        self._varied = sorted(varied)
        self.rows: list[dict[str, Any]] = []
        self._memory: dict[str, tuple[str, ...]] = {}
        """Lines of memory by configuration."""

    def add(self, row: dict[str, Any], running: Running, planned: Planned) -> None:
        """Take a finished test or answer."""
        self.rows.append(row)
        self._memory[planned.label] = tuple(words.memory_lines(running.memory, planned.label))
        first = len(self.rows) == 1
        if self._form == "md" and row["kind"] == "test":
            if first:
                result(table.head(self._columns))
            result(table.line(self._columns, row))
        elif self._form == "jsonl":
            emit_json_line(row)
        elif self._form == "csv":
            result(
                "\n".join([*([delimited.csv_head(row)] if first else []), delimited.csv_line(row)])
            )
        elif self._form == "sql":
            result(
                "\n".join([*([delimited.sql_head(row)] if first else []), delimited.sql_line(row)])
            )

    def finish(self) -> None:
        """Print what comes at the end; nothing where nothing was measured, but an empty array."""
        if self._form == "json":
            emit_json(self.rows)
        elif self._form == "md" and self.rows:
            for line in self._lines():
                result(line)

    def _lines(self) -> Iterator[str]:
        first = self.rows[0]
        yield f"\nbuild: {first['build_commit']} (llama-cpp-python {first['llama_cpp_python']})"
        yield from words.mode_lines(first)
        yield from words.all_lines(self.rows, self._varied)
        for lines in self._memory.values():
            yield from lines
