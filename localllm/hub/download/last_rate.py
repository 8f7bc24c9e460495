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
from localllm.hub.small_files import read_json, write_whole
from localllm.units import MiB

LEAST_BYTES = 16 * MiB
"""Less is over before a connection has come up to speed."""
_MAX_BYTES = 4096


def remember_rate(
    endpoint: str, n_received: int, seconds: float, environ: Mapping[str, str] = os.environ
) -> None:
    """Keep what a download from an endpoint reached: its bytes, in the seconds in which they came.

    Waits and the checking of what was here already belong to no rate.
    """
    if n_received < LEAST_BYTES or seconds <= 0:
        return
    text = json.dumps({"endpoint": endpoint, "bytes_per_s": n_received / seconds})
    with suppress(OSError):
        write_whole(_path(environ), text.encode())


def last_rate(endpoint: str, environ: Mapping[str, str] = os.environ) -> float | None:
    """Return bytes a second of the last download from an endpoint; None where there was none."""
    try:
        kept = read_json(_path(environ), _MAX_BYTES)
        rate = kept["bytes_per_s"]
        is_one = type(rate) is float and 0 < rate < math.inf
        return rate if is_one and kept["endpoint"] == endpoint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(environ: Mapping[str, str]) -> Path:
    return cache_dir(environ) / "last-download.json"
