"""Pictures of the terminal UI in docs/: the real app over the real engine, driven by keys.

``scripts/picture_tui.py`` draws all of them, ``scripts/picture_tui.py home --out FOLDER`` one.
Keys are pressed and texts are waited for, and the picture is the screen as Textual exports it. The
chat is with the demo model, whose figures are measured while it answers; the plan is of a machine
by its profile, and says SIMULATED. Conversations, settings and downloads of the person are neither
read nor written: the app has folders of its own for the while.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from textual.app import App  # noqa: E402  (after the path)
from textual.pilot import Pilot  # noqa: E402  (after the path)

from localllm.core.policy import Policy  # noqa: E402  (after the path)
from localllm.tui.app import LocalLLMApp  # noqa: E402  (after the path)
from localllm.tui.chat.screen import ChatScreen  # noqa: E402  (after the path)
from localllm.tui.desk import Desk  # noqa: E402  (after the path)
from localllm.tui.messages import Place  # noqa: E402  (after the path)
from localllm.tui.subject import Subject  # noqa: E402  (after the path)

LIMIT_S = 120.0
_FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_FOLDERS = (
    "LOCALLLM_STATE_DIR",
    "LOCALLLM_CONFIG_DIR",
    "LOCALLLM_CACHE_DIR",
    "HF_HOME",
    "OLLAMA_MODELS",
)


async def home(pilot: Pilot[int]) -> None:
    """The models by name, each with its verdict."""
    await shown(pilot, "comes with localllm")
    for _ in range(3):
        await pilot.press("down")
    await shown(pilot, lambda text: "known" in text and "…" not in _list_of(text))


def _list_of(text: str) -> str:
    """What is below the filter, which has a … of its own."""
    return text.partition("─ Models ")[2]


async def chat(pilot: Pilot[int]) -> None:
    """Questions that the demo model has answered."""
    await shown(pilot, "loaded in")
    screen = cast("ChatScreen", pilot.app.screen)
    for n, question in enumerate(_QUESTIONS, start=1):
        await pilot.press(*_keys(question), "enter")
        await until(pilot, lambda n=n: screen_text(pilot.app).count(" (estimated ") >= n)  # type: ignore[misc]  # n is bound now
    await until(pilot, lambda: screen.phase == "idle")


_QUESTIONS = ("hello", "What is VRAM?", "Tell me a story")


def _keys(text: str) -> list[str]:
    names = {" ": "space", "?": "question_mark", ".": "full_stop", ",": "comma"}
    return [names.get(character, character) for character in text]


async def plan(pilot: Pilot[int]) -> None:
    """A model that two cards hold in part."""
    await shown(pilot, "exact (llama.cpp)")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is drawn, and from where."""

    file: str
    place: Place
    steps: Callable[[Pilot[int]], Awaitable[None]]
    subject: Subject = field(default_factory=Subject)
    size: tuple[int, int] = (120, 34)


PICTURES = {
    "home": Picture(file="tui-home.svg", place="home", steps=home),
    "chat": Picture(file="tui.svg", place="chat", steps=chat, subject=Subject(name="demo")),
    "plan": Picture(
        file="tui-plan.svg",
        place="plan",
        steps=plan,
        subject=Subject(
            name="llama-3.1-70b",
            machines=("2x rtx-4090",),
            wishes=Policy(quant="Q4_K_M", n_ctx=32768),
        ),
        size=(120, 43),
    ),
}


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PICTURES):
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({name: str(Path(folder, name)) for name in _FOLDERS})
        os.environ["LOCALLLM_MEASUREMENTS"] = "off"
        for name in options.names or PICTURES:
            picture = PICTURES[name]
            path = options.out / picture.file
            path.write_text(asyncio.run(drawn(picture)), encoding="utf-8")
            print(path.name, path.stat().st_size)


async def drawn(picture: Picture) -> str:
    """Open the app, do the picture's steps, and return its screen as SVG."""
    desk = Desk()
    app = LocalLLMApp(desk=desk, subject=picture.subject, place=picture.place)
    try:
        async with app.run_test(size=picture.size) as pilot:
            await picture.steps(pilot)
            await pilot.pause(0.5)
            return alone(app.export_screenshot(title="localllm", simplify=True))
    finally:
        desk.close()


def alone(svg: str) -> str:
    """Return the picture without a font from elsewhere: the viewer's own monospace one is taken."""
    svg = _FONT_FACE.sub("", svg).replace("Fira Code, monospace", _FONTS)
    return re.sub(r"\s*<!-- Generated with .*?-->", "", svg)


async def shown(pilot: Pilot[int], what: str | Callable[[str], object]) -> None:
    """Wait until a text is on the screen, or the screen is as it should be."""

    def holds() -> object:
        text = screen_text(pilot.app)
        return what in text if isinstance(what, str) else what(text)

    await until(pilot, holds)


async def until(pilot: Pilot[int], holds: Callable[[], object]) -> None:
    """Wait until something holds; the screen is told where it never does."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + LIMIT_S
    while not holds():
        if loop.time() > until_s:
            raise SystemExit(f"It never came to that:\n{screen_text(pilot.app)}")
        await pilot.pause(0.1)


def screen_text(app: App[int]) -> str:
    """Return the screen's characters, a line for each row."""
    lines = app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines)


if __name__ == "__main__":
    main()
