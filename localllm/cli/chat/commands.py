"""The slash commands: what each does, and how a mistyped one is answered."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from localllm.cli.chat import report
from localllm.cli.chat.state import TerminalChat
from localllm.errors import LocalLLMError, UsageError
from localllm.session import read_conversation, save_conversation
from localllm.talking.settings import SETTINGS, changed, setting_name, value_text

Outcome = Literal["stay", "leave", "regenerate", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One slash command."""

    usage: str
    help: str
    run: Callable[[TerminalChat, str, Callable[[str], None]], Outcome]


def run_command(chat: TerminalChat, line: str, write: Callable[[str], None]) -> Outcome:
    """Run a line that begins with a slash. Raises LocalLLMError for what cannot be done."""
    word, _, rest = line.strip().partition(" ")
    name = word[1:].lower()
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None:
        near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=2, cutoff=0.5)
        starts = [c for c in COMMANDS if name and c.startswith(name)]
        offered = dict.fromkeys(ALIASES.get(c, c) for c in starts or near)
        offers = " or ".join(f"/{c}" for c in offered)
        raise UsageError(
            f"There is no command {word}.",
            hint=f"Did you mean {offers}?" if offers else "/help lists them.",
        )
    return command.run(chat, rest.strip(), write)


def _help(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    width = max(len(c.usage) for c in COMMANDS.values())
    for command in COMMANDS.values():
        write(f"  {command.usage:<{width}}  {command.help}")
    write("")
    for keys, what in KEYS.items():
        write(f"  {keys:<{width}}  {what}")
    return "stay"


def _set(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    name, _, value = rest.replace("=", " ", 1).partition(" ")
    value = value.strip()
    if not name:
        for each, setting in SETTINGS.items():
            write(f"  {each:<16} {value_text(chat.settings, each):<8}  {setting.help}")
        write("")
        write("  /set NAME VALUE changes one; /system TEXT changes the system prompt.")
        return "stay"
    if name.lower() == "system":
        return _system(chat, value, write)
    name = setting_name(name)
    if value:
        chat.settings = changed(chat.settings, name, value)
    write(f"  {name} {value_text(chat.settings, name)}")
    return "stay"


def _system(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    if rest:
        chat.system = None if rest.lower() == "none" else rest
    write(f"  system prompt: {chat.system}" if chat.system else "  There is no system prompt.")
    return "stay"


def _stats(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    for line in report.stats(chat):
        write(line)
    return "stay"


def _regen(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    if not chat.can_ask_again():
        raise UsageError("There is nothing to answer again yet.", hint="Ask something first.")
    return "regenerate"


def _clear(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    kept = chat.conversation
    chat.start_over()
    if kept.entries and kept.path is not None:
        write(f"  A new conversation. The last one is kept: /load {kept.header.id}")
    else:
        write("  A new conversation.")
    return "stay"


def _save(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    force = rest.startswith("-f ")
    name = rest.removeprefix("-f ").strip() or f"{chat.conversation.header.id}.md"
    path = Path(os.path.expanduser(name))
    if not chat.conversation.entries:
        raise UsageError("There is nothing to save yet.", hint="Ask something first.")
    if path.suffix.lower() not in (".md", ".markdown", ".jsonl"):
        raise UsageError(
            f"{name} says neither Markdown nor JSON Lines.",
            hint="End the name in .md to read it, or in .jsonl to /load it again.",
        )
    if path.exists() and not force:
        raise UsageError(f"{name} exists already.", hint=f"/save -f {name} replaces it.")
    try:
        save_conversation(chat.conversation, path)
    except OSError as error:
        raise LocalLLMError(f"{name} could not be written: {error.strerror}.") from error
    write(f"  saved to {path}")
    return "stay"


def _load(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    if not rest:
        open_id = chat.conversation.header.id
        rows = [s for s in chat.store.summaries() if s.id != open_id]
        for line in report.conversations(rows):
            write(line)
        if rows:
            write("  /load ID continues one; the beginning of the ID is enough.")
        return "stay"
    path = Path(os.path.expanduser(rest))
    if path.suffix == ".jsonl" and path.is_file():
        transcript = read_conversation(path)
        copy = chat.store.start(
            model=transcript.header.model,
            content_id=transcript.header.content_id,
            system=transcript.header.system,
            now=datetime.now(),
        )
        for entry in transcript.entries:
            copy.append(entry)
        chat.continue_with(copy)
        n_bad_lines = transcript.n_bad_lines
    else:
        if chat.conversation.header.id.startswith(rest) and chat.conversation.entries:
            raise UsageError("This is the conversation that is open.")
        chat.continue_with(chat.store.open(rest))
        n_bad_lines = chat.conversation.n_bad_lines
    if n_bad_lines:
        write(f"  {n_bad_lines} unreadable line(s) were skipped.")
    return "replay"


def _model(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    if not rest:
        write(f"  {chat.model_name}: {report.model_line(chat)}")
        return "stay"
    chat.switch(rest)
    write(f"  {report.model_line(chat)}")
    write(f"  {report.load_line(chat)}")
    return "stay"


def _exit(chat: TerminalChat, rest: str, write: Callable[[str], None]) -> Outcome:
    return "leave"


COMMANDS: dict[str, Command] = {
    "help": Command(usage="/help", help="show this", run=_help),
    "set": Command(usage="/set [NAME VALUE]", help="show or change how answers are made", run=_set),
    "system": Command(
        usage="/system [TEXT]",
        help="show or change the system prompt (none: no prompt)",
        run=_system,
    ),
    "stats": Command(
        usage="/stats", help="speed, context, memory planned and measured", run=_stats
    ),
    "regen": Command(usage="/regen", help="answer the last question again", run=_regen),
    "clear": Command(usage="/clear", help="begin a new conversation", run=_clear),
    "save": Command(usage="/save [FILE]", help="write it to a .md or .jsonl file", run=_save),
    "load": Command(
        usage="/load [ID|FILE]", help="list kept conversations, or continue one", run=_load
    ),
    "model": Command(
        usage="/model [NAME]", help="show or switch the model; the conversation stays", run=_model
    ),
    "exit": Command(usage="/exit", help="leave (also /bye, Ctrl-D)", run=_exit),
}
ALIASES = {
    "bye": "exit",
    "quit": "exit",
    "q": "exit",
    "?": "help",
    "h": "help",
    "regenerate": "regen",
    "retry": "regen",
    "new": "clear",
    "reset": "clear",
    "show": "stats",
}
KEYS = {
    "Enter": "send; Alt-Enter or a final backslash begins a new line",
    '"""': "begins and ends a text of several lines",
    "Ctrl-C": "stops an answer; twice leaves",
    "Ctrl-X Ctrl-E": "opens the line in $EDITOR",
}
