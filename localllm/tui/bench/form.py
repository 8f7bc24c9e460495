"""The panel in which tests are chosen, and which says what they would take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from textual import on
from textual.containers import Horizontal, HorizontalGroup, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from localllm.benching.wanted import Wanted
from localllm.core.bench.setup import Mode
from localllm.core.text import printable
from localllm.errors import LocalLLMError, UsageError
from localllm.tui.bench.preview import Preview
from localllm.tui.looks import Panel
from localllm.tui.widgets.choices import Choices
from localllm.words.bench_lists import parse_wholes
from localllm.words.bench_progress import time_left
from localllm.words.parse import parse_count

T = TypeVar("T")

_FIELDS = {
    "prompts": ("Prompt tokens", "pp: a test for each number, 512,2048; 0 leaves it out"),
    "gens": ("Generated", "tg: a test for each number, 128,512; 0 leaves it out"),
    "depths": ("Depths", "Tokens already in the context: every test at each, 0,4096"),
    "repetitions": ("Repetitions", "Of each test; empty: 5, quick 2"),
}
_MODES = ("quick", "standard", "steady")
_ABOUT = {
    "quick": "few and short tests, not to be compared",
    "standard": "llama-bench's method",
    "steady": "warmed up, windows of 10 s, pauses between: for joules",
}


class TestsForm(Panel):
    """Tests, how they are measured, and the button that starts them."""

    preview: var[Preview | None] = var[Preview | None](None, init=False)
    """What the fields come to; None while that is not known."""
    running: var[bool] = var(False, init=False)

    class Changed(Message):
        """The person changed a field."""

    class Wished(Message):
        """The button was pressed: start, or stop."""

    def compose_body(self) -> Iterable[Widget]:
        """Yield the fields, the kind of run, and what it comes to."""
        with Vertical(id="form-fields"):
            for names in (("prompts", "gens"), ("depths", "repetitions")):
                with HorizontalGroup(classes="form--row"):
                    for number, name in enumerate(names):
                        label, about = _FIELDS[name]
                        yield Label(label, classes="form--second" if number else "")
                        field = Input(id=f"form-{name}", compact=True)
                        field.tooltip = about
                        yield field
            with HorizontalGroup(classes="form--row"):
                yield Label("Kind")
                yield Choices(_MODES, value="standard", id="form-mode")
            with HorizontalGroup(classes="form--row"):
                yield Label("Sampled answers")
                yield Choices(("no", "yes"), value="no", id="form-chat")
        yield Static(id="form-says")
        with Horizontal(id="form-buttons"):
            yield Button("Start (ctrl+r)", id="form-start", variant="primary", compact=True)

    # -- what is chosen --------------------------------------------------------------------------

    def wanted(self) -> Wanted:
        """Return what the fields say. Raises UsageError that names the field."""
        repetitions = self._text("repetitions").strip()
        return Wanted(
            mode=cast("Mode", self.query_one("#form-mode", Choices).value),
            prompts=self._read("prompts", parse_wholes),
            gens=self._read("gens", parse_wholes),
            depths=self._read("depths", parse_wholes),
            repetitions=self._read("repetitions", parse_count) if repetitions else None,
            chat=self.query_one("#form-chat", Choices).value == "yes",
        )

    def propose(self, wanted: Wanted) -> None:
        """Fill in the fields; nobody changed them."""
        texts = {
            "prompts": _listed(wanted.prompts),
            "gens": _listed(wanted.gens),
            "depths": _listed(wanted.depths),
            "repetitions": str(wanted.rules.repetitions),
        }
        with self.prevent(Input.Changed):
            for name, text in texts.items():
                self.query_one(f"#form-{name}", Input).value = text
        self.query_one("#form-mode", Choices).value = wanted.mode
        self.query_one("#form-chat", Choices).value = "yes" if wanted.chat else "no"

    # -- what is said ----------------------------------------------------------------------------

    def say_waiting(self) -> None:
        """Say that it is being worked out."""
        self._say_below(Content.styled("… working out how long that takes", "$text-muted"))

    def say_wrong(self, error: LocalLLMError) -> None:
        """Say what is wrong with the fields, and what to do."""
        parts = [Content.styled("✗ ", "$text-error"), Content(printable(error.message))]
        if error.hint:
            parts += [Content.styled("  → ", "$text-accent"), Content(printable(error.hint))]
        self._say_below(Content.assemble(*parts))

    def watch_preview(self, found: Preview | None) -> None:
        """Say what the run would be."""
        if found is not None:
            self._say_below(Content(preview_words(found)))

    def watch_running(self, running: bool) -> None:
        """Nothing can be changed while it runs; the button stops it."""
        self.query_one("#form-fields").disabled = running
        button = self.query_one("#form-start", Button)
        button.label = "Stop (escape)" if running else "Start (ctrl+r)"
        button.variant = "default" if running else "primary"

    def _say_below(self, content: Content) -> None:
        self.query_one("#form-says", Static).update(content)

    # -- events ----------------------------------------------------------------------------------

    @on(Input.Changed)
    @on(Choices.Changed)
    def _changed(self, event: Message) -> None:
        event.stop()
        self.post_message(self.Changed())

    @on(Button.Pressed, "#form-start")
    @on(Input.Submitted)
    def _pressed(self, event: Message) -> None:
        event.stop()
        self.post_message(self.Wished())

    def _text(self, name: str) -> str:
        return self.query_one(f"#form-{name}", Input).value

    def _read(self, name: str, parse: Callable[[str], T]) -> T:
        text = self._text(name)
        try:
            return parse(text)
        except ValueError as error:
            raise UsageError(f"{_FIELDS[name][0]}: {text.strip()[:40]!r} {error}.") from None


def preview_words(found: Preview) -> str:
    """Return what a run would be and how long it takes, by the estimate."""
    n = len(found.wanted.tests)
    tests = f"{n} test{'s' * (n != 1)}, {_ABOUT[found.wanted.mode]}"
    if found.seconds is None:
        takes = "how long they take is not known: there is no estimate of the speed"
    else:
        takes = f"about {time_left(found.seconds)} (est.) once the model is loaded"
    words = [f"{tests}; {takes}."]
    if found.subject.simulated:
        words.append("Measured is this machine, not the simulated one.")
    if found.model is None:
        words.append("The model is not here yet: it is fetched first, if you say so.")
    return " ".join(words)


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
