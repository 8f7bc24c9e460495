#!/usr/bin/env python3
"""Fit the constants of the speed formulas to public measurements, and say what they are worth.

    python scripts/fit_speed.py                    # fit, cross-validate by source, print
    python scripts/fit_speed.py --write            # and write localllm/core/speed_constants.py
    python scripts/fit_speed.py --check FILE.jsonl # the constants in use against other rows
    python scripts/fit_speed.py --worst 30         # the rows that are furthest off

The facts are ``scripts/facts/throughput.jsonl``. Errors are those of sources that were left out of
the fit: all rows of one person or project together. Tiers A and B (llama-bench, single reports) and
C (user-reported) are fitted, C with a third of the weight, and reported apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from _fit.facts import Kind, facts_of_public_rows, load_facts  # noqa: E402  (after the path)
from _fit.fitting import Row, fitted, left_out_errors, rows_of  # noqa: E402  (after the path)
from _fit.parameters import PRIORS  # noqa: E402  (after the path)
from _fit.report import coverage, in_range, regime_of, spreads, table  # noqa: E402  (after the path)
from _fit.write import constants_module  # noqa: E402  (after the path)

from localllm.core.speed_constants import CONSTANTS, SPREADS  # noqa: E402  (after the path)

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "localllm" / "core" / "speed_constants.py"
KINDS: tuple[str, ...] = get_args(Kind)


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the constants into the core")
    parser.add_argument("--check", type=Path, metavar="FILE", help="rows in the public format")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="print the N worst rows")
    args = parser.parse_args()
    if args.check:
        return check(args.check, worst=args.worst)
    facts, left_out = load_facts()
    rows = rows_of(fact for fact in facts if fact.bound is None)
    print(f"{len(rows)} measurements, {len(left_out)} records of the table left out")
    judged = left_out_errors(rows)
    covered = coverage(judged, KINDS)
    report(judged, covered, worst=args.worst)
    constants = fitted(rows)
    own = [(row, row.error(constants)) for row in rows]
    print("\nwith every source in the fit:")
    print(table(own, regime_of))
    print(table(own, lambda r: f"{r.fact.phase} {r.fact.kind}"))
    if args.write:
        MODULE.write_text(constants_module(constants, spreads(judged, KINDS), n_rows=len(rows)))
        print(f"\nwrote {MODULE.relative_to(ROOT)}")
    else:
        for name, value in constants.items():
            print(f"  {name:<36}{value:>12.4g}   (prior {PRIORS[name].prior:.4g})")
    return 0


def check(path: Path, *, worst: int) -> int:
    """Compare the constants in use with the rows of a file in the public format."""
    rows_given = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    facts, left_out = facts_of_public_rows(rows_given)
    in_use = {**_of_old_times(), **CONSTANTS}
    rows = rows_of((fact for fact in facts if fact.bound is None), constants=in_use)
    reasons = Counter(item.reason for item in left_out)
    print(f"{len(rows)} measurements in {len(rows_given)} rows; left out:")
    for reason, n in reasons.most_common():
        print(f"  {n:>5}  {reason}")
    judged = [(row, row.error(in_use)) for row in rows]
    report(judged, [(row, in_range(row, error, SPREADS)) for row, error in judged], worst=worst)
    return 0


def _of_old_times() -> dict[str, float]:
    """What measurements of earlier years took beyond today's: not in the core, which plans today's.

    From our own table; the file that is checked has no part in it.
    """
    facts, _ = load_facts()
    constants = fitted(rows_of(fact for fact in facts if fact.bound is None))
    return {name: value for name, value in constants.items() if name[0].isdigit()}


def report(judged: list[tuple[Row, float]], covered: list[tuple[Row, bool]], *, worst: int) -> None:
    """Print errors by phase, kind and tier."""
    for words, tiers in (("tiers A and B", "AB"), ("tier C, user-reported", "C")):
        some = [(row, e) for row, e in judged if row.fact.tier in tiers]
        held = [(row, c) for row, c in covered if row.fact.tier in tiers]
        if some:
            print(f"\n{words}: absolute error of tokens/s, and rows inside the 80 % range")
            print(table(some, regime_of, covered=held))
            print(table(some, lambda r: f"{r.fact.phase} {r.fact.kind}", covered=held))
    for row, error in sorted(judged, key=lambda pair: -abs(pair[1]))[:worst]:
        fact = row.fact
        gpus = "+".join(d.description for d in fact.run.devices) or fact.run.host.cpu
        print(
            f"  {error:+.2f} {fact.id} {fact.phase}{fact.n_tokens}@{fact.depth} {fact.kind} "
            f"{fact.tier} {fact.era} | {fact.model.name} {fact.model.quant} | {gpus[:60]} | "
            f"{fact.tok_s:.4g} tok/s | {fact.group}"
        )


if __name__ == "__main__":
    sys.exit(main())
