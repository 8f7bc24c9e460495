"""What the Chat place asks in dialogs: a conversation, settings, what to copy, another model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work

from localllm.core.text import printable
from localllm.errors import LocalLLMError
from localllm.records.entries import turns_of
from localllm.talking.stats import stats
from localllm.tui.chat.answering import ChatAnswering
from localllm.tui.chat.copying import code_of, copyable
from localllm.tui.chat.pick import Choice, PickDialog
from localllm.tui.messages import ModelChosen, SubjectChanged
from localllm.tui.threads import called
from localllm.units import format_bytes
from localllm.words.conversations import changes_since
from localllm.words.loads import short_name

if TYPE_CHECKING:
    from localllm.core.kept import Inventory
    from localllm.session import Conversation
    from localllm.talking.chat import Chat


class ChatAsking(ChatAnswering):
    """The part of the place with dialogs."""

    @property
    def conversation(self) -> Conversation | None:
        """What is shown; None before anything could be said."""
        return self.waiting if self.chat is None else self.chat.conversation

    # -- conversations ---------------------------------------------------------------------------

    @work(group="dialog", exclusive=True)
    async def action_conversations(self) -> None:
        """Choose a conversation to go on with."""
        from localllm.tui.chat.conversations import ConversationsDialog

        conversation = self.conversation
        current = conversation.header.id if conversation is not None else None
        chosen = await self.app.push_screen_wait(ConversationsDialog(self.store, current=current))
        if chosen is not None and chosen != current and self.phase in ("idle", "finding"):
            await self.go_on_with(chosen)

    async def go_on_with(self, name: str) -> None:
        """Take up a conversation, and its own model where there is none yet."""
        try:
            conversation = await called(lambda: self.store.open(name))
        except LocalLLMError as error:
            self.tell(error.message, title="Not opened", bad=True)
            return
        if self.phase in ("asking", "answering"):  # a question came first
            conversation.close()
            self.tell("An answer is being written: escape stops it.", title="Not opened")
            return
        self.forget_owed()
        if self.chat is not None:
            self.chat.continue_with(conversation)
        else:
            if self.waiting is not None:
                self.waiting.close()
            self.waiting = conversation
        self.course.forget()
        self.forget_fault()
        await self.show_conversation(conversation)
        header = conversation.header
        if self.subject.name is None and self.chat is None and header.model:
            self.post_message(SubjectChanged(replace(self.subject, name=header.model)))

    async def show_conversation(self, conversation: Conversation) -> None:
        """Show a conversation, and what is to be known of it."""
        turns = turns_of(tuple(conversation.entries))
        await self.transcript.show(turns)
        for remark in _remarks(conversation, self.chat):
            await self.transcript.remark(remark)
        self._look()
        self.refresh_bindings()

    @work(group="dialog", exclusive=True)
    async def action_new(self) -> None:
        """Begin a new conversation; the last one is kept."""
        chat = self.chat
        if chat is None or self.phase != "idle":
            return
        self.forget_owed()
        chat.start_over()
        self.course.forget()
        self.forget_fault()
        await self.show_conversation(chat.conversation)

    # -- how it is talked ------------------------------------------------------------------------

    @work(group="dialog", exclusive=True)
    async def action_system(self) -> None:
        """Change the system prompt."""
        from localllm.tui.chat.system_dialog import SystemDialog

        chat = self.chat
        if chat is None:
            return
        before = chat.system or ""
        text = await self.app.push_screen_wait(SystemDialog(before))
        if text is None or text == before:
            return

        def change() -> None:
            chat.system = text or None

        await called(change)
        said = f"system prompt: {text}" if text else "There is no system prompt."
        await self.transcript.remark(said)

    @work(group="dialog", exclusive=True)
    async def action_settings(self) -> None:
        """Change how answers are asked for and shown."""
        from localllm.tui.chat.settings_dialog import SettingsDialog

        settings = await self.app.push_screen_wait(SettingsDialog(self.settings))
        if settings is not None:
            self.settings = settings
            self.transcript.reasoning = settings.reasoning
            self.transcript.renders = settings.markdown

    @work(group="dialog", exclusive=True)
    async def action_stats(self) -> None:
        """Show all figures."""
        from localllm.tui.chat.figures_dialog import FiguresDialog

        if self.chat is not None:
            await self.app.push_screen_wait(FiguresDialog(tuple(stats(self.chat))))

    @work(group="dialog", exclusive=True)
    async def action_model(self) -> None:
        """Choose another model of those that are here."""
        here = await called(self.desk.here)
        name = await self.app.push_screen_wait(PickDialog("Talk to", _models(here)))
        if name is not None:
            self.post_message(ModelChosen(name, place="chat"))

    # -- copying ---------------------------------------------------------------------------------

    @work(group="dialog", exclusive=True)
    async def action_copy(self) -> None:
        """Choose what to copy: the last answer first."""
        conversation = self.conversation
        if conversation is None:
            return
        choices = await called(lambda: copyable(conversation))
        if not choices:
            self.tell("Nothing has been said yet.", title="Copy")
            return
        text = await self.app.push_screen_wait(PickDialog("Copy", choices))
        if text is not None:
            self.copy(text)

    @work(group="dialog", exclusive=True)
    async def copy_code(self, text: str) -> None:
        """Copy the code of one message; which, where there is more than one block."""
        blocks = tuple(code_of(text))
        if not blocks:
            self.tell("This message has no block of code.", title="Copy")
            return
        chosen: str | None = blocks[0].value
        if len(blocks) > 1:
            chosen = await self.app.push_screen_wait(PickDialog("Copy code", blocks))
        if chosen is not None:
            self.copy(chosen)

    def copy(self, text: str) -> None:
        """Give a text to the terminal's clipboard."""
        self.app.copy_to_clipboard(text)
        n = len(text)
        self.tell(f"{n:,} character{'s' * (n != 1)}, by way of the terminal.", title="Copied")

    def tell(self, text: str, *, title: str, bad: bool = False) -> None:
        """Say something in passing."""
        self.notify(
            printable(text),
            title=title,
            severity="warning" if bad else "information",
            markup=False,
        )


def _models(here: Inventory) -> tuple[Choice[str], ...]:
    found = [Choice("demo", "demo", "the small model that comes with localllm")]
    for model in here.models:
        if model.is_complete:
            found.append(Choice(model.name, model.name, format_bytes(model.n_bytes)))
    return tuple(found)


def _remarks(conversation: Conversation, chat: Chat | None) -> list[str]:
    """What is to be known of a conversation that is gone on with."""
    header, remarks = conversation.header, []
    if chat is not None:
        if conversation.entries and header.model != chat.model_name:
            remarks.append(f"begun with {short_name(header.model)}")
        remarks += changes_since(
            header,
            n_bad_lines=conversation.n_bad_lines,
            model_name=chat.model_name,
            content_id=chat.obtained.model.content_id,
        )
    system = next((m.content for m in conversation.messages if m.role == "system"), None)
    if system is not None:
        remarks.append(f"system prompt: {system}")
    return remarks
