"""One knob as a line: its name, its value between two arrows, whether it is fixed, and a bar."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.getters import query_one
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from localllm.core.policy import Policy
from localllm.errors import LocalLLMError
from localllm.tui.plan.knob import Knob
from localllm.tui.plan.knob_entry import Entry
from localllm.tui.plan.wishes import Reading, typed

LABEL, VALUE, STATE = 18, 17, 7
"""Columns of the name, of the value between its arrows, and of ``auto`` or ``fixed``."""
_LEFT = LABEL
_RIGHT = LABEL + 2 + VALUE
_STATE = _RIGHT + 3
_BAR = _STATE + STATE
_LEAST_BAR = 8
_MARK = 2
"""Columns before the name: a mark where the focus is, which no colour has to tell."""
_HINTS = ("enter sets it, escape leaves it", "escape leaves it")
_WRITING = 20
"""Columns of the line that a value is written in."""
_MANY = 8
"""Steps of a turn with Shift."""


class KnobRow(Widget, can_focus=True):
    """Draws how a knob stands, and tells when somebody turns it; it changes nothing itself."""

    DEFAULT_CSS = """
    KnobRow {
        height: 1;
        & > Input { height: 1; border: none; padding: 0; }
        &:focus, &.-editing { background: $block-cursor-blurred-background; }
        &:hover { background: $block-hover-background; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "turn(-1)", "Less", key_display="←", tooltip="Turn the knob down",
                id="plan.less"),
        Binding("right,l", "turn(1)", "More", key_display="→", tooltip="Turn the knob up",
                id="plan.more"),
        Binding("minus", "turn(-1)", "Less", show=False, id="plan.minus"),
        Binding("plus,equals_sign", "turn(1)", "More", show=False, id="plan.plus"),
        Binding("shift+left,H", f"turn(-{_MANY})", "Much less", show=False, id="plan.much-less"),
        Binding("shift+right,L", f"turn({_MANY})", "Much more", show=False, id="plan.much-more"),
        Binding("enter", "type", "Type", tooltip="Write the value: 32k, max, 5%, auto",
                id="plan.type"),
        Binding("a", "leave_open", "Auto", tooltip="Leave it to the planner", id="plan.auto"),
        Binding("up,k", "app.focus_previous", "Up", show=False, id="plan.up"),
        Binding("down,j", "app.focus_next", "Down", show=False, id="plan.down"),
    ]  # fmt: skip

    class Turned(Message):
        """Somebody turned the knob by so many steps."""

        def __init__(self, knob: Knob, steps: int) -> None:
            """Take the knob, and how far."""
            super().__init__()
            self.knob, self.steps = knob, steps

    class Slid(Message):
        """Somebody put the knob to a place between its least (0) and its most (1)."""

        def __init__(self, knob: Knob, share: float) -> None:
            """Take the knob, and where to."""
            super().__init__()
            self.knob, self.share = knob, share

    class Typed(Message):
        """Somebody wrote a value; ``auto`` leaves the knob to the planner."""

        def __init__(self, knob: Knob, text: str) -> None:
            """Take the knob, and the text as it was written."""
            super().__init__()
            self.knob, self.text = knob, text

    class Refused(Message):
        """Somebody wrote what cannot be read; it still stands in the line."""

        def __init__(self, error: LocalLLMError) -> None:
            """Take what is wrong with it."""
            super().__init__()
            self.error = error

    reading: reactive[Reading | None] = reactive(None)

    entry = query_one(Entry)

    def __init__(self, knob: Knob) -> None:
        """Take the knob that it stands for."""
        super().__init__(id=f"knob-{knob.name}")
        self.knob = knob
        self.tooltip = f"{knob.about} Left to the planner: {knob.left_open}."

    def compose(self) -> ComposeResult:
        """Yield the line to write in: there from the beginning, so that no key waits for it."""
        yield Entry(left=LABEL + 2, width=_WRITING)

    def render(self) -> RenderResult:
        """Return the line."""
        shown = self.reading
        mark = "▸" if self.has_focus or self.is_editing else ""
        label = f"{mark:<{_MARK}}{self.knob.label:<{LABEL - _MARK}}"
        if shown is None:
            return Content(label)
        if self.is_editing:
            before = " " * (_WRITING + 3)
            free = self.size.width - LABEL - len(before)
            hint = next((hint for hint in _HINTS if len(hint) <= free), "")
            return Content.assemble(label, (before + hint, "$text-muted"))
        value = Content(shown.text).truncate(VALUE, ellipsis=True)
        free = VALUE - value.cell_length
        value = value.stylize("$text-muted italic" if shown.is_auto else "bold")
        value = value.pad(free // 2, free - free // 2)
        state = ("○ auto ", "$text-muted") if shown.is_auto else ("● set  ", "$text-accent")
        arrow = "$text-primary" if self.has_focus else "$text-muted"
        return Content.assemble(
            label,
            ("◂ ", arrow),
            value,
            (" ▸ ", arrow),
            state,
            self._bar(shown.share),
        )

    def _bar(self, share: float | None) -> Content:
        width = self._bar_width()
        if share is None or width < _LEAST_BAR:
            return Content("")
        at = round(share * (width - 1))
        return Content.assemble(
            ("━" * at, "$primary"), ("●", "$text-primary"), ("─" * (width - 1 - at), "$text-muted")
        )

    def _bar_width(self) -> int:
        return self.size.width - _BAR

    # -- keys ------------------------------------------------------------------------------------

    def action_turn(self, steps: int) -> None:
        """Tell of a turn."""
        self.post_message(self.Turned(self.knob, steps))

    def action_leave_open(self) -> None:
        """Tell that the planner may decide."""
        self.post_message(self.Typed(self.knob, "auto"))

    # -- a value that is written -----------------------------------------------------------------

    @property
    def is_editing(self) -> bool:
        """Whether a value is being written."""
        return self.has_class("-editing")

    def action_type(self) -> None:
        """Open the line to write the value in; the next key goes there already."""
        if self.is_editing:
            return
        entry, shown = self.entry, self.reading
        entry.value, entry.placeholder = "", "" if shown is None else shown.text
        self.add_class("-editing")
        entry.display = True
        self.screen.set_focus(entry)

    def on_key(self, event: events.Key) -> None:
        """Write and close in the order of the keys, also of those on their way as it opened.

        A digit opens the line with itself. Bindings would run a few messages later, after the
        keys that follow.
        """
        digit = event.character if event.character and event.character.isdecimal() else None
        if event.key == "enter":
            if self.is_editing:
                self._set()
            else:
                self.action_type()
        elif not self.is_editing:
            if digit is None:
                return
            self.action_type()
            self.entry.insert_text_at_cursor(digit)
        elif event.key == "escape":
            self.leave()
        elif event.key == "backspace":
            self.entry.action_delete_left()
        elif event.character and event.is_printable:
            self.entry.insert_text_at_cursor(event.character)
        else:
            return
        event.stop()
        event.prevent_default()

    @on(Entry.Left)
    def _left(self, event: Entry.Left) -> None:
        event.stop()
        self.leave()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._set()

    def _set(self) -> None:
        """Tell of the value; one that cannot be read stays, to be corrected."""
        text = self.entry.value.strip()
        if text:
            try:
                typed(self.knob, Policy(), text)
            except LocalLLMError as error:
                self.post_message(self.Refused(error))
                return
            self.post_message(self.Typed(self.knob, text))
        self.leave()

    def on_descendant_blur(self) -> None:
        """Going elsewhere leaves the value as it was."""
        if self.is_editing and self.screen.focused is not self.entry:
            self.leave(keeps_focus=False)

    def leave(self, *, keeps_focus: bool = True) -> None:
        """Close the line."""
        if keeps_focus:
            self.screen.set_focus(self)
        self.remove_class("-editing")
        self.entry.display = False
        self.refresh()

    # -- the mouse -------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Turn by an arrow, leave open by the word beside it, put to a place by the bar."""
        event.stop()
        if _LEFT <= event.x < _LEFT + 2:
            self.action_turn(-1)
        elif _RIGHT <= event.x < _RIGHT + 3:
            self.action_turn(1)
        elif _STATE <= event.x < _STATE + STATE - 1:
            self.action_leave_open()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to slide where the bar is."""
        if self._slides_at(event.x):
            self.capture_mouse()
            self._slide_to(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Slide on while the button is held."""
        if self.app.mouse_captured is self:
            self._slide_to(event.x)

    def on_mouse_up(self) -> None:
        """Stop sliding."""
        if self.app.mouse_captured is self:
            self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel turns the knob that has the focus; elsewhere it scrolls the page."""
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The same downwards."""
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, steps: int) -> None:
        if self.has_focus:
            event.stop()
            event.prevent_default()
            self.action_turn(steps)

    def _slides_at(self, x: int) -> bool:
        shown = self.reading
        has_bar = shown is not None and shown.share is not None
        return has_bar and self._bar_width() >= _LEAST_BAR and _BAR <= x < self.size.width

    def _slide_to(self, x: int) -> None:
        share = (x - _BAR) / max(self._bar_width() - 1, 1)
        self.post_message(self.Slid(self.knob, min(max(share, 0.0), 1.0)))
