"""The masthead and the app around the places: tabs, what goes on elsewhere, room, muted text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from localllm.core.policy import Policy
from localllm.tui.app import LocalLLMApp
from localllm.tui.masthead import Activities, PlaceTab, SubjectLine
from localllm.tui.messages import ActivityChanged, PlanMade
from localllm.tui.small import TooSmall
from localllm.tui.subject import Subject
from localllm.tui.threads import called
from tests.tui.hardware.desk import FixedDesk
from tests.tui.support.driving import NARROW, WIDE, drive, running, until
from tests.tui.support.snapshots import screen_text


def head(app: LocalLLMApp) -> list[str]:
    return screen_text(app).splitlines()[:2]


async def at(app: LocalLLMApp, pilot: Pilot[int], place: str) -> None:
    await until(pilot, lambda: app.current_mode == place)
    await pilot.pause()


def test_the_masthead_leads_everywhere_and_tells_what_goes_on_elsewhere() -> None:
    async def test() -> None:
        subject = Subject(machines=("2x rtx-4090", "epyc-9654"))
        async with running(subject=subject, place="hardware", desk=FixedDesk()) as (app, pilot):
            assert head(app) == [
                " localllm  F2 Models  F3 Plan  F4 Chat  F5 Bench  F6[Hardware]",
                " no model yet                               2x rtx-4090 + epyc-9654 ▐SIMULATED▌",
            ]
            app.screen.post_message(ActivityChanged("plan", "31 tok/s"))
            app.screen.post_message(ActivityChanged("home", "↓ 42 %"))
            app.screen.post_message(ActivityChanged("hardware", "3/5"))
            await until(pilot, lambda: len(app.activities) == 3)
            await pilot.pause()
            assert head(app)[0].endswith("F6[Hardware]    Models ↓ 42 %")  # no room for both
            await pilot.resize_terminal(*WIDE)
            await pilot.pause()
            assert head(app)[0].endswith("Models ↓ 42 % · Plan 31 tok/s")
            app.screen.post_message(ActivityChanged("home", None))
            await until(pilot, lambda: "home" not in app.activities)
            await pilot.resize_terminal(*NARROW)
            await pilot.click(Activities)
            await at(app, pilot, "plan")
            assert head(app)[0].endswith("Hardware 3/5")
            await pilot.click(SubjectLine, offset=(70, 0))  # the machine
            await at(app, pilot, "hardware")
            await pilot.click(app.screen.query(PlaceTab)[1])
            await at(app, pilot, "plan")

    drive(test)


def test_a_plan_of_something_else_is_not_shown() -> None:
    async def test() -> None:
        desk = FixedDesk()
        subject = Subject(name="llama-3-8b", wishes=Policy(quant="Q4_K_M"))
        planned = await called(lambda: desk.plan(subject, with_counterfactuals=False))
        async with running(subject=subject, place="hardware", desk=desk) as (app, pilot):

            async def line(changed: Subject, begins: str) -> None:
                app.subject = changed
                await until(pilot, lambda: head(app)[1].startswith(begins))

            await line(subject, " llama-3-8b  ")
            app.screen.post_message(PlanMade(planned))
            await line(subject, " Llama 3 8B · Q4_K_M · 33/33 layers on GPU")
            await line(replace(subject, machines=("rtx-4090",)), " llama-3-8b  ")
            app.planned = None
            app.screen.post_message(PlanMade(planned))  # it comes late
            await pilot.pause()
            assert app.planned is None
            app.subject, app.planned = subject, planned
            await line(replace(subject, wishes=Policy(quant="Q8_0")), " llama-3-8b  ")

    drive(test)


def test_a_terminal_without_room_says_so_in_every_place_until_there_is_some() -> None:
    async def test() -> None:
        async with running(place="hardware", desk=FixedDesk(), size=(59, 20)) as (app, pilot):
            await until(pilot, lambda: isinstance(app.screen, TooSmall))
            await pilot.pause()
            assert "This terminal has 59x20: localllm needs 60x15." in screen_text(app)
            app.action_go("plan")
            await until(pilot, lambda: app.current_mode == "plan")
            await until(pilot, lambda: isinstance(app.screen, TooSmall))
            await pilot.resize_terminal(60, 15)
            await until(pilot, lambda: not isinstance(app.screen, TooSmall))
            app.action_go("hardware")
            await until(pilot, lambda: app.current_mode == "hardware")
            await until(pilot, lambda: not isinstance(app.screen, TooSmall))
            await pilot.press("f1")
            await pilot.resize_terminal(120, 10)  # also over a dialog
            await until(pilot, lambda: "120x10" in screen_text(app))
            await pilot.resize_terminal(*WIDE)
            await until(pilot, lambda: "Help · Hardware" in screen_text(app))
            assert app.screen_stack[0].has_class("-wide")

    drive(test)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "nord", "ansi-dark"])
def test_muted_text_is_the_same_in_styles_and_in_pieces_of_a_line(theme: str) -> None:
    app = LocalLLMApp(desk=FixedDesk())
    app.theme = theme
    assert not app.get_css_variables()["text-muted"].startswith("auto")
