"""The column and the strip as a person sees them: every look at both sizes, and what is redrawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from localllm.tui.chat.side.beside import BesideRun
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.panel import Section, SidePanel
from localllm.tui.chat.side.strip import SideStrip, strip_rows
from localllm.tui.chat.situation import CLEAR, Situation, other
from localllm.units import GiB, MiB
from tests.tui.chat.side.support import (
    BOARD,
    HELD_BACK,
    NO_METER,
    answering,
    cpu_plan,
    ended,
    energy,
    gpu_plan,
    moment,
    plan_of,
    reading,
    seen,
)
from tests.tui.support.driving import NARROW, WIDE, drive
from tests.tui.support.snapshots import check, screen_text

AT_REST = replace(BOARD, watts=None, missing="no reading yet")
IN_USE = {"used_bytes": 8 * GiB + 100 * MiB, "resident_bytes": 700 * MiB}
LOADING = Situation(
    look="loading", title="Loading Qwen3 8B Q6_K", text="██░░░  40% · 2.50 GiB of 6.26 GiB · 3.00 s"
)
DIED = Situation(
    look="failed",
    title="The engine died",
    text="It ran out of memory.",
    step="load the model again and answer again",
)


class Beside(App[int]):
    """A conversation, and what is beside it: the column where there is room, else the strip."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012  (as the app itself)
    CSS = """
    #conversation { border: round $panel; width: 1fr; height: 1fr; }
    .-narrow SidePanel { display: none; }
    .-wide SideStrip { display: none; }
    """

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("the conversation", id="conversation")
            yield SidePanel()
        yield SideStrip()

    def show(self, figures: RunFigures | None) -> None:
        for beside in self.query(BesideRun):
            beside.figures = figures

    def stand(self, situation: Situation) -> None:
        for beside in self.query(BesideRun):
            beside.stand(situation)


def new() -> RunFigures:
    return seen(moment(gpu_plan(), AT_REST, **IN_USE), Course(), 100.0)


def being_read() -> RunFigures:
    course = reading(Course(), n_done=512, n_total=2048)
    return seen(moment(gpu_plan(), AT_REST, **IN_USE), course, 100.6)


def being_answered() -> RunFigures:
    course = Course()
    now_s = answering(course, n_tokens=300, tok_s=36.0, watts=118.0)
    return seen(moment(gpu_plan(), BOARD, **IN_USE), course, now_s)


def answered() -> RunFigures:
    course = Course()
    answering(course, n_tokens=301, tok_s=36.0, watts=118.0)
    ended(course, energy(watts=118.0, seconds=8.0))
    return seen(moment(gpu_plan(), AT_REST, **IN_USE), course, 130.0)


def held_back() -> RunFigures:
    """Slower and hungrier than it should be, with more memory than was planned."""
    course = Course()
    answering(course, n_tokens=301, tok_s=36.0, watts=118.0)
    ended(course, energy(watts=118.0, seconds=8.0))
    now_s = answering(course, n_tokens=120, tok_s=21.0, watts=150.0)
    at = moment(gpu_plan(), HELD_BACK, more_bytes=90 * MiB, **IN_USE)
    return seen(at, course, now_s, context_shift=True)


def without_a_meter() -> RunFigures:
    course = Course()
    now_s = answering(course, n_tokens=100, tok_s=9.0, n_prompt=7900)
    return seen(moment(cpu_plan(), NO_METER, resident_bytes=6 * GiB), course, now_s)


def on_two_cards() -> RunFigures:
    course = Course()
    now_s = answering(course, n_tokens=100, tok_s=19.0)
    live = replace(BOARD, scope="2 GPU boards", watts=541.0)
    return seen(moment(plan_of("llama-3-70b", "2x rtx-4090"), live), course, now_s)


READY = {
    "new": new,
    "reading": being_read,
    "answering": being_answered,
    "answered": answered,
    "held-back": held_back,
    "no-meter": without_a_meter,
    "two-cards": on_two_cards,
}


def test_every_look_at_both_sizes() -> None:
    async def look() -> None:
        app = Beside()
        async with app.run_test(size=NARROW) as pilot:
            for width, height in (NARROW, WIDE):
                await pilot.resize_terminal(width, height)

                async def check_now(name: str, size: str = f"{width}x{height}") -> None:
                    await pilot.pause()
                    check(app, f"chat-side-{name}-{size}")

                app.show(None)
                await check_now("empty")
                app.stand(LOADING)
                await check_now("loading")
                for name, figures in READY.items():
                    app.show(figures())
                    await check_now(name)
                app.stand(DIED)
                await check_now("failed")
                app.stand(CLEAR)
                await check_now("two-cards")
                app.stand(other("llama-3-8b", is_same=False))  # an offer stands in no way
                await check_now("two-cards")

    drive(look)


def test_only_sections_that_have_changed_are_drawn_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    render = Section.render

    def counted(section: Section) -> Content:
        drawn.append(section.title)
        return render(section)

    monkeypatch.setattr(Section, "render", counted)

    async def look() -> None:
        app = Beside()
        async with app.run_test(size=WIDE) as pilot:
            figures = being_answered()
            app.show(figures)
            await pilot.pause()
            drawn.clear()
            app.show(figures)
            await pilot.pause()
            assert drawn == []
            warmer = replace(figures, heat=replace(figures.heat, temperature_c=62.0))
            app.show(warmer)
            await pilot.pause()
            assert set(drawn) == {"heat"}

    drive(look)


def test_it_says_less_where_there_is_less_room_and_nothing_is_out_of_reach() -> None:
    async def look() -> None:
        app = Beside()
        async with app.run_test(size=(120, 60)) as pilot:
            app.show(held_back())
            await pilot.pause()
            panel = app.query_one(SidePanel)
            for height in (60, 34, 26, 20, 14):
                await pilot.resize_terminal(120, height)
                await pilot.pause()
                shown = screen_text(app)
                assert panel.max_scroll_y == 0, shown
                assert "held back: power cap + thermal" in shown, shown
                assert "21.0 tok/s" in shown and "est. 39.3" in shown
            await pilot.resize_terminal(120, 9)
            await pilot.pause()
            assert panel.max_scroll_y > 0, "it scrolls"

    drive(look)


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("width", [58, 78, 98, 158])
def test_the_strip_is_two_rows_that_fit(name: str, width: int) -> None:
    rows = strip_rows(READY[name](), width)
    assert len(rows) == 2
    assert all(row.cell_length <= width for row in rows), [row.plain for row in rows]


@pytest.mark.parametrize("name", READY)
def test_no_unknown_figure_is_a_zero(name: str) -> None:
    figures = READY[name]()
    for row in strip_rows(figures, 158):
        assert " 0 W" not in f" {row.plain}" and "0.0 tok/s" not in row.plain
