"""The conversation as it is shown: the newest messages at once, earlier ones when they are near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Offset
from textual.widget import Widget
from textual.widgets import Static

from localllm.records.entries import Entry
from localllm.talking.settings import ReasoningDisplay
from localllm.tui.chat.answer import DRAW_SHARE, AnswerView
from localllm.tui.chat.message import MessageView
from localllm.tui.chat.one_pass import OnePass
from localllm.tui.chat.question import QuestionView
from localllm.tui.chat.remark import Remark
from localllm.words.answers import kept_footer

W = TypeVar("W", bound=Widget)

FIRST, MORE = 8, 12
"""Messages that are shown at first, and whenever somebody comes near their beginning."""
MOST = 40
"""Messages that stay mounted while somebody asks on and on: each costs memory, and layout."""
_NEAR = 2
"""Rows from the top."""


class Transcript(OnePass, VerticalScroll, can_focus=False):
    """Messages, and remarks between them. It follows its end until somebody scrolls up."""

    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        width: 1fr;
        scrollbar-size-vertical: 1;
        padding: 0 0 0 0;
        & > .transcript--empty { height: auto; color: $text-muted; padding: 1 2; display: none; }
        & > .transcript--earlier { height: 1; color: $text-muted; padding: 0 2; display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Begin empty."""
        super().__init__(id=id)
        self.reasoning: ReasoningDisplay = "live"
        self.renders = True
        self.draw_share = DRAW_SHARE
        self._earlier: list[Entry | str] = []
        """Messages, and remarks between them, that are not mounted."""
        self._above = Static(markup=False, classes="transcript--earlier")
        self._empty = Static(markup=False, classes="transcript--empty")
        self._width = 0
        self._bringing = self._looks = False

    def compose(self) -> ComposeResult:
        """Yield what stands above the messages, and in their place."""
        yield self._above
        yield self._empty

    def on_mount(self) -> None:
        """Follow the end."""
        self.anchor()

    # -- what is shown ---------------------------------------------------------------------------

    def say_empty(self, text: str) -> None:
        """Say what stands here while nothing was said; empty: nothing."""
        self._empty.update(Content(text))
        self._show_whether_empty()

    async def show(self, turns: Sequence[Entry]) -> None:
        """Show a conversation from its end, in place of what is here."""
        await self.query("Transcript > MessageView, Transcript > Remark").remove()
        self._earlier = list(turns[:-FIRST])
        await self.mount_all([self._view(entry) for entry in turns[-FIRST:]])
        self._show_earlier()
        self._show_whether_empty()
        self.anchor()

    async def ask(self, text: str) -> None:
        """Add a question, and go to the end."""
        view = QuestionView(text)
        view.entry = Entry(role="user", content=text, time="")
        with self.app.batch_update():
            await self._let_go(n_to_come=2)  # the answer follows
            await self._add(view)
        self.anchor()

    async def begin_answer(self) -> AnswerView:
        """Add an answer that is still to come."""
        view = AnswerView(display=self.reasoning, renders=self.renders, draw_share=self.draw_share)
        await self._add(view)
        return view

    async def remark(self, text: str) -> None:
        """Add a line that nobody said."""
        await self._add(Remark(text))

    async def drop_answers(self) -> None:
        """Remove what came after the last question."""
        await self._drop_after(QuestionView)

    async def drop_question(self) -> None:
        """Remove the last question and what came after it."""
        await self.drop_answers()
        asked = self._all(QuestionView)
        if asked:
            await asked[-1].remove()
        self._show_whether_empty()

    def last_message(self) -> MessageView | None:
        """Return the message at the end."""
        return next(iter(reversed(self._all(MessageView))), None)

    @property
    def scroll_offset(self) -> Offset:
        """Where it is scrolled to: never above its top, as Textual 8.2.8 anchors what is short."""
        x, y = super().scroll_offset
        return Offset(x, max(y, 0))

    # -- what is done about its length -----------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Bring earlier messages when their place comes into view; let those far away rest."""
        super().watch_scroll_y(old_value, new_value)
        if new_value <= _NEAR and self._earlier and not self._bringing:
            self._bringing = True
            self.call_next(self._bring_earlier)
        self._look_soon()

    def on_resize(self) -> None:
        """Wrap every message anew where the width is another."""
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            for view in self._all(AnswerView):
                view.wake()
            self._look_soon()

    async def _let_go(self, *, n_to_come: int) -> None:
        """Unmount the oldest messages, which come back when their place comes into view."""
        n_over = len(self._all(MessageView)) + n_to_come - MOST
        gone: list[MessageView | Remark] = []
        for child in self.children:
            if isinstance(child, MessageView):
                if n_over <= 0:
                    break
                n_over -= 1
                gone.append(child)
            elif isinstance(child, Remark):
                gone.append(child)
        if any(isinstance(child, MessageView) for child in gone):
            self._earlier += [_kept(child) for child in gone]
            await self.remove_children(gone)
            self._show_earlier()

    async def _bring_earlier(self) -> None:
        """Mount some more above, and stay where one is."""
        more, self._earlier = self._earlier[-MORE:], self._earlier[:-MORE]
        from_end = self.max_scroll_y - self.scroll_y
        await self.mount_all([self._view(entry) for entry in more], after=self._above)
        self._show_earlier()

        def back() -> None:
            self.scroll_to(y=self.max_scroll_y - from_end, animate=False)
            self._bringing = False

        self.call_after_refresh(back)

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            self.call_after_refresh(self._look)

    def _look(self) -> None:
        """Let answers rest that are more than a screen away: only their height is laid out then."""
        self._looks = False
        height = self.size.height
        low, high = self.scroll_y - height, self.scroll_y + 2 * height
        y = 0
        for child in self.children:
            if not child.display:
                continue
            bottom = y + child.outer_size.height + child.styles.margin.height
            if isinstance(child, AnswerView):
                if bottom < low or y > high:
                    child.rest()
                else:
                    child.wake()
            y = bottom

    # -- parts -----------------------------------------------------------------------------------

    async def _add(self, widget: Widget) -> None:
        await self.mount(widget)
        self._show_whether_empty()
        self._look_soon()

    async def _drop_after(self, kept: type[Widget]) -> None:
        """Remove the messages at the end, up to one of a kind; remarks stay."""
        for view in reversed(self._all(MessageView)):
            if isinstance(view, kept):
                break
            await view.remove()

    def _view(self, entry: Entry | str) -> MessageView | Remark:
        if isinstance(entry, str):
            return Remark(entry)
        view = QuestionView(entry.content) if entry.role == "user" else self._answer(entry)
        view.entry = entry
        return view

    def _answer(self, entry: Entry) -> AnswerView:
        return AnswerView(
            entry.content,
            reasoning=entry.reasoning,
            figures=kept_footer(entry.stats, entry.finish_reason),
            display=self.reasoning,
            renders=self.renders,
        )

    def _show_earlier(self) -> None:
        n = sum(isinstance(each, Entry) for each in self._earlier)
        self._above.display = n > 0
        self._above.update(Content(f"↑ {n:,} earlier message{'s' * (n != 1)}: scroll up"))

    def _show_whether_empty(self) -> None:
        self._empty.display = not self._all(MessageView)

    def _all(self, kind: type[W]) -> list[W]:
        """Return the children of a kind, in order."""
        return [child for child in self.children if isinstance(child, kind)]


def _kept(view: MessageView | Remark) -> Entry | str:
    """Return what a view is made of again."""
    if isinstance(view, Remark):
        return view.text
    return view.entry or Entry(role="assistant", content=view.text, time="")
