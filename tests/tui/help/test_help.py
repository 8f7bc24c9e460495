"""Help in every place: what it is for, the keys that work there, the words."""

from __future__ import annotations

from functools import partial

import pytest
from textual.app import App
from textual.binding import ActiveBinding, Binding
from textual.screen import Screen
from textual.widgets import Input, OptionList

from localllm.tui.app import LocalLLMApp
from localllm.tui.help.glossary import GLOSSARY
from localllm.tui.help.keys import key_groups
from localllm.tui.help.screen import HelpScreen
from localllm.tui.help.texts import PLACE_TEXTS
from localllm.tui.masthead import PLACES
from localllm.tui.messages import Place
from tests.tui.hardware.desk import FixedDesk
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import check_both, screen_text


def binding(key: str, name: str, *, action: str = "", tooltip: str = "", id: str = "") -> Binding:
    return Binding(key, action or name.lower(), name, tooltip=tooltip, id=id or None)


def test_keys_are_grouped_by_whose_they_are_the_apps_last() -> None:
    app, screen, rows, typed = App[None](), Screen[None](), OptionList(), Input()
    active = [
        ActiveBinding(app, binding("f1", "help", tooltip="what for", id="app.help"), True, ""),
        ActiveBinding(screen, binding("r", "Run", tooltip="run it", id="a.run"), True, ""),
        ActiveBinding(screen, binding("x", "Off", id="a.off"), False, ""),
        ActiveBinding(screen, binding("tab", "Next"), True, ""),
        ActiveBinding(rows, binding("enter", "Choose"), True, ""),
        ActiveBinding(typed, binding("ctrl+u", "Erase"), True, ""),
        ActiveBinding(app, binding("question_mark", "help", id="app.help2"), True, ""),
        ActiveBinding(app, Binding("ctrl+x", "secret", ""), True, ""),
    ]
    groups = key_groups(active, shown_as=lambda each: each.key)
    assert [(g.title, [(k.keys, k.name) for k in g.keys]) for g in groups] == [
        ("Here", [("r", "Run")]),
        ("In the list", [("enter", "Choose")]),
        ("While typing", [("ctrl+u", "Erase")]),
        ("Everywhere", [("f1 question_mark", "Help"), ("tab", "Next")]),
    ]
    assert groups[0].keys[0].text == "run it"


@pytest.mark.parametrize("word, meaning", GLOSSARY)
def test_every_word_is_explained_in_a_sentence_of_two_lines_at_most(
    word: str, meaning: str
) -> None:
    assert word and len(word) <= 14
    assert 20 <= len(meaning) <= 110
    assert not meaning.endswith(".")


def is_in(app: LocalLLMApp, place: Place) -> bool:
    return app.current_mode == place


def test_every_place_has_help_that_escape_closes() -> None:
    async def test() -> None:
        async with running(place="hardware", desk=FixedDesk(), size=(100, 70)) as (app, pilot):
            places: list[Place] = ["hardware", *(p for p in PLACES if p != "hardware")]
            for place in places:
                app.action_go(place)
                await until(pilot, partial(is_in, app, place))
                await pilot.press("f1")
                await until(pilot, lambda: isinstance(app.screen, HelpScreen))
                await pilot.pause()
                text = screen_text(app)
                assert f"Help · {PLACES[place][1]}" in text
                first = getattr(app.screen_stack[0], "HELP_TEXT", "") or PLACE_TEXTS[place]
                assert " ".join(first.split()[:4]) in text
                assert "First:" in text and "Everywhere" in text
                await pilot.press("escape")
                assert app.screen is app.screen_stack[0]

    drive(test)


def test_help_reads_well_and_scrolls_on_a_small_terminal() -> None:
    async def test() -> None:
        async with running(place="hardware", desk=FixedDesk()) as (app, pilot):
            await until(pilot, lambda: app.screen.focused is not None)
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.pause()
            await check_both(pilot, "help-hardware")
            await pilot.press("end")
            await pilot.pause()
            await check_both(pilot, "help-words")
            await pilot.press("f1")
            assert not isinstance(app.screen, HelpScreen)

    drive(test)
