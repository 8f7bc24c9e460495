"""Terminals that cannot show everything: plainer characters, cell for cell, and fitting themes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from localllm.records.ui_state import remember_theme
from localllm.tui.appearance import FEW_COLOURS, appearance_here
from localllm.tui.plain import Charset, PlainCharacters, charset, plainer_key
from tests.tui.support.snapshots import FOLDER

BLACK = Color(0, 0, 0)


def plainer(text: str, charset: Charset) -> str:
    (segment,) = PlainCharacters(charset).apply([Segment(text)], BLACK)
    return segment.text


def test_a_console_keeps_what_its_fonts_have() -> None:
    assert plainer("╭─ now ─╮ █▌░ ✓ 78 °C ↓", "console") == "┌─ now ─┐ ██░ + 78 °C ↓"
    assert plainer("▁▃▅▇█", "console") == "_▄▄▄█"


def test_without_utf_8_nothing_but_ascii_is_left() -> None:
    assert plainer("╭─ now ─╮ █▌░ ✓ 78 °C ↓", "ascii") == "+- now -+ #=. + 78 oC v"
    assert plainer("▁▃▅▇█", "ascii") == "_-=##"
    assert plainer("模 é", "ascii") == "?? ?"


def test_the_enter_key_is_a_word_where_its_sign_is_missing() -> None:
    assert plainer_key("⏎", "console") == plainer_key("⏎", "ascii") == "enter"
    assert plainer_key("⏎", "all") == "⏎"


@pytest.mark.parametrize("kind", ["console", "ascii"])
def test_every_screen_keeps_its_width(kind: Charset) -> None:
    screens = (path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt"))
    characters = {character for screen in screens for character in screen} - {"\n"}
    for character in characters:
        assert cell_len(plainer(character, kind)) == cell_len(character), character
        assert kind != "ascii" or plainer(character, kind).isascii()


@pytest.mark.parametrize(
    ("encoding", "term", "expected"),
    [
        ("utf-8", "xterm-256color", "all"),
        ("UTF8", "tmux-256color", "all"),
        ("utf-8", "linux", "console"),
        ("iso8859-1", "linux", "ascii"),
        (None, "xterm", "ascii"),
    ],
)
def test_what_a_terminal_shows(encoding: str | None, term: str, expected: Charset) -> None:
    assert charset(encoding=encoding, term=term) == expected


def test_a_theme_is_the_persons_else_what_suits_the_terminal(tmp_path: Path) -> None:
    state = {"LOCALLLM_STATE_DIR": str(tmp_path)}
    rich_terminal = {**state, "TERM": "xterm-256color"}
    assert appearance_here(rich_terminal).theme is None
    assert appearance_here({**state, "TERM": "linux"}).theme == FEW_COLOURS
    remember = appearance_here(rich_terminal).keep_theme
    assert remember is not None
    remember("nord")
    assert appearance_here({**state, "TERM": "linux"}).theme == "nord"
    assert appearance_here({**state, "TEXTUAL_THEME": "gruvbox"}).theme is None
    remember_theme("gruvbox", state)
    assert appearance_here(rich_terminal).theme == "gruvbox"


def test_the_encoding_is_that_of_what_is_drawn_on(tmp_path: Path) -> None:
    environ = {"LOCALLLM_STATE_DIR": str(tmp_path), "TERM": "xterm-256color"}
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert appearance_here(environ, latin).charset == "ascii"
    latin.detach()
