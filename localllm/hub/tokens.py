"""The Hub's token: found where its own tools keep it, told to nobody but the Hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localllm.hub.cache_layout import cache_root

TRUE = frozenset({"1", "on", "yes", "true"})
"""What switches a variable of the Hub's on, in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """A place that has a token, or something that should be one."""

    source: str
    """The variable's name or the file's path, safe to print."""
    value: str | None = field(repr=False)
    """None where what is there cannot be a token: it would break the header that it goes into."""


def hub_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the token, from ``HF_TOKEN`` or from where ``hf auth login`` leaves it."""
    found = find_token(environ)
    return None if found is None else found.value


def find_token(environ: Mapping[str, str] = os.environ) -> FoundToken | None:
    """Return the first place that has a token, as huggingface_hub looks for it; None without one.

    ``HF_HUB_DISABLE_IMPLICIT_TOKEN`` forbids to take any.
    """
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in TRUE:
        return None
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if text := environ.get(name, "").strip():
            return FoundToken(source=name, value=_plain(text))
    path = token_path(environ)
    try:
        text = path.read_text(encoding="latin-1").strip()
    except (OSError, ValueError):
        return None
    return FoundToken(source=str(path), value=_plain(text)) if text else None


def token_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that a token is kept in, be it there or not."""
    # cache_root knows how settings of folders are read; the token lies beside the cache by default
    if stated := environ.get("HF_TOKEN_PATH"):
        return cache_root({**environ, "HF_HUB_CACHE": stated})
    home = {k: v for k, v in environ.items() if k not in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")}
    return cache_root(home).parent / "token"


def _plain(text: str) -> str | None:
    return text if text.isascii() and text.isprintable() else None
