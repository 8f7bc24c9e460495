"""Where a person's files belong by the customs of the system: state, cache and configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from localllm.core.text import printable
from localllm.errors import UsageError

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
        return expanded(override, environ)
    if sys.platform.startswith("linux"):
        name, usual = _XDG[kind]
        base = environ.get(name, "")
        return expanded(base if base.strip() else usual, environ) / "localllm"
    import platformdirs

    find = {
        "state": platformdirs.user_state_dir,
        "cache": platformdirs.user_cache_dir,
        "config": platformdirs.user_config_dir,
    }[kind]
    return Path(find("localllm", appauthor=False))


def expanded(text: str, environ: Mapping[str, str]) -> Path:
    """Return a path with the ``~`` or ``~name`` at its beginning replaced by that person's home.

    The own home is ``HOME`` of ``environ``, else what the system knows. Raises UsageError (exit 2)
    where there is none: in a container a process may run as a number that nobody has.
    """
    if not text.startswith("~"):
        return Path(text)
    who, _, below = text.partition("/")
    home = (environ.get("HOME") if who == "~" else None) or os.path.expanduser(who)
    if not home.startswith("~"):
        return Path(home, below)
    if who == "~":
        raise UsageError(
            "This person has no home folder, and files of theirs belong there.",
            hint="Set HOME to a folder that may be written to.",
        )
    raise UsageError(
        f"{printable(who[:100])} in {printable(text[:200])} is nobody's home folder here.",
        hint="Write the whole path.",
    )
