#!/usr/bin/env python3
"""Fit the power formulas (``localllm/core/energy.py``) to public readings, and say how well.

    scripts/fit_power.py            the constants, errors by class, every source left out in turn
    scripts/fit_power.py --write    write them to localllm/core/energy_constants.py

The readings are in ``scripts/facts/power.jsonl``, each with its source and meter. Readings of GPU
boards that decode one stream fit the constants of GDDR boards; HBM boards have none in public, so
theirs come from a serving engine at batches of 8 and 16, where memory still decides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from _fit_power.facts import read_facts  # noqa: E402  (after the path)
from _fit_power.fit import fitted  # noqa: E402  (after the path)
from _fit_power.report import report  # noqa: E402  (after the path)

CONSTANTS_FILE = (
    Path(__file__).resolve().parent.parent / "localllm" / "core" / "energy_constants.py"
)

_HEADER = '''"""Fitted constants of the power formulas. Written by ``scripts/fit_power.py``."""

from __future__ import annotations

from collections.abc import Mapping

CONSTANTS: Mapping[str, float] = {
'''
_FOOTER = '''}
"""By ``class term``. ``awake``, ``arithmetic``: shares of the way from idle to the limit, the
latter per FP32 peak; ``watts_per_gb_s``: of memory traffic; ``idle``: share of the limit. ``cap``:
its floor as such a share, and exponents. ``low``, ``high``: 80 % range of a board's watts, as
factors."""
'''


def main() -> None:
    """Fit, write on request, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the constants into the core")
    options = parser.parse_args()
    facts = read_facts()
    constants = fitted(facts)
    if options.write:
        CONSTANTS_FILE.write_text(as_module(constants), encoding="utf-8")
    for name, value in constants.items():
        print(f"{name:28} {value:g}")
    for line in report(facts, constants):
        print(line)


def as_module(constants: Mapping[str, float]) -> str:
    """The Python file that holds the constants."""
    rows = "".join(f'    "{name}": {value:g},\n' for name, value in constants.items())
    return _HEADER + rows + _FOOTER


if __name__ == "__main__":
    main()
