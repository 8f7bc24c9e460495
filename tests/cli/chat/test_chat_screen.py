"""What reaches the terminal while an answer is written, seen by a terminal emulator."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import pyte
import pytest
from rich.text import Text

from localllm.cli.chat.live import LiveRegion
from localllm.cli.chat.status import status_row
from localllm.cli.chat.styled import Row, row
from localllm.cli.chat.view import PAINT_S, PlainView, RichView
from localllm.core.generation import PromptProgress, TextDelta
from localllm.core.text import safe
from localllm.words.figures import rate
from localllm.words.status import Status

STATUS = Status(
    model="demo F16", n_ctx=512, planned_bytes=8 * 2**20, measured_bytes=9 * 2**20, n_ctx_used=63
)


class Emulator(io.StringIO):
    """A terminal that counts what is written to it."""

    def __init__(self, columns: int = 40, lines: int = 10) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self.screen.set_mode(pyte.modes.LNM)  # the tty driver turns \n into \r\n
        self._stream = pyte.Stream(self.screen)
        self.n_written = 0
        self.n_writes = 0

    def write(self, text: str) -> int:
        self._stream.feed(text)
        self.n_written += len(text)
        self.n_writes += 1
        return len(text)

    def size(self) -> os.terminal_size:
        return os.terminal_size((self.screen.columns, self.screen.lines))

    def rows(self) -> list[str]:
        above = ["".join(line[x].data for x in range(80)) for line in self.screen.history.top]
        rows = [line.rstrip() for line in [*above, *self.screen.display]]
        while rows and not rows[-1]:
            rows.pop()
        return rows


class Clock:
    """A clock that stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def delta(text: str, n: int = 1, channel: str = "answer") -> TextDelta:
    return TextDelta(text=text, channel=channel, n_tokens=n, tg_s=n / 50)  # type: ignore[arg-type]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    emulator = Emulator()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")
    return emulator


def test_live_rows_are_replaced_and_final_rows_stay() -> None:
    emulator = Emulator()
    region = LiveRegion(emulator, emulator.size)
    region.paint([row("one")], [row("open")], [row(""), row("status")])
    assert emulator.rows() == ["one", "open", "", "status"]
    assert (emulator.screen.cursor.y, emulator.screen.cursor.x) == (1, 4)
    region.paint([row("two")], [row("open again")], [row(""), row("status 2")])
    assert emulator.rows() == ["one", "two", "open again", "", "status 2"]
    region.paint([row("three")])
    assert emulator.rows() == ["one", "two", "three"]


def test_nothing_is_lost_when_the_screen_scrolls() -> None:
    emulator = Emulator(lines=6)
    region = LiveRegion(emulator, emulator.size)
    for n in range(50):
        region.paint([row(f"row {n}")], [row("open")] * (n % 9), [row("status")])
    region.paint([row("end")])
    assert emulator.rows() == [f"row {n}" for n in range(50)] + ["end"]


def test_a_narrower_terminal_that_wraps_live_rows_is_cleaned_up() -> None:
    emulator = Emulator(columns=40)
    region = LiveRegion(emulator, emulator.size)
    region.paint([], [row("x" * 30), row("y" * 30)], [row("s" * 35)])
    written = io.StringIO()
    region._stream, region._size = written, lambda: os.terminal_size((20, 10))
    region.paint([], [row("short")], [])
    # Each live row now takes two; the cursor stood in the second half of the second row.
    assert "\r\x1b[3A\x1b[J" in written.getvalue()


def test_an_answer_appears_rendered_above_a_live_status(emulator: Emulator) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    clock.now_s = 1.0
    view.show(PromptProgress(n_done=3, n_total=60, n_cached=0))
    assert emulator.rows() == [" reading the prompt 3/60 · 1.00 s"]
    for n, text in enumerate(["# Ti", "tle\n\nSome **bo", "ld** text"], start=1):
        clock.now_s += 1
        view.show(delta(text, n))
    assert emulator.rows()[:3] == ["Title", "", "Some bold text"]
    assert emulator.rows()[-1].startswith(" demo F16 · 33.3 tok/s")
    view.end()
    assert emulator.rows() == ["Title", "", "Some bold text"]


def test_the_screen_is_repainted_at_most_twelve_times_a_second(emulator: Emulator) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    for n in range(1, 1001):  # 1,000 tokens within one second
        clock.now_s = n / 1000
        view.show(delta("word ", n))
    assert emulator.n_writes <= 1 / PAINT_S + 1


