"""Where a person's files belong by the customs of the system: localllm's state and its cache."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal


def own_folder(kind: Literal["state", "cache"], environ: Mapping[str, str]) -> Path:
    """Return localllm's folder of a kind, which may not exist yet: ``LOCALLLM_STATE_DIR`` or
    ``LOCALLLM_CACHE_DIR`` where it is set, else the system's.

    On Linux that is worked out as ``platformdirs`` does (the XDG base directories), whose import
    takes 10 ms that every first token would wait for.
    """
    override = environ.get(f"LOCALLLM_{kind.upper()}_DIR")
    if override:
        return Path(override).expanduser()
    if sys.platform.startswith("linux"):
        name, usual = ("XDG_STATE_HOME", "~/.local/state")
        if kind == "cache":
            name, usual = ("XDG_CACHE_HOME", "~/.cache")
        base = environ.get(name, "")
        return Path(base if base.strip() else usual).expanduser() / "localllm"
    import platformdirs

    find = platformdirs.user_state_dir if kind == "state" else platformdirs.user_cache_dir
    return Path(find("localllm", appauthor=False))
