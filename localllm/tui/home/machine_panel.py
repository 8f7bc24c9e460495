"""The machine in two lines: GPUs, memory, what feeds it and what measures its power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from localllm.core.text import printable
from localllm.tui.looks import Panel
from localllm.tui.masthead import SIMULATED
from localllm.words.machine import memory_parts, power_parts
from localllm.words.plan import planned_for

if TYPE_CHECKING:
    from localllm.core.hardware import Hardware
    from localllm.core.metered.meters import SeenMeters


class MachinePanel(Panel):
    """Shows one machine, this one or one by its profiles."""

    def __init__(self, *, id: str | None = None) -> None:
        """Wait for a machine."""
        self._lines = Static(markup=False)
        super().__init__(self._lines, title="This machine", id=id)

    def on_mount(self) -> None:
        """Say what is being done."""
        self.show_loading("looking at this machine")

    def show(self, hardware: Hardware, meters: SeenMeters | None, *, simulated: bool) -> None:
        """Show a machine; ``meters`` are looked at only where it is this one."""
        lines = [" · ".join(memory_parts(hardware))]
        if simulated:
            self.border_title = Content(f"{printable(hardware.name)} {SIMULATED}")
            lines.append(f"Models are {planned_for(hardware)}.")
        else:
            self.border_title = "This machine"
        if meters is not None:
            lines.append(" · ".join(power_parts(meters)))
        self._lines.update("\n".join(lines))
        self.show_ready()
