"""The public measurements, read once: building their models takes seconds."""

from __future__ import annotations

import pytest
from _fit.facts import Fact, LeftOut, load_facts


@pytest.fixture(scope="session")
def table() -> tuple[list[Fact], list[LeftOut]]:
    """Every line of scripts/facts/throughput.jsonl, and why some are left out."""
    return load_facts()
