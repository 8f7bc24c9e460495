"""The pictures of the terminal UI: nothing in them is fetched from elsewhere."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from picture_tui import Picture, drawn, shown
from textual.pilot import Pilot

SVG = "http://www.w3.org/2000/svg"


def test_a_picture_is_svg_and_needs_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(pilot: Pilot[int]) -> None:
        await shown(pilot, "No model yet")

    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path))
    svg = asyncio.run(drawn(Picture(file="plan.svg", place="plan", steps=steps, size=(80, 24))))
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{{{SVG}}}svg"
    assert "No model yet" in "".join(root.itertext()).replace("\xa0", " ")
    assert set(re.findall(r"\w+://[^\"' <)]*", svg)) == {SVG}
    assert "@font-face" not in svg
    assert "monospace" in svg
