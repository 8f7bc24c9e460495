"""The choice of a machine to plan for: this one, any with a profile, or several cards together."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.session import hardware_named, hardware_names
from localllm.tui.plan.machines import Profile, Sought, found, profile, sought
from localllm.tui.threads import called

Machines = tuple[str, ...]

_ROOMY = 100
"""Columns of the terminal from which there is room for what a machine is."""
_MOST = 50
"""Rows at once: who looks for another machine writes a part of its name."""
_HOW = "2x counts · + adds another · a host beside cards replaces theirs"


class MachineDialog(ModalScreen[Machines | None]):
    """Its result is the machines' names, none for this machine; None where the person left."""

    CSS_PATH = "machine_dialog.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", id="machine.leave"),
        Binding("up", "move(-1)", "Up", show=False, id="machine.up"),
        Binding("down", "move(1)", "Down", show=False, id="machine.down"),
        Binding("pageup", "move(-8)", "Up", show=False, id="machine.page-up"),
        Binding("pagedown", "move(8)", "Down", show=False, id="machine.page-down"),
    ]  # fmt: skip

    entry = query_one("#machine-entry", Input)
    rows = query_one("#machine-rows", OptionList)
    note = query_one("#machine-note", Static)

    def __init__(
        self,
        here: Callable[[], Hardware],
        *,
        current: Machines,
        profiles: tuple[Profile, ...] = (),
        on_profiles: Callable[[tuple[Profile, ...]], None] | None = None,
    ) -> None:
        """Take how to ask for this machine, and what is planned for now.

        ``profiles``: what an earlier dialog found, given to ``on_profiles``.
        """
        super().__init__()
        self._ask_here, self._current = here, current
        self._profiles, self._on_profiles = profiles, on_profiles
        self._here: Profile | None = None
        self._shown: tuple[Profile, ...] = ()
        self._is_entered = False
        """Whether Enter was pressed before there was anything to choose."""
        self._before = ""
        """What was written until now."""

    def compose(self) -> ComposeResult:
        """Yield what is written, what it finds, and what else may be written."""
        with Vertical(id="machine-dialog") as box:
            box.border_title = "Plan for which machine?"
            box.border_subtitle = _HOW
            yield Input(
                placeholder="a100, 2x rtx-4090, m3 max …",
                compact=True,
                select_on_focus=False,  # nor what was written before it had the focus
                id="machine-entry",
            )
            yield OptionList(id="machine-rows", compact=True)
            yield Static(markup=False, id="machine-note")

    def on_mount(self) -> None:
        """Look the machines up where that was not done before."""
        self.rows.can_focus = False
        if not self._profiles:
            self._say("… reading the profiles")
        self._read()

    def on_resize(self) -> None:
        """Draw the rows anew: they have more to say in a wide terminal."""
        self._show()

    @work(group="machines", exclusive=True)
    async def _read(self) -> None:
        self._here = profile(THIS_MACHINE, await called(self._ask_here))
        if not self._profiles:
            self._profiles = await called(_all_profiles)
            if self._on_profiles is not None:
                self._on_profiles(self._profiles)
        self._show()

    def on_key(self, event: events.Key) -> None:
        """Take the keys that come before the line has the focus."""
        if self.focused is not None:
            return
        if event.key == "enter":
            self._enter()
        elif event.character and event.is_printable:
            self.entry.insert_text_at_cursor(event.character)
        else:
            return
        event.stop()
        event.prevent_default()

    # -- what is offered -------------------------------------------------------------------------

    @on(Input.Changed)
    def _written(self, event: Input.Changed) -> None:
        """Look for it; a plus sign takes what is marked, and goes on with the next part."""
        event.stop()
        before, self._before = self._before, event.value
        each = self._marked()
        if event.value == f"{before}+" and each is not None and each is not self._here:
            names = sought(before).names(each.name)
            self.entry.value = " + ".join((*names, ""))
            self.entry.cursor_position = len(self.entry.value)
        self._show()

    def _show(self) -> None:
        if self._here is None or not self._profiles:
            return
        seek = sought(self.entry.value)
        offered = found(seek, self._profiles)
        if not seek.words and not seek.taken and seek.count == 1:
            offered = (self._here, *offered)
        self._shown = offered[:_MOST]
        self.rows.clear_options()
        self.rows.add_options([Option(self._row(each, seek)) for each in self._shown])
        more = len(offered) - len(self._shown)
        if not offered:
            self._say(f"No profile is called that. {_HOW}.")
        else:
            self._say(f"{more} more: write a part of the name." if more else "")
        if offered:
            # The usual next step is one key away: to another machine, and back to this one.
            is_swap = offered[0] is self._here and not self._current
            self.rows.highlighted = 1 if is_swap and len(offered) > 1 else 0
            if self._is_entered:
                self._choose()

    def _row(self, each: Profile, seek: Sought) -> Content:
        is_current = (each is self._here and not self._current) or (
            seek.names(each.name) == self._current
        )
        name = " + ".join(seek.names(each.name)) if each is not self._here else each.name
        return Content.assemble(
            "● " if is_current else "  ",
            (f"{printable(name):<30} ", "bold"),
            f"{seek.memory(each):>20} ",
            f"{each.bandwidth:>11}  ",
            (printable(each.what) if self.app.size.width >= _ROOMY else "", "$text-muted"),
        )

    def _say(self, text: str) -> None:
        self.note.update(Content(text))
        self.note.display = bool(text)

    # -- what the person does --------------------------------------------------------------------

    def action_move(self, steps: int) -> None:
        """Move the mark."""
        if self._shown:
            at = (self.rows.highlighted or 0) + steps
            self.rows.highlighted = min(max(at, 0), len(self._shown) - 1)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._enter()

    def _enter(self) -> None:
        self._is_entered = not self._shown
        self._choose()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.rows.highlighted = event.option_index
        self._choose()

    def _choose(self) -> None:
        each = self._marked()
        if each is self._here:
            self.dismiss(())
        elif each is not None:
            self._leave_with(sought(self.entry.value).names(each.name))

    @work(group="machines", exclusive=True)
    async def _leave_with(self, names: Machines) -> None:
        try:
            await called(lambda: hardware_named(*names))
        except LocalLLMError as error:
            self._say(" ".join(filter(None, (f"✗ {printable(error.message)}", error.hint))))
        else:
            self.dismiss(names)

    def _marked(self) -> Profile | None:
        at = self.rows.highlighted
        return self._shown[at] if at is not None and at < len(self._shown) else None


def _all_profiles() -> tuple[Profile, ...]:
    return tuple(profile(name, hardware_named(name)) for name in hardware_names())
