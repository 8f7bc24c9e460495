"""Snapshots of screens: the characters that a person sees, as text files that a diff shows well.

Colours are left out on purpose: what a snapshot does not show, nobody with NO_COLOR sees either.
``LOCALLLM_UPDATE_SNAPSHOTS=1`` writes them anew.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console
from textual.app import App
from textual.pilot import Pilot

from tests.tui.support.driving import NARROW, WIDE

FOLDER = Path(__file__).parents[2] / "fixtures" / "tui"


def screen_text(app: App[int]) -> str:
    """Return the screen, dialogs on top of it included, a line for each row."""
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), record=True, legacy_windows=False
    )
    compositor = app.screen._compositor
    console.print(compositor.render_update(full=True, screen_stack=app._background_screens))
    rows = console.export_text().split("\n")[:height]
    return "\n".join(row.rstrip() for row in rows) + "\n"


def check(app: App[int], name: str) -> None:
    """Hold the screen to ``tests/fixtures/tui/NAME.txt``."""
    path, seen = FOLDER / f"{name}.txt", screen_text(app)
    if os.environ.get("LOCALLLM_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seen, encoding="utf-8")
        return
    assert path.exists(), f"There is no {path.name} yet: LOCALLLM_UPDATE_SNAPSHOTS=1 writes it."
    assert seen.splitlines() == path.read_text(encoding="utf-8").splitlines()


async def check_both(pilot: Pilot[int], name: str) -> None:
    """Hold the screen to its snapshots at 80x24 and at 120x34; ``NAME-80x24.txt`` ...

    It begins at the size that the screen has, which is resized once then, and stays at the other.
    """
    for size in (WIDE, NARROW) if pilot.app.size == WIDE else (NARROW, WIDE):
        if pilot.app.size != size:
            await pilot.resize_terminal(*size)
        await pilot.pause()
        check(pilot.app, f"{name}-{size[0]}x{size[1]}")
