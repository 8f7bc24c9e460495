"""How fast the last download came, for the next one's time: one small file in the cache folder.

A guess for a person, so nothing depends on it: what cannot be read or written is not known.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from localllm.hub.headers.cache import cache_dir
from localllm.units import MiB

LEAST_BYTES = 16 * MiB
"""Less is over before a connection has come up to speed."""


def remember_rate(
    endpoint: str, n_received: int, seconds: float, environ: Mapping[str, str] = os.environ
) -> None:
    """Keep what a download from an endpoint reached."""
    if n_received < LEAST_BYTES or seconds <= 0:
        return
    path = _path(environ)
    text = json.dumps({"endpoint": endpoint, "bytes_per_s": n_received / seconds})
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        os.replace(new, path)


def last_rate(endpoint: str, environ: Mapping[str, str] = os.environ) -> float | None:
    """Return bytes a second of the last download from an endpoint; None where there was none."""
    try:
        kept = json.loads(_path(environ).read_text(encoding="utf-8"))
        rate = float(kept["bytes_per_s"])
        return rate if kept["endpoint"] == endpoint and 0 < rate < math.inf else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(environ: Mapping[str, str]) -> Path:
    return cache_dir(environ) / "last-download.json"
