"""The kept conversations: found by what was said in them, gone on with, deleted."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.timer import Timer

from localllm.errors import LocalLLMError
from localllm.tui.chat.ask import AskDialog
from localllm.tui.chat.pick import Choice, PickDialog
from localllm.tui.threads import called
from localllm.words.conversations import age
from localllm.words.loads import short_name

if TYPE_CHECKING:
    from localllm.session import ConversationStore, Summary

SHOWN = 200
"""Conversations in the list; words find the others."""
_TYPING_S = 0.1
"""Between two keys of somebody who types."""


class ConversationsDialog(PickDialog[str]):
    """Its result is the id of the conversation to go on with."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+d",
            "delete",
            "Delete",
            priority=True,
            id="conversations.delete",
            tooltip="Delete the conversation under the cursor, after a question",
        ),
    ]

    def __init__(self, store: ConversationStore, *, current: str | None) -> None:
        """Take where they are kept. ``current``: the id of the one that is open."""
        super().__init__("Conversations", placeholder="words that were said")
        self._store, self._current = store, current
        self._query = ""
        self.searches = False
        """Whether the list is still of other words than are typed."""
        self._waits: Timer | None = None

    @property
    def keys(self) -> str:
        """What the keys do."""
        return "enter goes on with it · ctrl+d deletes it · escape leaves"

    def narrow(self, query: str) -> None:
        """Look for the words once nothing more is typed for a moment."""
        self._query, self.searches = query, True
        if self._waits is not None:
            self._waits.stop()
        if query:
            self._waits = self.set_timer(_TYPING_S, self._search)
        else:
            self._search()

    @work(group="search", exclusive=True)
    async def _search(self) -> None:
        query = self._query
        if not self.choices:
            self.show((), said="… looking")
        rows = await called(lambda: tuple(itertools.islice(self._store.search(query), SHOWN)))
        now_s = time.time()
        none = (
            "In no conversation was all of this said."
            if query.strip()
            else "No conversation has been kept yet: each is, from its first question on."
        )
        self.show([self._choice(row, now_s) for row in rows], said=none)
        self.searches = False

    def _choice(self, row: Summary, now_s: float) -> Choice[str]:
        n = row.n_messages
        facts = [age(now_s - row.modified_s), f"{n} message{'s' * (n != 1)}", short_name(row.model)]
        if row.id == self._current:
            facts.insert(0, "open now")
        if row.excerpt is not None:
            facts.append(f"“{row.excerpt}”")
        return Choice(row.id, row.title or row.id, " · ".join(facts))

    @work(group="delete", exclusive=True)
    async def action_delete(self) -> None:
        """Delete what is under the cursor, if the person is sure."""
        chosen = self.chosen
        if chosen is None:
            return
        if chosen.value == self._current:
            self._tell("The conversation that is open stays; ctrl+n begins another one first.")
            return
        question = f"Delete “{chosen.title}”? It cannot be brought back."
        if not await self.app.push_screen_wait(AskDialog(question, yes="Delete", no="Keep")):
            return
        try:
            await called(lambda: self._store.delete(chosen.value))
        except LocalLLMError as error:
            self._tell(error.message)
        self._search()

    def _tell(self, text: str) -> None:
        self.app.notify(text, title="Conversations", severity="warning", markup=False)