def test_painting_takes_a_tenth_of_the_time_at_most(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    paint = view._region.paint

    def slow_paint(*rows: Sequence[Row]) -> None:
        clock.now_s += 0.05
        paint(*rows)

    monkeypatch.setattr(view._region, "paint", slow_paint)
    for n in range(1, 1001):
        clock.now_s += 0.01
        view.show(delta("word ", n))
    assert emulator.n_writes * 0.05 <= 0.1 * clock.now_s + 0.05


def test_the_last_token_of_a_burst_is_shown_soon_after(emulator: Emulator) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    clock.now_s = 1.0
    view.show(delta("first "))
    view.show(delta("second", 2))
    assert emulator.rows()[0] == "first"
    clock.now_s += 1.01 * PAINT_S
    view.tick()
    assert emulator.rows()[0] == "first second"


def test_a_token_costs_the_terminal_the_same_at_the_end_as_at_the_start(
    emulator: Emulator,
) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    written = []
    for n in range(1, 2001):
        clock.now_s += 0.02
        view.show(delta("some **word** or " if n % 10 else ".\n\n", n))
        if n % 500 == 0:
            written.append(emulator.n_written)
            emulator.n_written = 0
    assert max(written) < 1.2 * min(written)


def test_reasoning_is_shown_while_it_lasts_and_then_folded(emulator: Emulator) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, "live", clock)
    for n in range(1, 101):
        clock.now_s += 0.1
        view.show(delta(f"thought {n} ", n, "reasoning"))
    assert "thought 100" in "\n".join(emulator.rows())
    assert len(emulator.rows()) <= 8
    clock.now_s += 0.1
    view.show(delta("\n\nThe answer.", 101))
    view.end()
    assert emulator.rows() == ["▸ thought for 9.90 s · 100 tokens", "", "The answer."]


@pytest.mark.parametrize(("display", "kept"), [("show", True), ("hide", False)])
def test_reasoning_is_kept_or_hidden_as_set(emulator: Emulator, display: str, kept: bool) -> None:
    clock = Clock()
    view = RichView(emulator, STATUS, display, clock)  # type: ignore[arg-type]
    clock.now_s = 1.0
    view.show(delta("a thought", 1, "reasoning"))
    assert ("a thought" in "\n".join(emulator.rows())) is kept
    view.show(delta("The answer.", 2))
    view.end()
    assert ("┆ a thought" in emulator.rows()) is kept
    assert emulator.rows()[-1] == "The answer."


def test_a_models_escape_sequences_never_reach_the_terminal(emulator: Emulator) -> None:
    attack = "\x1b[2J\x1b]0;title\x07 \x9b1m safe &#27;[31m `\x1b[0m` \u202etxet"
    for piece in (attack, *attack):
        view = RichView(emulator, STATUS, "live", Clock())
        view.show(delta(piece))
        view.end()
        plain = io.StringIO()
        PlainView(plain, "live").show(delta(piece))
        assert "\x1b" not in plain.getvalue()
        assert "\u202e" not in plain.getvalue()
    assert any("\\x1b[2J\\x1b]0;title\\x07" in r for r in emulator.rows())


def test_emoji_of_several_characters_stay_whole() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert safe(f"a {family} b\x07") == f"a {family} b\\x07"


def test_plain_text_comes_as_it_is_with_thinking_marked() -> None:
    stream = io.StringIO()
    view = PlainView(stream, "live")
    view.show(delta("hm", 1, "reasoning"))
    view.show(delta("\n\n**Yes**", 2))
    view.end()
    assert stream.getvalue() == "(thinking)\nhm\n(end of thinking)\n\n**Yes**\n"


@pytest.mark.parametrize("width", range(8, 100, 7))
def test_the_status_line_fits_and_drops_the_least_important_first(width: int) -> None:
    line = status_row(STATUS, width)
    text = Text.from_ansi(line.ansi).plain
    assert line.width <= max(width, len(" – tok/s"))
    assert "– tok/s" in text
    if "MiB" in text:
        assert "W" in text and "context" in text


def test_what_is_not_known_is_a_dash_and_never_a_zero() -> None:
    text = Text.from_ansi(status_row(Status(model="m", n_ctx=512), 80).ansi).plain
    assert text == " m · – tok/s · context –/512 · — W"
    assert rate(None) == "–"
