"""How the UI looks on a terminal: its theme, which is remembered, and which characters it shows."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from localllm.errors import UsageError
from localllm.records.ui_state import remember_theme, remembered_theme
from localllm.tui.plain import Charset, charset

FEW_COLOURS = "ansi-dark"
"""Of eight colours the terminal's own are read best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What the app starts with."""

    theme: str | None = None
    """None: Textual's own choice."""
    keep_theme: Callable[[str], None] | None = None
    """Is called in a thread with a theme that the person chooses. Raises OSError."""
    charset: Charset = "all"


def appearance_here(
    environ: Mapping[str, str] = os.environ, terminal: TextIO | None = None
) -> Appearance:
    """Return what suits this terminal and this person. ``terminal``: what is drawn on."""
    encoding = getattr(sys.__stderr__ if terminal is None else terminal, "encoding", None)
    return Appearance(
        theme=_theme(environ),
        keep_theme=lambda theme: remember_theme(theme, environ),
        charset=charset(encoding=encoding, term=environ.get("TERM", "")),
    )


def _theme(environ: Mapping[str, str]) -> str | None:
    """The theme that was chosen last; Textual's own variable goes before it."""
    if "TEXTUAL_THEME" in environ:
        return None
    with contextlib.suppress(UsageError):  # nobody's home: nothing is remembered
        remembered = remembered_theme(environ)
        if remembered is not None:
            return remembered
    return FEW_COLOURS if _few_colours(environ) else None


def _few_colours(environ: Mapping[str, str]) -> bool:
    """Whether the terminal says that it has 8 or 16, as rich reads it for Textual."""
    from rich.console import Console

    console = Console(force_terminal=True, _environ=dict(environ))
    return console.color_system == "standard"
