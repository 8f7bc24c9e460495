"""Rows that change little: what is drawn anew, and how high they are."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region

from localllm.tui.widgets.rows import RowsView
from tests.tui.support.driving import drive
from tests.tui.support.snapshots import screen_text


class Rows(App[int]):
    def compose(self) -> ComposeResult:
        yield RowsView()


def contents(*rows: str) -> list[Content]:
    return [Content(row) for row in rows]


def test_only_rows_that_differ_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []
    refresh = RowsView.refresh

    def told(view: RowsView, *regions: Region, layout: bool = False) -> RowsView:
        drawn.append(tuple(region.y for region in regions))
        return refresh(view, *regions, layout=layout)

    async def look() -> None:
        app = Rows()
        async with app.run_test(size=(20, 6)) as pilot:
            view = app.query_one(RowsView)
            view.show(contents("one", "two", "three"))
            await pilot.pause()
            assert view.size.height == 3
            monkeypatch.setattr(RowsView, "refresh", told)
            view.show(contents("one", "2", "three"))
            view.show(contents("one", "2", "three"))
            view.show([Content("one"), Content("2"), Content.styled("three", "bold")])
            assert drawn == [(1,), (2,)]
            monkeypatch.undo()
            await pilot.pause()
            assert screen_text(app).split() == ["one", "2", "three"]
            view.show(contents("one"))
            await pilot.pause()
            assert view.size.height == 1
            assert screen_text(app).split() == ["one"]

    drive(look)
