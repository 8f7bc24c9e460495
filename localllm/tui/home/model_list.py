"""The list of models: lines drawn when they are seen, a cursor, and what is typed on it.

Line by line, so that two hundred rows with four updates a second cost what is on the screen only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from localllm.tui.home.cells import Columns, Told, columns, entry_line, head_line
from localllm.tui.home.rows import Sort
from localllm.tui.home.shelf import Entry

_HEAD = 1
"""Lines of titles, which stay while the rest scrolls."""


class ModelList(ScrollView, can_focus=True):
    """Shows entries; tells which one the cursor is on, which was chosen, and what was typed."""

    DEFAULT_CSS = """
    ModelList {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .model-list--cursor { background: $panel; }
        &:focus > .model-list--cursor { background: $primary 30%; text-style: bold; }
        & > .model-list--hover { background: $boost; }
    }
    """
    BINDING_GROUP_TITLE = "In the list"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"model-list--cursor", "model-list--hover"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="models.up"),
        Binding("down", "move(1)", "Down", show=False, id="models.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="models.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="models.page_down"),
        Binding("home", "edge(-1)", "First", show=False, id="models.first"),
        Binding("end", "edge(1)", "Last", show=False, id="models.last"),
        Binding(
            "enter", "choose", "Plan", id="models.plan", tooltip="Look at how this model would run"
        ),
        Binding("c", "screen.chat", "Chat", id="models.chat", tooltip="Talk with this model"),
        Binding("b", "screen.bench", "Bench", id="models.bench", tooltip="Measure this model"),
        Binding(
            "f",
            "screen.fetch",
            "Fetch",
            id="models.fetch",
            tooltip="Download this model, or look at its download",
        ),
        Binding(
            "x,delete",
            "screen.remove",
            "Remove",
            id="models.remove",
            tooltip="Delete this model's files, after a look at what goes and what stays",
        ),
        Binding(
            "v",
            "screen.verify",
            "Verify",
            show=False,
            id="models.verify",
            tooltip="Check every byte of this model by its hashes",
        ),
        Binding(
            "s",
            "screen.sort",
            "Sort",
            id="models.sort",
            tooltip="Order by name, size, when it was used last, or speed",
        ),
        Binding(
            "slash",
            "screen.filter",
            "Filter",
            key_display="/",
            id="models.filter_list",
            tooltip="Type words of a name, a quantisation, fits, here, or user/repo",
        ),
    ]

    class Moved(Message):
        """The cursor is on another entry, or the entry says something else."""

        def __init__(self, entry: Entry | None) -> None:
            """Take the entry; None where there is none."""
            super().__init__()
            self.entry = entry

    class Chosen(Message):
        """An entry was chosen, by Enter or by a click on the one that has the cursor."""

        def __init__(self, entry: Entry) -> None:
            """Take the entry."""
            super().__init__()
            self.entry = entry

    class Typed(Message):
        """Something was typed that no key of the list is: it is meant for the filter."""

        def __init__(self, character: str) -> None:
            """Take the character."""
            super().__init__()
            self.character = character

    class HeadClicked(Message):
        """The titles were clicked: another order is wanted."""

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing yet."""
        super().__init__(id=id)
        self._entries: Sequence[Entry] = ()
        self._told = Told(verdicts={}, fetches={})
        self._sort: Sort = "name"
        self._cursor: int | None = None
        self._hovered: int | None = None
        self._columns: Columns | None = None
        self._is_typing = False

    # -- what is shown ---------------------------------------------------------------------------

    def show(self, entries: Sequence[Entry], told: Told, sort: Sort, *, stay: bool = True) -> None:
        """Show entries. With ``stay`` the cursor keeps its entry, else it goes to the first one."""
        key = self.entry.key if self.entry is not None and stay else None
        self._entries, self._told, self._sort = entries, told, sort
        self._columns = None
        self.virtual_size = Size(0, len(entries) + _HEAD)
        found = next((i for i, each in enumerate(entries) if each.key == key), None)
        if found is None:
            found = self._next(-1, 1)
        self._cursor = None
        self._move_to(found)
        self.refresh()

    def tell(self, told: Told) -> None:
        """Show the same entries with what is known of them now."""
        self._told = told
        self._columns = None
        self.refresh()
        self.post_message(self.Moved(self.entry))

    def go_to(self, key: str) -> None:
        """Put the cursor on an entry, if there is one with that key."""
        found = next((i for i, each in enumerate(self._entries) if each.key == key), None)
        if found is not None:
            self._move_to(found)

    @property
    def entry(self) -> Entry | None:
        """What the cursor is on."""
        return None if self._cursor is None else self._entries[self._cursor]

    @property
    def seen(self) -> Sequence[Entry]:
        """The entries that are on the screen."""
        top = round(self.scroll_y)
        return self._entries[top : top + max(self.size.height - _HEAD, 0)]

    def render_line(self, y: int) -> Strip:
        """Return the titles, or the entry of a line."""
        width = self.scrollable_content_region.width
        if self._columns is None or self._columns.width != width:
            self._columns = columns(self._entries, self._told, width)
        if y < _HEAD:
            content = head_line(self._columns, self._sort, self._told.where)
            style = self.visual_style
        else:
            index = y - _HEAD + round(self.scroll_y)
            if index >= len(self._entries):
                return Strip.blank(width, self.rich_style)
            style = self.visual_style
            if index == self._cursor:
                style = self.get_visual_style("model-list--cursor")
            elif index == self._hovered:
                style = self.get_visual_style("model-list--hover")
            content = entry_line(
                self._entries[index], self._told, self._columns, has_cursor=index == self._cursor
            )
        strips = Visual.to_strips(self, content.truncate(width), width, 1, style)
        return strips[0].extend_cell_length(width, style.rich_style)

    # -- the cursor ------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Move the cursor by one entry."""
        if self._cursor is not None:
            self._move_to(self._next(self._cursor, step))

    def action_page(self, direction: int) -> None:
        """Move the cursor by what is on the screen."""
        if self._cursor is not None:
            page = max(self.size.height - _HEAD - 1, 1)
            target = min(max(self._cursor + direction * page, 0), len(self._entries) - 1)
            found = self._next(target - direction, direction)
            self._move_to(found if found is not None else self._next(target, -direction))

    def action_edge(self, direction: int) -> None:
        """Move the cursor to the first or the last entry."""
        self._move_to(self._next(-1, 1) if direction < 0 else self._next(len(self._entries), -1))

    def action_choose(self) -> None:
        """Tell that the entry was chosen."""
        if self.entry is not None:
            self.post_message(self.Chosen(self.entry))

    def _next(self, index: int, step: int) -> int | None:
        """The next entry from ``index`` on in a direction that the cursor may stop at."""
        index += step
        while 0 <= index < len(self._entries):
            if self._entries[index].can_be_chosen:
                return index
            index += step
        return None

    def _move_to(self, index: int | None) -> None:
        if index is None and self._entries and self._cursor is not None:
            return  # the end of the list
        before, self._cursor = self._cursor, index
        if index is not None:
            self._bring_up(index)
        if before != index:
            self.refresh()
            self.post_message(self.Moved(self.entry))

    def _bring_up(self, index: int) -> None:
        """Bring an entry on the screen, and the heading above the first one with it."""
        height = max(self.size.height - _HEAD, 1)
        top = round(self.scroll_y)
        first = index - 1 if index > 0 and not self._entries[index - 1].can_be_chosen else index
        if first < top:
            self.scroll_to(y=first, animate=False, immediate=True)
        elif index >= top + height:
            self.scroll_to(y=index - height + 1, animate=False, immediate=True)

    # -- mouse and keyboard ----------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Hand what is typed to the filter, unless it is a key that means something here.

        Once something was typed all that follows is typed, too: it may come quicker than the focus
        can move.
        """
        if not event.is_printable or event.character is None:
            return
        starts = event.key == "slash" and not self._is_typing
        if starts or self._is_typing or event.key not in self.screen.active_bindings:
            self._is_typing = True
            event.stop()
            event.prevent_default()
            self.post_message(self.Typed("" if starts else event.character))

    def on_blur(self) -> None:
        """Know the keys again."""
        self._is_typing = False

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on an entry; a second click chooses it."""
        if event.y < _HEAD:
            self.post_message(self.HeadClicked())
            return
        index = self._at(event.y)
        if index is None or not self._entries[index].can_be_chosen:
            return
        if index == self._cursor:
            self.action_choose()
        else:
            self._move_to(index)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show what a click would mean."""
        self._hover(self._at(event.y))

    def on_leave(self) -> None:
        """Show nothing any more."""
        self._hover(None)

    def on_resize(self) -> None:
        """Keep the cursor on the screen."""
        if self._cursor is not None:
            self._bring_up(self._cursor)

    def _at(self, y: int) -> int | None:
        index = y - _HEAD + round(self.scroll_y)
        return index if y >= _HEAD and 0 <= index < len(self._entries) else None

    def _hover(self, index: int | None) -> None:
        if index != self._hovered:
            self._hovered = index
            self.refresh()
