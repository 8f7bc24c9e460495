"""Where a person's files belong by the customs of the system: state, cache and configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Kind = Literal["state", "cache", "config"]

_XDG: dict[Kind, tuple[str, str]] = {
    "state": ("XDG_STATE_HOME", "~/.local/state"),
    "cache": ("XDG_CACHE_HOME", "~/.cache"),
    "config": ("XDG_CONFIG_HOME", "~/.config"),
}


def own_folder(kind: Kind, environ: Mapping[str, str]) -> Path:
    """Return localllm's folder of a kind, which may not exist yet: ``LOCALLLM_STATE_DIR``,
    ``LOCALLLM_CACHE_DIR`` or ``LOCALLLM_CONFIG_DIR`` where it is set, else the system's.

    On Linux that is worked out as ``platformdirs`` does (the XDG base directories), whose import
    takes 10 ms that every first token would wait for.
    """
    override = environ.get(f"LOCALLLM_{kind.upper()}_DIR")
    if override:
        return Path(override).expanduser()
    if sys.platform.startswith("linux"):
        name, usual = _XDG[kind]
        base = environ.get(name, "")
        return Path(base if base.strip() else usual).expanduser() / "localllm"
    import platformdirs

    find = {
        "state": platformdirs.user_state_dir,
        "cache": platformdirs.user_cache_dir,
        "config": platformdirs.user_config_dir,
    }[kind]
    return Path(find("localllm", appauthor=False))
