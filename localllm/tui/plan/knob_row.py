"""One knob as a line: its name, its value between two arrows, whether it is fixed, and a bar."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from localllm.tui.plan.knob import Knob
from localllm.tui.plan.wishes import Reading

LABEL, VALUE, STATE = 16, 17, 7
"""Columns of the name, of the value between its arrows, and of ``auto`` or ``fixed``."""
_LEFT = LABEL
_RIGHT = LABEL + 2 + VALUE
_STATE = _RIGHT + 3
_BAR = _STATE + STATE
_LEAST_BAR = 8
_WRITING = 20
"""Columns of the line that a value is written in."""
_MANY = 8
"""Steps of a turn with Shift."""


class KnobRow(Widget, can_focus=True):
    """Draws how a knob stands, and tells when somebody turns it; it changes nothing itself."""

    DEFAULT_CSS = """
    KnobRow {
        height: 1;
        & > Input { display: none; height: 1; border: none; padding: 0; }
        &.-editing > Input { display: block; }
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

    reading: reactive[Reading | None] = reactive(None)

    def __init__(self, knob: Knob) -> None:
        """Take the knob that it stands for."""
        super().__init__(id=f"knob-{knob.name}")
        self.knob = knob
        self.tooltip = f"{knob.about} Left to the planner: {knob.left_open}."

    def render(self) -> RenderResult:
        """Return the line."""
        shown = self.reading
        label = f"{self.knob.label:<{LABEL}}"
        if shown is None:
            return Content(label)
        if self.has_class("-editing"):
            keys = f"{'':<{_WRITING + 3}}enter sets it, escape leaves it"
            return Content.assemble(label, (keys, "$text-muted"))
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

    async def action_type(self) -> None:
        """Open a line to write the value in."""
        if self.has_class("-editing"):
            return
        shown = self.reading
        entry = Input(placeholder="" if shown is None else shown.text, compact=True)
        entry.styles.offset = (LABEL + 2, 0)
        entry.styles.width = _WRITING
        self.add_class("-editing")
        await self.mount(entry)
        entry.focus()

    @on(Input.Submitted)
    async def _written(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        await self._end_typing()
        if text:
            self.post_message(self.Typed(self.knob, text))

    async def on_key(self, event: events.Key) -> None:
        """Escape leaves the value as it was."""
        if event.key == "escape" and self.has_class("-editing"):
            event.stop()
            await self._end_typing()

    async def on_descendant_blur(self) -> None:
        """Going elsewhere leaves the value as it was."""
        if self.has_class("-editing"):
            await self._end_typing(keeps_focus=False)

    async def _end_typing(self, *, keeps_focus: bool = True) -> None:
        self.remove_class("-editing")
        await self.query(Input).remove()
        if keeps_focus:
            self.focus()

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
