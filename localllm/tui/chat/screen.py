"""The Chat place: the conversation, where one types, and the run's figures beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.getters import query_one
from textual.widget import Widget
from textual.widgets import Markdown

from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.records.typed import append_typed, read_typed
from localllm.session import input_history_path
from localllm.tui.chat import situation as situations
from localllm.tui.chat.asking import ChatAsking
from localllm.tui.chat.base import Phase
from localllm.tui.chat.keys import CHAT_KEYS
from localllm.tui.chat.message import MessageView
from localllm.tui.chat.prompt_box import PromptBox
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.panel import SidePanel
from localllm.tui.chat.side.strip import SideStrip
from localllm.tui.chat.situation import Situation, SituationPanel
from localllm.tui.chat.transcript import Transcript
from localllm.tui.messages import Place
from localllm.tui.subject import Subject
from localllm.tui.threads import called

_EMPTY = (
    "What is said here is kept on this machine, and nothing of it leaves it.\n\n"
    "ctrl+o  go on with an earlier conversation, found by what was said\n"
    "ctrl+t  set a system prompt\n"
    "ctrl+s  change how answers are drawn\n"
    "F1      all keys"
)
_BELOW: dict[Phase, str] = {
    "idle": "enter sends · ctrl+j new line",
    "asking": "",
    "finding": "escape stops the search",
    "loading": "enter asks once it is loaded",
    "answering": "escape stops the answer",
}


class ChatScreen(ChatAsking):
    """Talk with a model; what it takes stands beside the conversation."""

    PLACE: ClassVar[Place] = "chat"
    CSS_PATH = "screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = CHAT_KEYS

    _transcript = query_one("#chat-transcript", Transcript)
    _panel = query_one("#chat-situation", SituationPanel)
    _prompt = query_one("#chat-prompt", PromptBox)
    _side = query_one("#chat-side", SidePanel)
    _strip = query_one("#chat-strip", SideStrip)

    def __init__(self) -> None:
        """Edit nothing yet."""
        super().__init__()
        self._edits = False
        self._draft = ""

    def compose_place(self) -> Iterable[Widget]:
        """Yield the conversation with what is typed below it, and the figures."""
        with Horizontal(id="chat"):
            with Vertical(id="chat-main"):
                yield Transcript(id="chat-transcript")
                yield SituationPanel(id="chat-situation")
                yield SideStrip(id="chat-strip")
                yield PromptBox(id="chat-prompt")
            yield SidePanel(id="chat-side")

    def on_mount(self) -> None:
        """Begin to type, and bring back what was typed before."""
        self._transcript.say_empty(_EMPTY)
        self._prompt.focus()
        self._show_prompt()
        self._remember()
        self._prepare()

    def on_screen_resume(self) -> None:
        """Look whether it is still about the same model."""
        self.consider()

    @property
    def transcript(self) -> Transcript:
        """Where the conversation is shown."""
        return self._transcript

    # -- what is shown ---------------------------------------------------------------------------

    def watch_subject(self, subject: Subject) -> None:
        """Follow another model at once where this is the place that is seen."""
        self._dismissed = None
        if self.is_current:
            self.consider()

    def watch_situation(self, before: Situation, situation: Situation) -> None:
        """Show what stands in the way."""
        self._panel.situation = situation
        for view in (self._side, self._strip):
            view.stand(situation)
        if situation.look != before.look:
            self.refresh_bindings()

    def watch_figures(self, figures: RunFigures | None) -> None:
        """Show the figures."""
        for view in (self._side, self._strip):
            view.figures = figures

    def watch_phase(self, phase: Phase) -> None:
        """Say what the keys do now."""
        self._show_prompt()

    def watch_talks_to(self, name: str | None) -> None:
        """Say who is talked to."""
        self._show_prompt()

    def _show_prompt(self) -> None:
        if not self.query("#chat-prompt"):
            return  # the place is taken down, which ends what goes on
        prompt = self._prompt
        prompt.set_class(self._edits, "-editing")
        if self._edits:
            title, below = "editing your last question", "enter asks it instead · escape leaves it"
        else:
            title = "" if self.talks_to is None else f"to {self.talks_to}"
            below = _BELOW[self.phase]
        prompt.border_title = Content(printable(title))
        prompt.border_subtitle = Content(below)

    # -- what is typed ---------------------------------------------------------------------------

    @on(PromptBox.Sent)
    def _sent(self, event: PromptBox.Sent) -> None:
        text = event.text.strip()
        if not text:
            if self.phase == "idle":
                self.take_step()
            return
        chat = self.chat
        if self.phase in ("asking", "answering", "finding") or chat is None:
            why = "There is no model yet to ask; the question stays where it is."
            if self.phase == "answering":
                why = "An answer is being written: escape stops it."
            elif chat is not None and self.phase == "asking":
                why = "One question at a time; this one stays where it is."
            self.tell(why, title="Not sent")
            return
        self._prompt.load_text("")
        self._prompt.remember(now=[text])
        self._keep(text)
        if self.phase == "loading":
            self.owe(text)
            return
        instead, self._edits = self._edits, False
        self._show_prompt()
        self.ask(text, instead=instead)

    @on(SituationPanel.StepChosen)
    def _step_chosen(self) -> None:
        if self.phase == "idle":
            self.take_step()

    @work(group="typed")
    async def _remember(self) -> None:
        """Bring back what was typed in earlier chats, of the CLI too."""

        def read() -> tuple[str, ...]:
            path = input_history_path()
            return () if path is None else read_typed(path)

        self._prompt.remember(earlier=await called(read))

    @work(group="typed")
    async def _keep(self, text: str) -> None:
        """Keep what was typed, where that can be."""

        def write() -> None:
            path = input_history_path()
            if path is not None:
                append_typed(path, text, now=datetime.now())

        try:
            await called(write)
        except OSError:
            return  # a line of history is not worth a word

    @work(group="prepare")
    async def _prepare(self) -> None:
        """Have the engine's process get ready while the person still reads."""
        with contextlib.suppress(LocalLLMError):  # the load says so
            await called(self.desk.prepare_engine)

    # -- actions ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what makes sense now."""
        chat, is_idle = self.chat, self.phase == "idle"
        if action == "stop":
            can_stop = self.phase not in ("idle", "asking")
            return can_stop or self._edits or self._can_dismiss()
        if action in ("again", "edit"):
            return is_idle and chat is not None and chat.can_ask_again() and not self._edits
        if action == "new":
            return is_idle and chat is not None and bool(chat.conversation.entries)
        if action == "copy":
            return self.conversation is not None and bool(self.conversation.entries)
        if action == "conversations":
            return self.phase in ("idle", "finding")
        if action == "system":
            return is_idle and chat is not None
        if action == "stats":
            return chat is not None
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        """Stop what goes on; else leave what is edited, or take away what is said."""
        if self.phase != "idle":
            self.stop()
        elif self._edits:
            self._leave_editing()
        elif self._can_dismiss():
            self.dismiss_situation()
        self.refresh_bindings()

    def _can_dismiss(self) -> bool:
        """Whether something is said that stands in nobody's way: there is a loaded model."""
        is_loaded = self.chat is not None and not self.chat.needs_load
        return is_loaded and self.situation != situations.CLEAR

    def action_again(self) -> None:
        """Answer the last question anew."""
        self.answer_again()

    def action_edit(self) -> None:
        """Bring the last question back to be changed."""
        question = self.chat.last_question if self.chat is not None else None
        if question is None or self._edits:
            return
        self._edits, self._draft = True, self._prompt.text
        self._prompt.put(question)
        self._prompt.focus()
        self._show_prompt()
        self.refresh_bindings()

    def _leave_editing(self) -> None:
        self._edits = False
        self._prompt.put(self._draft)
        self._show_prompt()

    def action_figures(self) -> None:
        """Show the figures, or hide them."""
        self.toggle_class("-no-figures")

    def action_page(self, step: int) -> None:
        """Scroll the conversation."""
        if step < 0:
            self._transcript.scroll_page_up(animate=False)
        else:
            self._transcript.scroll_page_down(animate=False)

    def action_to_prompt(self) -> None:
        """Go back to where one types."""
        self._prompt.focus()

    @on(MessageView.CopyWanted)
    def _copy_wanted(self, event: MessageView.CopyWanted) -> None:
        event.stop()
        if event.code:
            self.copy_code(event.text)
        else:
            self.copy(event.text)

    @on(Markdown.LinkClicked)
    def _link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Copy an address that a model wrote; opening it is the person's to decide."""
        event.stop()
        self.app.copy_to_clipboard(event.href)
        self.tell(event.href, title="Address copied")
