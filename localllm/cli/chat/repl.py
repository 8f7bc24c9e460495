"""The conversation at a terminal: prompt, answer, prompt, until the person leaves."""

from __future__ import annotations

import sys
import time
from functools import partial

from rich.text import Text

from localllm.cli.chat import report
from localllm.cli.chat.commands import run_command
from localllm.cli.chat.live import LiveRegion
from localllm.cli.chat.markdown import MarkdownStream
from localllm.cli.chat.prompt import PROMPT, Prompt
from localllm.cli.chat.state import TerminalChat
from localllm.cli.chat.styled import row, wrap, wrap_columns
from localllm.cli.chat.terminal import Leave, quiet_keyboard, rich_terminal
from localllm.cli.chat.view import stdout_view
from localllm.cli.output import note, show_error
from localllm.core.generation import Died
from localllm.core.text import safe
from localllm.errors import LocalLLMError
from localllm.session import input_history_path
from localllm.talking.figures import status_of
from localllm.talking.turn import Answer
from localllm.words.conversations import changes_since
from localllm.words.failures import failure

_TWICE_S = 2.0


class Repl:
    """The loop. ``run`` returns when the person leaves."""

    def __init__(self, chat: TerminalChat) -> None:
        """Take a chat whose model is loaded."""
        self._chat = chat
        self._rich = rich_terminal()
        self._prompt = Prompt(
            history_path=input_history_path(),
            status=partial(status_of, chat),
            conversation_ids=chat.store.ids,
        )

    def run(self) -> None:
        """Talk until Ctrl-D, ``/exit`` or the second Ctrl-C."""
        chat = self._chat
        name, *rest = report.model_line(chat).partition(" · ")
        self._dim("".join(rest), before=name)
        self._dim(report.load_line(chat))
        self._dim("/help lists the commands · Ctrl-C stops an answer · Ctrl-D leaves")
        self._show_warnings()
        if chat.conversation.entries:
            self._show_changes()
            self._replay()
        while True:
            try:
                print()
                text = self._prompt.ask()
                if text and not self._handle(text):
                    break
            except (EOFError, Leave):
                break
            except LocalLLMError as error:
                show_error(error)
            except KeyboardInterrupt:
                if self._twice():
                    break
                self._dim("Ctrl-C again, or Ctrl-D, leaves")
        self._say_goodbye()

    def _twice(self) -> bool:
        """Whether this Ctrl-C follows another one, which may have stopped an answer."""
        now_s = time.monotonic()
        before_s, self._chat.interrupts.at_s = self._chat.interrupts.at_s, now_s
        return now_s - before_s < _TWICE_S

    def _handle(self, text: str) -> bool:
        """Take one message; return whether to go on."""
        if not text.startswith("/"):
            self._chat.say(text)
            self._answer(again=False)
            return True
        model = self._chat.session.model
        outcome = run_command(self._chat, text, self._write)
        if self._chat.session.model is not model:
            self._show_warnings()
        if outcome == "regenerate":
            self._answer(again=True)
        elif outcome == "replay":
            self._replay()
        return outcome != "leave"

    def _answer(self, *, again: bool) -> None:
        chat = self._chat
        if chat.needs_load:
            self._reload()
        answer = self._ask(again=again)
        if isinstance(answer.fault, Died) and answer.fault.phase == "idle" and not answer.content:
            note(safe(answer.fault.message))
            self._reload()
            answer = self._ask(again=again)
        self._show_ending(answer)

    def _ask(self, *, again: bool) -> Answer:
        chat = self._chat
        print()
        view = stdout_view(
            status_of(chat),
            chat.settings.reasoning,
            rich=self._rich and chat.settings.markdown,
            live=chat.live,
        )
        with quiet_keyboard(view.start_below):
            return chat.answer(view, again=again)

    def _reload(self) -> None:
        self._dim("loading the model again")
        self._chat.load()

    def _show_ending(self, answer: Answer) -> None:
        chat = self._chat
        ending = report.ending(answer, chat)
        figures = report.footer(answer, chat.session.plan) if chat.settings.footer else None
        if answer.fault is not None:
            print()
            show_error(failure(answer.fault))
            if isinstance(answer.fault, Died):
                kept = "What was said is kept" if answer.content else "Your question is kept"
                note(f"{kept}. /regen answers it anew.")
            if chat.lesson is not None:
                note(safe(chat.lesson))
        if ending or figures:
            print()
            self._dim("— " + " · ".join(part for part in (ending, figures) if part))
        self._show_write_error()

    def _show_write_error(self) -> None:
        error = self._chat.write_error()
        if error is not None:
            note(f"This conversation is no longer being kept: {error}.")
        problem = self._chat.session.measuring.problem()
        if problem is not None:
            note(problem)

    def _show_warnings(self) -> None:
        loaded = self._chat.session.loaded
        for warning in loaded.warnings if loaded is not None else ():
            note(warning)

    def _show_changes(self) -> None:
        """Say what is not as it was when the conversation was kept."""
        chat = self._chat
        conversation, model = chat.conversation, chat.session.model
        for change in changes_since(
            conversation.header,
            n_bad_lines=conversation.n_bad_lines,
            model_name=chat.model_name,
            content_id=model.content_id if model is not None else None,
        ):
            note(change)

    def _replay(self) -> None:
        """Show where a conversation stands: its last question and answer."""
        messages = [m for m in self._chat.messages if m.role in ("user", "assistant")]
        n = len(messages)
        print()
        header = self._chat.conversation.header
        began = "" if header.model == self._chat.model_name else f", begun with {header.model}"
        self._dim(f"{header.id}: {n} message{'s' * (n != 1)} so far{began}")
        for message in messages[-2:]:
            print()
            text = safe(message.content.strip())
            if message.role == "user":
                mark = f"{row((PROMPT.rstrip(), 'bold cyan')).ansi} " if self._rich else PROMPT
                print(mark + text.replace("\n", "\n  "))
            elif self._rich:
                region, stream = LiveRegion(sys.stdout), MarkdownStream()
                stream.feed(text)
                stream.finish()
                region.paint(stream.final_rows(region.width, finished=True))
            else:
                print(text)

    def _say_goodbye(self) -> None:
        conversation = self._chat.conversation
        if conversation.entries and conversation.path is not None:
            self._dim(f"kept: localllm chat --resume {conversation.header.id}")

    def _write(self, line: str) -> None:
        """Write a line of a command; what does not fit goes on under its second column."""
        line = safe(line)
        if not self._rich or "\n" in line:
            print(line)
            return
        region = LiveRegion(sys.stdout)
        region.paint(wrap_columns(line, region.width))

    def _dim(self, text: str, *, before: str = "") -> None:
        if not self._rich:
            print(safe(before + text))
            return
        region = LiveRegion(sys.stdout)
        styled = Text.assemble((safe(before), "bold"), (safe(text), "dim"))
        region.paint(wrap(styled, region.width))
