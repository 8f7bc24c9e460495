"""``localllm bench --compare`` for scripts: two runs beside each other as a document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from localllm.core.bench.compare import Compared, Figure
from localllm.core.bench.read import BenchFile
from localllm.core.bench.statistics import CONFIDENCE

SCHEMA = "localllm.bench-comparison/1"


def comparison_document(a: BenchFile, b: BenchFile, compared: Compared) -> dict[str, Any]:
    """Return the comparison for scripts; ``change`` is ``b / a - 1``."""
    return {
        "schema": SCHEMA,
        "a": a.name,
        "b": b.name,
        "confidence": CONFIDENCE,
        "differences": [asdict(one) for one in compared.differences],
        "tests": [
            {
                "test": pair.label,
                "speed": _figure_document(pair.speed),
                "energy": _figure_document(pair.energy) if pair.energy else None,
            }
            for pair in compared.pairs
        ],
        "only_a": list(compared.only_a),
        "only_b": list(compared.only_b),
    }


def _figure_document(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"change": figure.change}
