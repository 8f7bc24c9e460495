"""Every byte of a model against the hash that its folder states, while one watches."""

from __future__ import annotations

import threading
import time
from contextlib import aclosing
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localllm import keeping
from localllm.core.fetching import FetchProgress, FileState, Rate
from localllm.core.kept import KeptModel, Verdict
from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.tui.fetching.ways import in_keys
from localllm.tui.threads import called, streamed
from localllm.words.fetching import bar, figures, percent
from localllm.words.kept import checked_line, set_aside_line, verdict_lines

DRAWN_EVERY_S = 0.25


class VerifyDialog(ModalScreen[bool]):
    """Checks a model that is here. Its result: whether a file was set aside."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="verify.leave", tooltip="Stop checking, or leave"),
        Binding(
            "s",
            "set_aside",
            "Set aside",
            id="verify.set_aside",
            tooltip="Move a corrupt file out of the way, so that it can be fetched anew",
        ),
    ]

    text = query_one("#verify-text", Static)
    aside_button = query_one("#verify-aside", Button)

    def __init__(self, model: KeptModel) -> None:
        """Take what is to be checked."""
        super().__init__()
        self._model = model
        self._verdicts: list[Verdict] = []
        self._stop = threading.Event()
        self._n_read = 0  # written by the thread that reads, looked at by the screen
        self._rate = Rate()
        self._has_set_aside = False

    def compose(self) -> ComposeResult:
        """Yield how far it is, what was found, and the buttons."""
        with Vertical(classes="dialog") as box:
            box.border_title = printable(f"Verify {self._model.name}")
            with VerticalScroll(classes="dialog--text", can_focus=False):
                yield Static(id="verify-text", markup=False)
            with Horizontal(classes="dialog--buttons"):
                yield Button("Set aside (s)", id="verify-aside", variant="warning", compact=True)
                yield Button("Leave (escape)", id="verify-leave", compact=True)

    def on_mount(self) -> None:
        """Begin."""
        self.aside_button.display = False
        self.query_one("#verify-leave", Button).focus()
        self._timer = self.set_interval(DRAWN_EVERY_S, self._draw)
        self._draw()
        self._check()

    def on_unmount(self) -> None:
        """Read no further."""
        self._stop.set()

    @work(group="verify", exclusive=True)
    async def _check(self) -> None:
        def on_bytes(n_bytes: int) -> None:
            self._n_read += n_bytes

        began_s = time.monotonic()
        checks = streamed(
            lambda: keeping.verify(self._model, on_bytes=on_bytes, stop=self._stop),
            stop=self._stop.set,
        )
        async with aclosing(checks) as batches:
            async for batch in batches:
                self._verdicts += batch
        self._timer.stop()
        self._say(checked_line(self._verdicts, time.monotonic() - began_s))
        if self._corrupt and self._model.can_be_removed:
            self.aside_button.display = True

    @property
    def _corrupt(self) -> list[Verdict]:
        return [verdict for verdict in self._verdicts if verdict.result == "corrupt"]

    def _draw(self) -> None:
        """Show how far it is."""
        n_bytes = self._model.n_bytes
        state = FileState(
            path="", n_bytes=n_bytes, n_done=min(self._n_read, n_bytes), phase="fetching"
        )
        progress = FetchProgress(files=(state,))
        self._rate.add(time.monotonic(), state.n_done)
        share = f" {percent(progress):3d}%"
        width = max((self.text.size.width or 60) - len(share), 1)
        said = " · ".join(("checking", *figures(progress, self._rate.bytes_per_s)))
        self._say(f"{bar(progress, width, unicode=True)}{share}\n{said}")

    def _say(self, last: str) -> None:
        found = [line for each in self._verdicts for line in verdict_lines(self._model, each)]
        self.text.update(Content(printable("\n".join((*found, last)))))

    @work(group="verify", exclusive=True)
    async def _set_aside(self) -> None:
        self.aside_button.display = False
        said = []
        for verdict in self._corrupt:
            try:
                await called(partial(keeping.set_aside, verdict))
            except LocalLLMError as error:
                said.append(
                    " ".join(filter(None, (f"✗ {error.message}", in_keys(error.hint or ""))))
                )
            else:
                self._has_set_aside = True
                said.append(set_aside_line(self._model))
        self._say("\n".join(said))

    def action_set_aside(self) -> None:
        """Move what is corrupt out of the way."""
        if self.aside_button.display:
            self._set_aside()

    def action_leave(self) -> None:
        """Stop, and leave."""
        self._stop.set()
        self.dismiss(self._has_set_aside)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button is self.aside_button:
            self.action_set_aside()
        else:
            self.action_leave()
