"""Slash commands and settings, on a real chat that has loaded nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from localllm.cli.chat.commands import ALIASES, COMMANDS, run_command
from localllm.cli.chat.prompt import CommandCompleter, goes_on, unquoted
from localllm.cli.chat.state import TerminalChat
from localllm.cli.obtaining import obtain
from localllm.core.generation import Sampling
from localllm.core.policy import Policy
from localllm.errors import IntegrityError, NotFoundError, UsageError
from localllm.records.conversations import ConversationStore
from localllm.records.entries import Entry
from localllm.session import Session
from localllm.talking.chat import now_text
from localllm.talking.obtained import Obtained
from localllm.talking.settings import SETTINGS, Settings


@pytest.fixture
def chat(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> TerminalChat:
    monkeypatch.chdir(state_dir)
    store = ConversationStore(state_dir / "conversations")
    session = Session()

    def obtained(name: str) -> Obtained:
        return obtain(session, name, Policy(), yes=True)

    return TerminalChat(
        session=session,
        store=store,
        conversation=store.start(model="demo", now=datetime(2026, 11, 21)),
        obtained=obtained("demo"),
        obtain=obtained,
        settings=Settings(),
    )


def run(chat: TerminalChat, line: str) -> list[str]:
    written: list[str] = []
    run_command(chat, line, written.append)
    return written


def answered(chat: TerminalChat, text: str = "yes") -> None:
    chat.say("really?")
    chat.conversation.append(Entry(role="assistant", content=text, time=now_text()))


def test_help_names_every_command(chat: TerminalChat) -> None:
    text = "\n".join(run(chat, "/help"))
    assert all(f"/{name}" in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/hlep", "Did you mean /help?"),
        ("/sa", "Did you mean /save?"),
        ("/regenrate", "Did you mean /regen?"),
        ("/xyzzy", "/help lists them."),
        ("/", "/help lists them."),
    ],
)
def test_a_mistyped_command_names_the_nearest(chat: TerminalChat, typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        run_command(chat, typed, print)
    assert error.value.hint == hint


def test_every_alias_leads_to_a_command() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)


@pytest.mark.parametrize("line", ["/exit", "/bye", "/EXIT", "/quit "])
def test_leaving(chat: TerminalChat, line: str) -> None:
    assert run_command(chat, line, print) == "leave"


def test_set_changes_what_the_next_answer_is_asked_with(chat: TerminalChat) -> None:
    assert run(chat, "/set temp 0.2") == ["  temp 0.2"]
    run(chat, "/set top-k=7")
    run(chat, "/set max_tokens 50")
    run(chat, "/set think off")
    assert chat.settings.sampling == Sampling(temperature=0.2, top_k=7)
    assert chat.settings.max_tokens == 50
    assert chat.settings.template_kwargs == {"enable_thinking": False, "thinking": False}
    assert run(chat, "/set temp") == ["  temp 0.2"]


def test_set_lists_every_setting_with_its_value(chat: TerminalChat) -> None:
    lines = run(chat, "/set")
    assert len([line for line in lines if line.split()[:1] and line.split()[0] in SETTINGS]) == (
        len(SETTINGS)
    )


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("/set tempp 1", "There is no setting 'tempp'.", "Did you mean temp"),
        ("/set temp hot", "temp: 'hot' is not a number from 0 to 5.", None),
        ("/set temp nan", "temp: 'nan' is not a number from 0 to 5.", None),
        ("/set top_k -1", "top_k: '-1' is not a whole number from 0 to 10000000.", None),
        ("/set context_shift maybe", "context_shift: 'maybe' is neither on nor off.", None),
    ],
)
def test_a_wrong_setting_says_what_is_right(
    chat: TerminalChat, line: str, message: str, hint: str | None
) -> None:
    before = chat.settings
    with pytest.raises(UsageError) as error:
        run_command(chat, line, print)
    assert error.value.message == message
    assert (error.value.hint or "").startswith(hint or "")
    assert chat.settings == before


def test_the_system_prompt_can_be_set_shown_and_removed(chat: TerminalChat) -> None:
    assert run(chat, "/system") == ["  There is no system prompt."]
    assert run(chat, "/system Be brief.") == ["  system prompt: Be brief."]
    answered(chat)
    run(chat, "/system Be long.")
    assert [m.content for m in chat.messages] == ["Be long.", "really?", "yes"]
    run(chat, "/system none")
    assert [m.role for m in chat.messages] == ["user", "assistant"]


def test_clear_begins_anew_and_keeps_the_old(chat: TerminalChat) -> None:
    run(chat, "/system Be brief.")
    answered(chat)
    old = chat.conversation.header.id
    assert run(chat, "/clear") == [f"  A new conversation. The last one is kept: /load {old}"]
    assert [m.content for m in chat.messages] == ["Be brief."]
    assert run_command(chat, f"/load {old}", print) == "replay"
    assert [m.content for m in chat.messages] == ["Be brief.", "really?", "yes"]


def test_load_lists_and_finds_by_the_beginning(chat: TerminalChat) -> None:
    assert run(chat, "/load")[0] == "  No conversation has been kept yet."
    answered(chat)
    run(chat, "/clear")
    (line, _) = run(chat, "/load")
    assert line.split()[0] == chat.store.ids()[0]
    assert line.endswith("2 messages  really?")
    with pytest.raises(NotFoundError):
        run_command(chat, "/load 1999", print)


def test_save_writes_both_formats_and_never_over_a_file_unasked(chat: TerminalChat) -> None:
    with pytest.raises(UsageError, match="nothing to save"):
        run_command(chat, "/save a.md", print)
    answered(chat)
    run(chat, "/save a.md")
    assert "really?" in Path("a.md").read_text()
    with pytest.raises(UsageError) as error:
        run_command(chat, "/save a.md", print)
    assert error.value.hint == "/save -f a.md replaces it."
    run(chat, "/save -f a.md")
    with pytest.raises(UsageError, match="neither Markdown nor JSON Lines"):
        run_command(chat, "/save a.txt", print)
    run(chat, "/save b.jsonl")
    run(chat, "/clear")
    assert run_command(chat, "/load b.jsonl", print) == "replay"
    assert [m.content for m in chat.messages] == ["really?", "yes"]
    assert run(chat, "/save")[0].startswith("  saved to 2026")


def test_load_of_a_foreign_file_changes_nothing(chat: TerminalChat) -> None:
    answered(chat)
    Path("x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(IntegrityError):
        run_command(chat, "/load x.jsonl", print)
    assert [m.content for m in chat.messages] == ["really?", "yes"]


def test_regen_needs_a_question(chat: TerminalChat) -> None:
    with pytest.raises(UsageError, match="nothing to answer again"):
        run_command(chat, "/regen", print)
    answered(chat)
    assert run_command(chat, "/regen", print) == "regenerate"


def test_a_model_that_does_not_exist_leaves_the_old_one(chat: TerminalChat) -> None:
    with pytest.raises(NotFoundError):
        run_command(chat, "/model /no/such.gguf", print)
    assert chat.model_name == "demo"


def test_stats_without_an_answer_invents_no_figures(chat: TerminalChat) -> None:
    text = "\n".join(run(chat, "/stats"))
    assert "last answer   none yet" in text
    assert "power" not in text, "nothing is loaded: nobody knows whose watts"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("one line", False),
        ("ends in a backslash \\", True),
        ('"""', True),
        ('"""open block', True),
        ('"""open\nblock"""', False),
        ('"""""', True),
    ],
)
def test_when_enter_begins_a_new_line(text: str, more: bool) -> None:
    assert goes_on(text) is more


def test_a_block_loses_its_quotes_and_nothing_else() -> None:
    assert unquoted('"""\n  two\nlines\n"""') == "  two\nlines"
    assert unquoted(' say """hi""" ') == 'say """hi"""'


def test_completion_offers_commands_settings_and_values() -> None:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    completer = CommandCompleter(lambda: ["20261121-1", "20261120-2"])

    def offered(text: str) -> list[str]:
        document = Document(text, len(text))
        return [c.text for c in completer.get_completions(document, CompleteEvent())]

    assert offered("/s") == ["/set", "/system", "/stats", "/save"]
    assert offered("/set to") == ["top_k", "top_p"]
    assert offered("/set think o") == ["on", "off"]
    assert offered("/load 202611")[:2] == ["20261121-1", "20261120-2"]
    assert offered("hello /s") == []
