"""The command palette: what it lists, what it finds, and where that leads."""

from __future__ import annotations

import pytest
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input

from localllm.tui.app import LocalLLMApp
from localllm.tui.appearance import Appearance
from localllm.tui.palette import match, plain
from localllm.tui.subject import Subject
from tests.tui.hardware.desk import FixedDesk
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import screen_text


def score(query: str, name: str) -> float:
    found = match([plain(word)[0] for word in query.split()], name)
    return 0.0 if found is None else found.score


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("llama 8b", "model: chat llama-3-8b"),
        ("LLAMA3", "model: chat llama-3-8b"),
        ("8b chat", "model: chat llama-3-8b"),
        ("go mod", "go: Models"),
    ],
)
def test_words_are_found_in_any_order_whatever_stands_between(query: str, name: str) -> None:
    assert 0 < score(query, name) <= 1


def test_what_lacks_a_word_is_not_found() -> None:
    assert score("llama 70b", "model: chat llama-3-8b") == 0


def test_the_beginning_of_a_word_counts_for_more_and_so_does_a_shorter_name() -> None:
    assert score("chat", "model: chat x") > score("chat", "model: xchat x")
    assert score("a100", "machine: try a100") > score("a100", "machine: try hgx-a100-8x40gb")


def test_what_was_found_is_marked_where_it_stands() -> None:
    found = match(["llama3"], "model: chat llama-3-8b")
    assert found is not None
    assert [("model: chat llama-3-8b")[start:end] for start, end in found.spans] == ["llama-3"]


def test_a_name_of_many_like_letters_comes_to_an_end() -> None:
    """Trying every way to place thirty letters among 400 would not."""
    assert score("a" * 30 + "b", "a" * 400) == 0


def names(app: LocalLLMApp) -> list[str]:
    """What the palette lists."""
    options = app.screen.query_one(CommandList).options
    return [str(option.prompt).split("\n")[0] for option in options]


async def listed(
    app: LocalLLMApp, pilot: Pilot[int], query: str, *, first: str, others: tuple[str, ...] = ()
) -> list[str]:
    """Open the palette, type, and return what it lists once this is first, and others with it."""
    if not isinstance(app.screen, CommandPalette):
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
    app.screen.query_one(Input).value = query
    await until(pilot, lambda: names(app)[:1] == [first] and {*others} <= {*names(app)})
    return names(app)


def test_it_lists_what_makes_sense_here_and_finds_models_machines_and_themes() -> None:
    kept: list[str] = []

    async def test() -> None:
        looks = Appearance(keep_theme=kept.append)
        async with running(place="hardware", desk=FixedDesk(), appearance=looks) as (app, pilot):
            await until(pilot, lambda: app.screen.query("#facts.-ready"))
            others: tuple[str, ...] = (
                "hardware: Detect again",
                "go: Models",
                "app: help",
                "app: quit",
            )
            every = await listed(app, pilot, "", first="machine: Another machine", others=others)
            assert not {"go: Hardware", "machine: this one", "theme: nord"} & {*every}

            await listed(app, pilot, "theme gruv", first="theme: gruvbox")
            await pilot.press("enter")
            await until(pilot, lambda: kept)
            assert kept == ["gruvbox"] and app.theme == "gruvbox"

            machines = await listed(app, pilot, "try rtx4090", first="machine: try rtx-4090")
            assert not any("-mig-" in name for name in machines)
            await pilot.press("enter")
            await until(pilot, lambda: app.subject.machines == ("rtx-4090",))
            others = ("machine: this one", "app: quit")
            every = await listed(app, pilot, "", first="machine: Another machine", others=others)
            assert "hardware: Detect again" not in every  # a profile has nothing to detect

            others = tuple(f"model: {verb} llama-3-8b" for verb in ("chat", "bench", "fetch"))
            first = "model: plan llama-3-8b"
            await listed(app, pilot, "llama-3-8b", first=first, others=others)
            await pilot.press("enter")
            await until(pilot, lambda: app.current_mode == "plan")
            assert app.subject == Subject(name="llama-3-8b", machines=("rtx-4090",))
            await pilot.pause()
            assert "rtx-4090 ▐SIMULATED▌" in screen_text(app)

    drive(test)
