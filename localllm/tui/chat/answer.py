"""An answer: its reasoning folded, its Markdown as it comes, the figures under it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from markdown_it.token import Token
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]  # it ships no types
from pygments.util import ClassNotFound  # type: ignore[import-untyped]  # as above
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from localllm.core.generation import TextDelta
from localllm.core.text import safe
from localllm.talking.markdown import PreparedParser
from localllm.talking.settings import ReasoningDisplay
from localllm.tui.chat.growing import GrowingMarkdown
from localllm.tui.chat.message import MessageView
from localllm.tui.chat.thought import Thought

DRAW_S = 1 / 12
"""Between two drawings of new text."""
DRAW_SHARE, DRAW_SHARE_BESIDE_CPU = 0.1, 0.01
"""Of the time that drawing may take: what costs more is drawn less often. Less of it where the
processor computes the answer, whose threads would wait for each other."""
DRAW_TOKEN_S = 0.0003
"""What drawing may take beyond that for every token: half of what `localllm chat` takes."""


class AnswerView(MessageView):
    """What the model said. ``take`` new text, and ``finish`` it; or give it whole."""

    DEFAULT_CSS = """
    AnswerView {
        margin: 1 0 0 0;
        & > Markdown { padding: 0 0 0 1; margin: 0; }
        & > .answer--plain { padding: 0 0 0 1; height: auto; }
        & > .answer--figures { padding: 0 0 0 1; height: auto; color: $text-muted; display: none; }
        &.-resting > * { display: none !important; }
        & MarkdownFence { margin: 0 0 1 0; border-left: solid $foreground 30%; }
        & MarkdownFence > Label { padding: 0 1; }
    }
    """

    def __init__(
        self,
        text: str = "",
        *,
        reasoning: str | None = None,
        figures: str | None = None,
        display: ReasoningDisplay = "live",
        renders: bool = True,
        draw_share: float = DRAW_SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what is known of it.

        ``figures``: the line under it. ``display``: of reasoning. ``renders``: Markdown is drawn
        as such.
        """
        super().__init__()
        self._pieces = [text]
        self._figures_text = figures
        self._display: ReasoningDisplay = display
        self._clock, self._draw_share = clock, draw_share
        self._pending = ""
        self._tok_s = 0.0
        self._next_draw_s = float("-inf")
        self._drawing = False
        self._started = False
        self._is_finished = bool(text or reasoning or figures)
        self._rests = False
        self._thought = Thought(expanded=display == "show")
        self._thought.display = False
        if reasoning:
            self._thought.set_whole(reasoning)
            self._thought.display = display != "hide"
        self._body: GrowingMarkdown | Static
        if renders:
            self._body = GrowingMarkdown(parser_factory=screen_parser)
        else:
            self._body = Static(self._shown, markup=False, classes="answer--plain")
        self._figures = Static(markup=False, classes="answer--figures")

    def compose(self) -> ComposeResult:
        """Yield the reasoning, the text, the figures."""
        yield self._thought
        yield self._body
        yield self._figures

    async def on_mount(self) -> None:
        """Show what is known; whoever waits for the mount knows the height."""
        self.show_figures(self._figures_text)
        if isinstance(self._body, GrowingMarkdown) and self._shown:
            await self._body.update(self._shown)

    @property
    def text(self) -> str:
        """What was said so far, without its reasoning."""
        return "".join(self._pieces)

    @property
    def _shown(self) -> str:
        """All of it as a terminal may get it."""
        return safe(self.text.strip("\n"))

    @property
    def has_text(self) -> bool:
        """Whether anything was said or thought."""
        return any(self._pieces) or self._thought.n_tokens > 0

    async def take(self, delta: TextDelta) -> None:
        """Take new text; it is drawn with what comes until the next drawing is due."""
        now_s = self._clock()
        if delta.channel == "reasoning":
            self._thought.display = self._display != "hide"
            self._thought.add(safe(delta.text), n_tokens=delta.n_tokens, now_s=now_s)
            return
        self._pieces.append(delta.text)
        self._tok_s = delta.n_tokens / delta.tg_s if delta.tg_s > 0 else 0.0
        text = safe(delta.text)
        if not self._started:
            text = text.lstrip("\n")
            self._started = bool(text)
            if self._started:
                self._thought.fold(keep_open=self._display == "show")
        self._pending += text

    async def draw(self, *, now: bool = False) -> None:
        """Draw what has come, if that is due; with ``now`` in any case."""
        self._thought.draw(self._clock(), now=now)
        began_s, cost_s = self._clock(), time.thread_time()
        if not self._pending or ((self._drawing or began_s < self._next_draw_s) and not now):
            return
        self._drawing = True
        pending, self._pending = self._pending, ""
        if isinstance(self._body, GrowingMarkdown):
            await self._body.grow(pending)
        else:
            self._body.update(self._shown)
        if not self.call_after_refresh(self._drawn, began_s, cost_s):
            self._drawing = False

    def _drawn(self, began_s: float, cost_s: float) -> None:
        """A drawing is on the screen: the more it cost this thread, the later the next one."""
        cost_s = time.thread_time() - cost_s
        share = self._draw_share + DRAW_TOKEN_S * self._tok_s
        self._next_draw_s = began_s + max(DRAW_S, cost_s / share)
        self._drawing = False

    async def finish(self, figures: str | None) -> None:
        """End it: it becomes what an answer is that was given whole."""
        await self.draw(now=True)
        self._thought.fold(keep_open=self._display == "show")
        if isinstance(self._body, GrowingMarkdown):
            await self._body.end()
        self.show_figures(figures)
        self._is_finished = True

    def rest(self) -> None:
        """Keep its height and lay out nothing of it: nobody sees it. A running one goes on."""
        height = self.size.height
        if self._rests or not self._is_finished or height < 2:
            return
        self._rests = True
        self.styles.height = height
        self.add_class("-resting")

    def wake(self) -> None:
        """Lay it out again."""
        if self._rests:
            self._rests = False
            self.styles.height = "auto"
            self.remove_class("-resting")

    def show_figures(self, figures: str | None) -> None:
        """Show a line under the answer; None: none."""
        self._figures.display = bool(figures)
        if figures:
            self._figures.update(Content(f"— {safe(figures)}"))


class _ScreenParser(PreparedParser):
    """Names every block of code: without a name Textual tries all lexers, for seconds."""

    def parse(self, src: str, env: object = None) -> list[Token]:
        tokens = super().parse(src)
        for token in tokens:
            if token.type in ("fence", "code_block"):
                token.info = known_lexer(token.info.strip().partition(" ")[0])
        return tokens


_PARSER = _ScreenParser()


def screen_parser() -> PreparedParser:
    """Return the parser of all answers."""
    return _PARSER


@lru_cache(maxsize=256)
def known_lexer(language: str) -> str:
    """Return a language that can be highlighted, ``text`` where this one cannot."""
    try:
        get_lexer_by_name(language)
    except ClassNotFound:
        return "text"
    return language
