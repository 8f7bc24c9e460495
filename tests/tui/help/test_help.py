"""Help in every place: what it is for, the keys that work there, the words."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.binding import ActiveBinding, Binding
from textual.screen import Screen
from textual.widgets import Input, OptionList

from localllm.tui.help.glossary import GLOSSARY
from localllm.tui.help.keys import key_groups
from localllm.tui.help.screen import HelpScreen
from localllm.tui.help.texts import PLACE_TEXTS
from localllm.tui.masthead import PLACES
from localllm.tui.messages import Place
from tests.tui.hardware.desk import FixedDesk
from tests.tui.support.driving import NARROW, drive, running, until
from tests.tui.support.snapshots import check, check_both, screen_text


def binding(key: str, name: str, *, action: str = "", tooltip: str = "", id: str = "") -> Binding:
    return Binding(key, action or name.lower(), name, tooltip=tooltip, id=id or None)


def test_keys_are_grouped_by_whose_they_are_the_apps_last() -> None:
    app, screen, rows, typed = App[None](), Screen[None](), OptionList(), Input()
    active = [
        ActiveBinding(app, binding("f1", "help", tooltip="what for", id="app.help"), True, ""),
        ActiveBinding(screen, binding("r", "Run", tooltip="run it", id="a.run"), True, ""),
        ActiveBinding(screen, binding("x", "Off", id="a.off"), False, ""),
        ActiveBinding(screen, binding("tab", "Focus", action="app.focus_next"), True, ""),
        ActiveBinding(rows, binding("enter", "Choose"), True, ""),
        ActiveBinding(typed, binding("ctrl+u", "Erase"), True, ""),
        ActiveBinding(typed, binding("ctrl+j", "New line", id="prompt.line"), True, ""),
        ActiveBinding(app, binding("question_mark", "help", id="app.help2"), True, ""),
        ActiveBinding(app, Binding("ctrl+x", "secret", ""), True, ""),
    ]
    groups = key_groups(active, shown_as=lambda each: each.key)
    assert [(g.title, [(k.keys, k.name) for k in g.keys]) for g in groups] == [
        ("Here", [("r", "Run")]),
        ("In the list", [("enter", "Choose")]),
        ("While typing", [("ctrl+j", "New line")]),
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


@pytest.mark.parametrize("place", PLACES)
def test_every_place_says_what_it_is_for_and_what_to_do_first(place: Place) -> None:
    purpose, _, first = PLACE_TEXTS[place].partition("\n\n")
    assert 60 < len(purpose) < 300
    assert first.startswith("**First:** ") and len(first) < 200


def test_help_is_the_places_own_reads_well_on_a_small_terminal_and_closes() -> None:
    async def test() -> None:
        async with running(place="hardware", desk=FixedDesk()) as (app, pilot):
            await until(pilot, lambda: app.screen.focused is not None)
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.pause()
            await check_both(pilot, "help-hardware")
            await pilot.resize_terminal(*NARROW)
            await pilot.pause()
            await pilot.press("end")
            await pilot.pause()
            check(app, "help-words-80x24")
            await pilot.press("escape")
            app.action_go("plan")
            await until(pilot, lambda: app.current_mode == "plan")
            await pilot.press("f1")
            await until(pilot, lambda: "Help · Plan" in screen_text(app))
            assert "First:" in screen_text(app)
            await pilot.press("f1")
            assert app.screen is app.screen_stack[0]

    drive(test)
