"""The line that a person types on: editing, history, several lines, completion; and the status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Always, Condition
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from localllm.cli.chat.commands import ALIASES, COMMANDS
from localllm.cli.chat.status import status_row
from localllm.talking.settings import SETTINGS
from localllm.words.status import Status

PROMPT = "❯ "  # noqa: RUF001  (the prompt sign, not a quotation mark)
_QUOTES = '"""'
_STYLE = Style.from_dict(
    {
        "prompt": "bold ansicyan",
        "bottom-toolbar": "noreverse",
        "bottom-toolbar.text": "noreverse",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "bg:default fg:ansicyan bold",
        "completion-menu.meta.completion": "bg:default fg:ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default fg:ansicyan",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:ansibrightblack",
    }
)


class Prompt:
    """Asks for one message at a time."""

    def __init__(
        self,
        *,
        history_path: Path | None,
        status: Callable[[], Status],
        conversation_ids: Callable[[], Sequence[str]],
    ) -> None:
        """Take where typed lines are kept (None: nowhere) and what the status line shows."""
        history: History = (
            FileHistory(str(history_path)) if history_path is not None else InMemoryHistory()
        )
        self._session: PromptSession[str] = PromptSession(
            message=[("class:prompt", PROMPT)],
            prompt_continuation=[("", "  ")],
            multiline=True,
            key_bindings=_bindings(),
            completer=CommandCompleter(conversation_ids),
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            reserve_space_for_menu=len(COMMANDS) + 1,
            history=history,
            enable_open_in_editor=True,
            enable_suspend=True,
            tempfile_suffix=".md",
            bottom_toolbar=lambda: ANSI(
                status_row(status(), get_app().output.get_size().columns).ansi
            ),
            style=_STYLE,
        )
        # The status belongs under the text, where it also is while an answer is written.
        self._session.layout.current_window.dont_extend_height = Always()

    def ask(self) -> str:
        """Return what was typed, without the quotes of a block.

        Raises EOFError for Ctrl-D and KeyboardInterrupt for Ctrl-C, both on an empty line.
        """
        text = self._session.prompt()
        return unquoted(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def unquoted(text: str) -> str:
    """Return a text without the triple quotes around it, if it begins with them."""
    stripped = text.strip()
    if not stripped.startswith(_QUOTES):
        return stripped
    return stripped.removeprefix(_QUOTES).removesuffix(_QUOTES).strip("\n")


def goes_on(text: str) -> bool:
    """Whether a text is not complete at its end: an open block, or a final backslash."""
    stripped = text.strip()
    if stripped.startswith(_QUOTES):
        return len(stripped) < 6 or not stripped.endswith(_QUOTES)
    return text.endswith("\\")


def _bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif buffer.document.is_cursor_at_the_end and goes_on(buffer.text):
            if buffer.text.endswith("\\"):
                buffer.delete_before_cursor(1)
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _newline(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

    return keys


class CommandCompleter(Completer):
    """Completes commands, settings and their values, conversations and files."""

    def __init__(self, conversation_ids: Callable[[], Sequence[str]]) -> None:
        """Take what lists the conversations."""
        self._conversation_ids = conversation_ids
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what the word before the cursor can become."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        word, space, rest = text.partition(" ")
        if not space:
            for name, command in COMMANDS.items():
                if name.startswith(word[1:].lower()):
                    yield Completion(
                        "/" + name, start_position=-len(word), display_meta=command.help
                    )
            return
        name = ALIASES.get(word[1:], word[1:])
        if name == "set":
            yield from _settings(rest)
        elif name == "load" and "/" not in rest:
            yield from _words(rest, self._conversation_ids())
        elif name == "model" and "demo".startswith(rest):
            yield from _words(rest, ("demo",))
        if name in ("save", "load", "model"):
            path = Document(rest, len(rest))
            yield from self._paths.get_completions(path, complete_event)


def _settings(rest: str) -> Iterable[Completion]:
    name, space, value = rest.partition(" ")
    if space:
        if name in SETTINGS:
            yield from _words(value, SETTINGS[name].words)
        return
    for each, setting in SETTINGS.items():
        if each.startswith(name):
            yield Completion(each, start_position=-len(name), display_meta=setting.help)


def _words(typed: str, words: Iterable[str]) -> Iterable[Completion]:
    for word in words:
        if word.startswith(typed):
            yield Completion(word, start_position=-len(typed))
