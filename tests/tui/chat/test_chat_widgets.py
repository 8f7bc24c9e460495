"""The parts of the Chat place by themselves: the prompt, long conversations, what models write."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Collapsible, Markdown
from textual.widgets.markdown import MarkdownBlock

from localllm.core.generation import Channel, TextDelta
from localllm.records.entries import Entry
from localllm.tui.chat.answer import AnswerView
from localllm.tui.chat.message import MessageView
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.thought import Thought
from localllm.tui.chat.transcript import FIRST, MORE, Transcript
from tests.tui.support.driving import drive, until
from tests.tui.support.snapshots import screen_text

TIME = "2026-11-21T14:35:02+00:00"


class Parts(App[int]):
    """A transcript over a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def compose(self) -> ComposeResult:
        yield Transcript()
        yield PromptBox()

    def on_prompt_box_sent(self, event: PromptBox.Sent) -> None:
        self.sent.append(event.text)


def delta(text: str, n: int = 1, channel: Channel = "answer") -> TextDelta:
    return TextDelta(text=text, channel=channel, n_tokens=n, tg_s=n / 50)


def test_the_prompt_keeps_lines_and_brings_back_what_was_typed() -> None:
    async def test() -> None:
        app = Parts()
        async with app.run_test(size=(40, 20)) as pilot:
            prompt = app.query_one(PromptBox)
            prompt.focus()
            await pilot.press("a", "ctrl+j", "b", "enter")
            assert app.sent == ["a\nb"] and prompt.text == "a\nb", "the screen empties it"
            app.post_message(Paste("\nmany\nlines\n"))
            await pilot.pause()
            assert prompt.text == "a\nb\nmany\nlines\n" and prompt.size.height == 5

            prompt.remember(earlier=["old", "older twice"])
            prompt.remember(now=["new", "old"])
            prompt.put("draft")
            seen = []
            for key in ("up", "up", "up", "up", "down", "down", "down"):
                await pilot.press(key)
                seen.append(prompt.text)
            assert seen == ["old", "new", "older twice", "older twice", "new", "old", "draft"]
            prompt.put("two\nlines")
            await pilot.press("up")
            assert prompt.text == "two\nlines" and prompt.cursor_location[0] == 0

    drive(test)


def conversation(n: int) -> list[Entry]:
    entries = []
    for number in range(n // 2):
        entries.append(Entry(role="user", content=f"question {number}", time=TIME))
        answer = f"answer {number}\n\n- one\n- two\n\n```\ncode\n```\n"
        entries.append(Entry(role="assistant", content=answer, time=TIME))
    return entries


def test_of_a_long_conversation_only_what_is_near_is_mounted_and_laid_out() -> None:
    async def test() -> None:
        app = Parts()
        async with app.run_test(size=(60, 24)) as pilot:
            transcript = app.query_one(Transcript)
            await transcript.show(conversation(400))
            await pilot.pause()
            assert len(app.query(MessageView)) == FIRST
            assert "answer 199" in screen_text(app)

            transcript.scroll_home(animate=False, immediate=True)
            await until(pilot, lambda: len(app.query(MessageView)) == FIRST + MORE)
            await until(pilot, lambda: f"question {(400 - FIRST) // 2}" in screen_text(app))
            await pilot.pause()
            assert transcript.scroll_y > 2 * transcript.size.height, "one stays where one was"

            transcript.scroll_end(animate=False, immediate=True)

            def resting_views() -> list[AnswerView]:
                return [view for view in app.query(AnswerView) if view.has_class("-resting")]

            await until(pilot, resting_views)
            resting = resting_views()
            assert not any(view.region.overlaps(transcript.region) for view in resting)
            height = transcript.virtual_size.height
            for view in resting:
                view.wake()
            await pilot.pause(0.1)
            assert transcript.virtual_size.height == height, "resting keeps its place"
            assert "answer 199" in screen_text(app)

            await transcript.show(())
            transcript.say_empty("Nothing yet.")
            await pilot.pause()
            assert "Nothing yet." in screen_text(app)

    drive(test)


async def written(app: Parts, pilot: Pilot[int], *pieces: tuple[str, Channel]) -> AnswerView:
    """Let an answer come piece by piece, and end it."""
    view = await app.query_one(Transcript).begin_answer()
    for n, (text, channel) in enumerate(pieces, start=1):
        await view.take(delta(text, n, channel))
        await view.draw(now=n % 3 == 0)
    await view.finish("42 tokens")
    await pilot.pause()
    return view


def test_reasoning_is_folded_and_what_a_model_writes_does_no_harm() -> None:
    attack = "\x1b[2J [b]bold?[/b] \x9b1m <b>tag</b> [link](https://example.org) \u202etxet\n\n"

    async def test() -> None:
        app = Parts()
        async with app.run_test(size=(90, 24)) as pilot:
            view = await written(
                app, pilot, ("I think ", "reasoning"), ("[so]", "reasoning"), ("\n\nYes.", "answer")
            )
            thought = view.query_one(Thought)
            assert thought.collapsed and thought.title.startswith("thought for ")
            assert "[so]" not in screen_text(app) and "Yes." in screen_text(app)
            thought.collapsed = False
            await pilot.pause()
            assert "I think [so]" in screen_text(app)
            assert view.text == "\n\nYes."

            pieces: list[tuple[str, Channel]] = [(character, "answer") for character in attack]
            view = await written(app, pilot, *pieces)
            shown = screen_text(app)
            assert "\\x1b[2J [b]bold?[/b] \\x9b1m <b>tag</b> link" in " ".join(shown.split())
            assert "\x1b" not in shown and "\u202e" not in shown
            assert view.text == attack, "what is copied is what was written"

    drive(test)


def block_kinds(view: AnswerView) -> list[str]:
    return [type(block).__name__ for block in view.query_one(Markdown).query(MarkdownBlock)]


def test_pieces_come_to_the_same_blocks_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """And code without a language is not tried with every lexer there is, for seconds."""
    import textual.highlight

    def guess(code: str, path: str | None) -> str:
        raise AssertionError("the language was guessed")

    monkeypatch.setattr(textual.highlight, "guess_language", guess)
    text = (
        "# Title\n\nSome *text*\nand more.\n\n1. one\n   - nested\n2. two\n\n```\nplain\n\n```\n\n"
        "```no-such-language x\ncode\n```\n\n    indented\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nEnd"
    )

    async def test() -> None:
        app = Parts()
        async with app.run_test(size=(80, 40)) as pilot:
            pieces: list[tuple[str, Channel]] = [
                (text[at : at + 7], "answer") for at in range(0, len(text), 7)
            ]
            view = await written(app, pilot, *pieces)
            whole = AnswerView(text)
            await app.query_one(Transcript).mount(whole)
            assert len(block_kinds(view)) > 10
            await until(pilot, lambda: block_kinds(whole) == block_kinds(view))
            assert view.query_one(Collapsible).display is False, "nothing was thought"

    drive(test)
