#!/usr/bin/env python3
"""Our table of public speed measurements: made from the public collection, or counted.

scripts/make_facts.py                            what the table holds, by kind, tier and phase
scripts/make_facts.py throughput.jsonl           what rows in the public form would give
scripts/make_facts.py throughput.jsonl --left    ... and every row that gives nothing, with why
scripts/make_facts.py throughput.jsonl --write   make scripts/facts/throughput.jsonl of them and
                                                 of scripts/facts/more.jsonl, which we collected
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from _fit.facts import Fact, LeftOut, fact_of, load_facts  # noqa: E402  (after the path)
from _fit.names import FACTS  # noqa: E402  (after the path)
from _fit.normalise import Record, normalise  # noqa: E402  (after the path)
from _fit.table import TABLE, lines_of  # noqa: E402  (after the path)

MORE = FACTS / "more.jsonl"
"""What the public collection has hardly any of, in its form: offload, processors, Apple."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rows", nargs="?", type=Path, help="JSON lines in the public form")
    parser.add_argument("--write", action="store_true", help="make the table of them")
    parser.add_argument("--left", action="store_true", help="list every row that was left out")
    chosen = parser.parse_args(arguments)
    if chosen.rows is None:
        facts, left = load_facts()
    else:
        records, left, facts = from_public(chosen.rows, *([MORE] if chosen.write else []))
        if chosen.write:
            TABLE.write_text("".join(lines_of(records)), encoding="utf-8")
    print("\n".join(summary_lines(facts, left)))
    if chosen.left:
        print("\n".join(f"{row.id:24} {row.reason}" for row in sorted(left)))
    return 0


def from_public(*paths: Path) -> tuple[list[Record], list[LeftOut], list[Fact]]:
    """Return the records of files that become facts, sorted, with what was left out."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    records, left = normalise(json.loads(line) for line in lines if line.strip())
    kept: list[Record] = []
    facts: list[Fact] = []
    for record in sorted(records, key=lambda each: str(each["id"])):
        made = fact_of(record)
        if isinstance(made, str):
            left.append(LeftOut(str(record["id"]), made))
        else:
            kept.append(record)
            facts.append(made)
    return kept, left, facts


def summary_lines(facts: list[Fact], left: list[LeftOut]) -> list[str]:
    """Return a table of facts by kind, tier and phase, and of the reasons of the rest."""
    columns = [(tier, phase) for tier in "ABC" for phase in ("tg", "pp")]
    counts = Counter((str(fact.kind), fact.tier, str(fact.phase)) for fact in facts)
    lines = [f"{len(facts)} facts", f"{'':16}" + "".join(f"{t} {p:>3}  " for t, p in columns)]
    for kind in sorted({str(fact.kind) for fact in facts}):
        cells = "".join(f"{counts[kind, tier, phase]:5}  " for tier, phase in columns)
        lines.append(f"{kind:16}{cells}")
    bounds = sum(fact.bound is not None for fact in facts)
    lines.append(f"{bounds} of them are lower bounds")
    reasons = Counter(row.reason.partition(":")[0] for row in left)
    lines.append(f"{len(left)} rows and tests left out")
    lines += [f"{count:5}  {reason}" for reason, count in reasons.most_common()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
