"""A chat that is driven from a terminal: Ctrl-C stops, progress is drawn on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from localllm.cli.chat.pump import Pump
from localllm.cli.chat.terminal import Interrupts, quiet_keyboard
from localllm.cli.output import LiveLine, note
from localllm.core.generation import (
    CompletionRequest,
    Died,
    Failed,
    Loaded,
    LoadNote,
    LoadProgress,
    PromptProgress,
)
from localllm.session import Session
from localllm.talking.chat import Chat
from localllm.talking.obtained import Obtained
from localllm.talking.settings import Settings
from localllm.talking.turn import Answer
from localllm.words.failures import failure
from localllm.words.loads import progress_text, proving_text

if TYPE_CHECKING:  # one answer for a pipe shows no Markdown, which takes 40 ms to import
    from localllm.cli.chat.view import View
    from localllm.session import Conversation, ConversationStore

_SHOW_LOAD_AFTER_S = 0.15


class TerminalChat(Chat):
    """A chat whose engine works in a thread of its own, while the main thread draws."""

    def __init__(
        self,
        *,
        session: Session,
        store: ConversationStore,
        conversation: Conversation,
        obtained: Obtained,
        obtain: Callable[[str], Obtained],
        settings: Settings,
        proves: bool = False,
    ) -> None:
        """Join the parts, as ``Chat`` does.

        ``obtain`` finds another model by its name, and downloads it where it must.
        """
        super().__init__(
            session=session,
            store=store,
            conversation=conversation,
            obtained=obtained,
            settings=settings,
            proves=proves,
        )
        self._obtain = obtain
        self.interrupts = Interrupts(session.cancel)
        self._pump = Pump()

    def load(self) -> Loaded:
        """Plan and load the model, with progress on standard error.

        Raises DoesNotFitError (exit 3), EngineError (6) or what the engine refused with;
        KeyboardInterrupt when Ctrl-C stopped it.
        """
        plan = self.plan_load()
        model = self.obtained.model
        began_s = time.monotonic()
        with self.interrupts.handled(), quiet_keyboard(), LiveLine() as line:
            for event in self._pump.events(lambda: self.loading(plan)):
                if isinstance(event, LoadProgress):
                    if time.monotonic() - began_s > _SHOW_LOAD_AFTER_S:
                        line.draw(progress_text(event.fraction, model))
                elif isinstance(event, LoadNote):
                    line.wipe()
                    note(event.text)
                elif isinstance(event, PromptProgress):
                    line.draw(proving_text(event))
                elif isinstance(event, Loaded):
                    return event
                elif isinstance(event, Failed | Died):
                    if self.interrupts.stopped:
                        raise KeyboardInterrupt
                    raise failure(event)
        raise AssertionError("a load ends with its model, or with an error")

    def switch(self, name: str) -> Loaded:
        """Load another model and go on with it; the old one stays the choice when that fails."""
        before = self.obtained
        self.choose(self._obtain(name))
        try:
            return self.load()
        except BaseException:
            self.choose(before, is_fresh=False)
            raise

    def answer(
        self, view: View, *, again: bool = False, completion: CompletionRequest | None = None
    ) -> Answer:
        """Answer the conversation and show the answer while it comes, see ``Chat.turn``.

        With ``completion`` that is asked instead. Raises KeyboardInterrupt when the user left in
        the middle; the partial answer is kept.
        """
        turn = self.turn(again=again) if completion is None else self.completion(completion)
        try:
            with self.interrupts.handled():
                try:
                    for event in self._pump.events(turn.ask):
                        if event is None:
                            view.tick()
                        else:
                            turn.answer.take(event)
                            view.show(event)
                finally:
                    view.end()
        finally:
            turn.end()
        return turn.answer
