from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.trees import cpu_files, plant


@pytest.fixture
def machine(root: Path) -> Path:
    """A machine with eight cores and 31 GiB, and nothing else."""
    return plant(root, cpu_files(8))
