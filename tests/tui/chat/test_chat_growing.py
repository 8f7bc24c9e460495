"""An answer while it comes: rows that are drawn cheaply, and at its end what it would be anyway."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from localllm.tui.chat.answer import screen_parser
from localllm.tui.chat.growing import GrowingMarkdown
from localllm.tui.chat.open_end import ROOM, OpenEnd
from localllm.tui.chat.rows import block_of
from tests.tui.support.driving import drive
from tests.tui.support.snapshots import screen_text

TEXT = """# A model

It has **many** layers, and `n_ctx` tokens of context; some of them are *seldom* looked at.

- one
- two, which is longer than a line of this screen and goes on below itself
  - three
1. first

> quoted

```python
def f(x):
    return x
```

| name | size |
| --- | ---: |
| demo | 2.76 MiB |

The end.
"""


def rows(source: str, width: int = 30) -> list[str]:
    return [row.plain for row in block_of(screen_parser().parse(source)).rows(width)]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("two words **in** bold", ["two words in bold"]),
        ("a line\nand another", ["a line", "and another"]),
        ("one two three four five six seven", ["one two three four five six", "seven"]),
        ("- one\n- two\n  - three", ["• one", "• two", "  ▪ three"]),
        ("3. three\n4. four", [" 3. three", " 4. four"]),
        ("- a word and a word and a word of", ["• a word and a word and a word", "  of"]),
        ("- a\n\n      code", ["• a", "  │ code"]),
        ("> one\n> two", ["▌ one", "▌ two"]),
        ("```sh\nls\n\npwd", ["│ ls", "│ ", "│ pwd"]),
        ("|a|b|\n|-|-|\n|long|c|", ["a    │ b", "─────┼──", "long │ c"]),
        ("# head", ["             head"]),
    ],
)
def test_a_block_as_rows(source: str, seen: list[str]) -> None:
    assert [row.rstrip() for row in rows(source)] == [row.rstrip() for row in seen]


def test_a_table_that_has_no_room_is_cut() -> None:
    cut = rows("|name|text|\n|-|-|\n|" + "n" * 40 + "|" + "t" * 40 + "|", width=21)
    assert all(len(row) <= 21 for row in cut)
    assert "…" in cut[-1]


def test_code_is_cut_and_not_wrapped() -> None:
    assert rows("```\n" + "x" * 50) == ["│ " + "x" * 28]


class Host(App[int]):
    """An answer below something, in a container that follows its end."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = GrowingMarkdown(parser_factory=screen_parser)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("before")
            yield self.answer

    @property
    def view(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)


def test_what_came_in_pieces_ends_as_what_was_given_whole() -> None:
    async def test() -> None:
        seen = []
        for pieces in ([TEXT], [TEXT[i : i + 3] for i in range(0, len(TEXT), 3)]):
            app = Host()
            async with app.run_test(size=(60, 50)) as pilot:
                for piece in pieces:
                    await app.answer.grow(piece)
                await app.answer.end()
                await pilot.pause()
                assert app.answer.source == TEXT
                assert not app.query(OpenEnd)
                seen.append(screen_text(app))
        app = Host()
        async with app.run_test(size=(60, 50)) as pilot:
            await app.answer.update(TEXT)
            await pilot.pause()
            assert seen == [screen_text(app)] * 2

    drive(test)


def test_whoever_follows_sees_the_last_row_and_whoever_looks_back_what_was_before() -> None:
    async def test() -> None:
        app = Host()
        async with app.run_test(size=(40, 12)) as pilot:
            app.view.anchor()
            for n in range(60):
                await app.answer.grow(f"row {n}\n\n")
                if n % 20 == 19:
                    await pilot.pause()
            end = app.query_one(OpenEnd)
            await pilot.pause()
            assert end.size.height <= 12
            assert "row 59" in screen_text(app)
            top = next(line for line in screen_text(app).split("\n") if "row" in line).split()[1]
            app.view.scroll_relative(y=-4, animate=False)
            await pilot.pause()
            await pilot.pause()
            assert end.size.height > 100
            seen = [line.split()[1] for line in screen_text(app).split("\n") if "row" in line]
            assert int(top) - 2 <= int(seen[0]) < int(top)
            app.view.scroll_end(animate=False)
            await pilot.pause()
            await app.answer.grow("the end")
            await pilot.pause()
            assert "the end" in screen_text(app)
            assert end.size.height <= 12

    drive(test)


def test_the_screen_is_laid_out_only_for_rows_that_have_no_room() -> None:
    async def test() -> None:
        app = Host()
        async with app.run_test(size=(40, 24)) as pilot:
            await app.answer.grow("a")
            await pilot.pause()
            end = app.query_one(OpenEnd)
            assert end.size.height == ROOM
            for word in ("few", "words", "more"):
                await app.answer.grow(f" {word}")
                await pilot.pause()
            assert end.size.height == ROOM
            assert "a few words more" in screen_text(app)

    drive(test)
