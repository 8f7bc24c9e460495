#!/usr/bin/env python3
"""Our memory formulas against public load logs, record by record and term by term.

    scripts/check_memory.py memory.jsonl                  outliers and a summary
    scripts/check_memory.py memory.jsonl --all            every row
    scripts/check_memory.py memory.jsonl --engine         ask llama.cpp about what is left over
    scripts/check_memory.py memory.jsonl --json > check.json

The file holds one JSON object per line, as people wrote them down from issues and notebooks: model,
hyperparameters, settings, and what llama.cpp said it allocated. The model of each record is built
again, planned with the settings of its runner and its time, and compared: weights, KV cache and
compute buffers of every device. What is off by more than 1 % (compute buffers 3 %) is listed with
the reason where one is known. Records that do not say enough are counted, with what they lack.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from _check.compare import LOGGED_HOST, Comparison, Row, compare, uncompared  # noqa: E402  (after the path)
from _check.logs import LoggedRun, read_run  # noqa: E402  (after the path)


class Checked(NamedTuple):
    """One record and what came of it."""

    run: LoggedRun
    found: Comparison

    @property
    def rows(self) -> Sequence[Row]:
        """Its rows."""
        return self.found.rows


def main() -> None:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="records, one JSON object per line")
    parser.add_argument("--all", action="store_true", help="every row, not only outliers")
    parser.add_argument("--json", action="store_true", help="everything, as one JSON document")
    parser.add_argument(
        "--engine", action="store_true", help="ask the installed llama.cpp what nothing explains"
    )
    options = parser.parse_args()
    checked, broken = check(options.file.read_text(encoding="utf-8").splitlines())
    if options.engine:
        checked = ask_engine(checked)
    if options.json:
        print(json.dumps(as_document(checked, broken), indent=1))
        return
    for each in checked:
        for line in record_lines(each, everything=options.all):
            print(line)
    print("\n".join(summary_lines(checked, broken)))


def check(lines: Sequence[str]) -> tuple[list[Checked], int]:
    """Compare every record; also return the number of lines that are no JSON object."""
    checked: list[Checked] = []
    broken = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            broken += 1
            continue
        run = read_run(record)
        try:
            found = compare(run)
        except Exception as error:  # one odd record must not hide the others
            how = f"this check failed: {error!r}"
            found = Comparison(how=how, rows=uncompared(run, how))
        checked.append(Checked(run, found))
    return checked, broken


def ask_engine(checked: Sequence[Checked]) -> list[Checked]:
    """Ask llama.cpp's allocator about the compute buffers that nothing explains."""
    from _check.second import SecondOpinion

    asked: list[Checked] = []
    with SecondOpinion(LOGGED_HOST) as opinion:
        for run, found in checked:
            if found.rebuilt is not None and found.prediction is not None:
                rows = opinion.on(found.rebuilt, found.prediction, found.rows)
                found = replace(found, rows=rows)
            asked.append(Checked(run, found))
    return asked


def record_lines(each: Checked, *, everything: bool) -> Iterator[str]:
    """The rows of a record that are worth a look, under a head."""
    rows = [row for row in each.rows if everything or row.is_outlier]
    if not rows:
        return
    run = each.run
    setting = f"ctx {run.n_ctx}, layers {run.offloaded}/{run.total_layers}, {run.runner} {run.date}"
    yield f"{run.id}  {run.model[:40]} {run.quant or '?'}, {setting}  [{each.found.how}]"
    for row in rows:
        predicted = "-" if row.predicted_mib is None else f"{row.predicted_mib:,.2f}"
        error = "" if row.error is None else f"{row.error:+.2%}"
        reason = "".join(f"  {text}" for text in (row.reason, row.note) if text)
        yield (
            f"    {row.device[:24]:24} {row.term:8} logged {row.logged_mib:12,.2f}"
            f"  ours {predicted:>12} {error:>9}  {row.verdict}{reason}"
        )


def summary_lines(checked: Sequence[Checked], broken: int) -> Iterator[str]:
    """Errors by runner and term, then why the rest was not compared."""
    yield ""
    head = ("runner", "term", "rows", "median", "p90", "<1%", "<5%", "ok", "explained", "not")
    yield "{:18}{:9}{:>6}{:>9}{:>9}{:>6}{:>6}{:>6}{:>11}{:>5}".format(*head)
    for row in summary(checked):
        yield (
            f"{row['runner']:18}{row['term']:9}{row['rows']:6}{row['median']:9.2%}"
            f"{row['p90']:9.2%}{row['within_1']:6}{row['within_5']:6}{row['ok']:6}"
            f"{row['explained']:11}{row['unexplained']:5}"
        )
    yield ""
    silent = sum(1 for each in checked if not each.rows)
    yield f"{len(checked)} records, {silent} of them without a figure to compare" + (
        f"; {broken} lines are no JSON objects" if broken else ""
    )
    reasons = Counter(
        row.reason for each in checked for row in each.rows if row.verdict == "not compared"
    )
    yield f"rows not compared: {sum(reasons.values())}"
    for reason, n in reasons.most_common():
        yield f"  {n:5}  {reason}"


def summary(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """Errors by runner and term."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for each in checked:
        for row in each.rows:
            if row.error is not None:
                groups.setdefault((each.run.runner, row.term), []).append(row)
    return [
        {"runner": runner, "term": term, **_statistics(rows)}
        for (runner, term), rows in sorted(groups.items())
    ]


def _statistics(rows: Sequence[Row]) -> dict[str, Any]:
    errors = sorted(abs(row.error) for row in rows if row.error is not None)
    verdicts = Counter(row.verdict for row in rows)
    return {
        "rows": len(errors),
        "median": statistics.median(errors),
        "p90": errors[min(len(errors) - 1, int(0.9 * len(errors)))],
        "within_1": sum(error <= 0.01 for error in errors),
        "within_5": sum(error <= 0.05 for error in errors),
        "ok": verdicts["ok"],
        "explained": verdicts["explained"],
        "unexplained": verdicts["unexplained"],
    }


def as_document(checked: Sequence[Checked], broken: int) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "schema": "localllm.check-memory/1",
        "records": [
            {
                "id": each.run.id,
                "model": each.run.model,
                "quant": each.run.quant,
                "runner": each.run.runner,
                "date": each.run.date,
                "built_from": each.found.how,
                "rows": [
                    {
                        "device": row.device,
                        "term": row.term,
                        "logged_mib": row.logged_mib,
                        "predicted_mib": row.predicted_mib,
                        "error": row.error,
                        "verdict": row.verdict,
                        "reason": row.reason,
                        "note": row.note,
                    }
                    for row in each.rows
                ],
            }
            for each in checked
        ],
        "broken_lines": broken,
        "summary": summary(checked),
    }


if __name__ == "__main__":
    main()
