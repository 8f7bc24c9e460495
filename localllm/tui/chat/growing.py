"""Markdown that grows at its end: rows of text while it comes, and widgets when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.containers import ScrollableContainer
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from localllm.tui.chat.one_pass import OnePass
from localllm.tui.chat.open_end import OpenEnd
from localllm.tui.chat.rows import block_of

_AT_ONCE = 8
"""Blocks that become widgets before the screen gets its turn."""
_NEAR_PAGES = 2
"""Somebody who has left the end by no more wants to see what was there before."""


class GrowingMarkdown(OnePass, Markdown):
    """A text that comes in pieces. Its parser leaves a block alone once the next has begun."""

    def __init__(self, *, parser_factory: Callable[[], MarkdownIt]) -> None:
        """Begin empty. A text that is known whole is for ``update``."""
        super().__init__(parser_factory=parser_factory, open_links=False)
        self._parser = parser_factory()
        self._end = OpenEnd()
        self._come: list[tuple[int, list[Token]]] = []
        """The complete blocks, and the line from which theirs are counted."""
        self._text, self._line = "", 0
        """Of the block that comes, and where it begins."""

    async def grow(self, text: str) -> None:
        """Show more of the text."""
        self._markdown = self.source + text
        self._text += text
        *come, coming = list(_blocks(self._parser.parse(self._text))) or [[]]
        self._come += [(self._line, tokens) for tokens in come]
        if come:
            assert coming[0].map is not None
            n_lines = coming[0].map[0]
            self._text = "".join(self._text.splitlines(keepends=True)[n_lines:])
            self._line += n_lines
        if not self._end.is_attached:
            await self.mount(self._end)
            container = self._container
            if container is not None:
                self.watch(container, "scroll_y", self._scrolled, init=False)
        self._end.show(map(block_of, come), block_of(coming) if coming else None, most=self._most())

    async def end(self) -> None:
        """Show all of it as widgets: nothing more comes."""
        self._come += [(self._line, block) for block in _blocks(self._parser.parse(self._text))]
        self._text = ""
        with self.app.batch_update():
            while self._come:
                part, self._come = self._come[:_AT_ONCE], self._come[_AT_ONCE:]
                widgets = [widget for line, tokens in part for widget in self._made(line, tokens)]
                before = self._end if self._end.is_attached else None
                await self.mount_all(widgets, before=before)
            if self._end.is_attached:
                await self._end.remove()

    def _made(self, line: int, tokens: Sequence[Token]) -> Iterator[MarkdownBlock]:
        """Yield the widgets of a block."""
        for widget in self._parse_markdown(tokens):
            first, last = widget.source_range
            widget.source_range = (first + line, last + line)
            yield widget

    # -- who looks at it -------------------------------------------------------------------------

    @property
    def _container(self) -> ScrollableContainer | None:
        found = (one for one in self.ancestors if isinstance(one, ScrollableContainer))
        return next(found, None)

    def _most(self) -> int | None:
        """Return how many rows whoever follows the end can see; None where nobody does."""
        container = self._container
        if container is None or not _is_at_end(container):
            return None
        return container.scrollable_content_region.height

    def _scrolled(self, scroll_y: float) -> None:
        """Show what is hidden above to somebody who has left the end."""
        container, n_hidden = self._container, self._end.n_hidden
        if container is None or not n_hidden or _is_at_end(container):
            return
        self._end.show_all()
        if container.max_scroll_y - scroll_y <= _NEAR_PAGES * container.size.height:
            y = scroll_y + n_hidden
            self.call_after_refresh(container.scroll_to, y=y, animate=False, force=True)


def _is_at_end(container: ScrollableContainer) -> bool:
    return container.scroll_y > container.max_scroll_y - 1


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each block."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []
