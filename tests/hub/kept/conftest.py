"""An empty cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hf_cache import HFCache


@pytest.fixture
def cache(tmp_path: Path) -> HFCache:
    return HFCache(tmp_path / "hub")
