"""The store of conversations, on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path

import pytest

from localllm.core.generation import Message, RunStats
from localllm.errors import IntegrityError, NotFoundError, UsageError
from localllm.records.conversations import ConversationStore
from localllm.records.entries import Entry, Header, entry_line, messages_of, parse
from localllm.records.export import markdown, read, save

NOW = datetime(2026, 11, 21, 14, 35, 2)
TIME = "2026-11-21T14:35:02+00:00"
STATS = RunStats(
    n_prompt=12, n_cached=4, n_gen=3, prompt_s=0.5, tg_s=0.25, ttft_s=0.6,
    n_ctx=512, n_ctx_used=15, seed=7,
)  # fmt: skip


def user(text: str, *, replaces_last: bool = False) -> Entry:
    return Entry(role="user", content=text, time=TIME, replaces_last=replaces_last)


def assistant(text: str, **more: object) -> Entry:
    return Entry(role="assistant", content=text, time=TIME, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path / "state" / "conversations")


def test_an_empty_conversation_leaves_no_file(store: ConversationStore) -> None:
    conversation = store.start(model="demo", now=NOW, system="Be brief.")
    conversation.set_system("Be long.", time=TIME)
    conversation.close()
    assert not store.root.exists()
    assert store.ids() == ()


def test_what_was_said_comes_back_with_reasoning_and_figures(store: ConversationStore) -> None:
    first = store.start(model="demo", now=NOW, system="Be brief.")
    said = [
        user("one\ntwo \u2028 three"),
        assistant("four", reasoning="hm", finish_reason="stop", stats=STATS, model="demo"),
    ]
    for entry in said:
        first.append(entry)
    first.close()
    again = store.open(first.header.id[:15])
    assert list(again.entries) == said
    assert again.header == first.header
    assert again.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="one\ntwo \u2028 three"),
        Message(role="assistant", content="four", reasoning="hm"),
    )
    again.close()


def test_every_message_is_on_disk_as_soon_as_it_is_said(store: ConversationStore) -> None:
    conversation = store.start(model="demo", now=NOW)
    conversation.append(user("first"))
    assert conversation.path is not None
    assert len(conversation.path.read_text().splitlines()) == 2  # the header and the question
    conversation.append(assistant("partial", finish_reason="died"))
    line = json.loads(conversation.path.read_text().splitlines()[-1])
    assert (line["content"], line["finish_reason"]) == ("partial", "died")
    conversation.close()


def test_only_the_owner_can_read_it(store: ConversationStore) -> None:
    conversation = store.start(model="demo", now=NOW)
    old = os.umask(0)
    try:
        conversation.append(user("secret"))
    finally:
        os.umask(old)
    assert conversation.path is not None
    assert conversation.path.stat().st_mode & 0o777 == 0o600
    assert store.root.stat().st_mode & 0o777 == 0o700
    conversation.close()


@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_a_line_torn_by_a_crash_is_skipped_and_does_not_swallow_the_next(
    store: ConversationStore, cut: int
) -> None:
    conversation = store.start(model="demo", now=NOW)
    for entry in (user("one"), assistant("two"), user("three"), assistant("torn answer here")):
        conversation.append(entry)
    conversation.close()
    assert conversation.path is not None
    data = conversation.path.read_bytes()
    conversation.path.write_bytes(data[:-cut])
    again = store.open()
    whole = cut == 1  # only the newline is missing: the line itself is complete
    assert again.n_bad_lines == (0 if whole else 1)
    assert [e.content for e in again.entries][:3] == ["one", "two", "three"]
    again.append(assistant("said after the crash"))
    again.close()
    assert conversation.path is not None
    reread = parse(conversation.path.read_bytes())
    assert reread.entries[-1].content == "said after the crash"
    assert len(reread.entries) == (5 if whole else 4)


def test_a_conversation_cannot_be_open_in_two_chats(store: ConversationStore) -> None:
    conversation = store.start(model="demo", now=NOW)
    conversation.append(user("mine"))
    name = conversation.header.id
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from localllm.errors import UsageError
        from localllm.records.conversations import ConversationStore
        try:
            ConversationStore(Path({str(store.root)!r})).open({name!r})
        except UsageError as error:
            print(error.message)
        """
    )
    ask = [sys.executable, "-c", code]
    refused = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert refused.stdout.strip() == f"The conversation {name} is open in another chat."
    conversation.close()
    allowed = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert allowed.stdout == ""


def test_the_conversation_used_last_is_resumed(store: ConversationStore) -> None:
    names = []
    for day in (1, 2, 3):
        conversation = store.start(model=f"m{day}", now=datetime(2026, 11, day))
        conversation.append(user(f"question {day}"))
        conversation.close()
        names.append(conversation.header.id)
        os.utime(store.root / f"{names[-1]}.jsonl", (day, day))
    os.utime(store.root / f"{names[0]}.jsonl", (9, 9))
    assert store.ids() == (names[0], names[2], names[1])
    again = store.open()
    assert again.header.id == names[0]
    again.close()
    assert [s.title for s in store.summaries(2)] == ["question 1", "question 3"]


def test_an_unknown_or_ambiguous_id_names_the_candidates(store: ConversationStore) -> None:
    with pytest.raises(NotFoundError, match="no conversation to resume"):
        store.open()
    for _ in range(2):
        conversation = store.start(model="demo", now=NOW)
        conversation.append(user("x"))
        conversation.close()
    with pytest.raises(UsageError) as ambiguous:
        store.open("20261121")
    assert ambiguous.value.message == "2 conversations begin with '20261121'."
    with pytest.raises(NotFoundError) as unknown:
        store.open("20261121-143509")
    assert unknown.value.hint is not None
    assert conversation.header.id in unknown.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{}", b"[1]\n", b'{"schema":"other/1"}\n', b"\xff\xfe\n", b"[" * 100_000]
)
def test_a_foreign_file_is_refused(store: ConversationStore, data: bytes) -> None:
    store.root.mkdir(parents=True)
    (store.root / "x.jsonl").write_bytes(data)
    with pytest.raises(IntegrityError):
        store.open("x")
    assert store.summaries() == ()


def test_lines_edited_by_hand_are_skipped_and_counted() -> None:
    lines = [
        '{"schema":"localllm.conversation/1","id":"a","created":"","model":"m"}',
        '{"role":"user","content":"kept"}',
        '{"role":"wizard","content":"?"}',
        '{"role":"user"}',
        '{"role":"user","content":7}',
        "not json",
        '{"role":"assistant","content":"kept too","stats":{"n_gen":"many"}}',
    ]
    transcript = parse("\n".join(lines).encode())
    assert [e.content for e in transcript.entries] == ["kept", "kept too"]
    assert transcript.entries[1].stats is None
    assert transcript.n_bad_lines == 4


def test_a_file_that_only_grows_still_says_what_counts() -> None:
    header = Header(id="a", created="", model="m", system="old")
    entries = [
        user("asked, never answered"),
        user("asked again"),
        assistant("first try"),
        assistant("second try", replaces_last=True),
        Entry(role="system", content="new", time=TIME),
        user("last"),
    ]
    assert [(m.role, m.content) for m in messages_of(header, entries)] == [
        ("system", "new"),
        ("user", "asked again"),
        ("assistant", "second try"),
        ("user", "last"),
    ]


def test_a_question_that_was_changed_takes_its_answer_along(
    store: ConversationStore, tmp_path: Path
) -> None:
    conversation = store.start(model="demo", now=NOW, system="Be brief.")
    for entry in (
        user("first"),
        assistant("one"),
        user("secnd"),
        assistant("what?"),
        assistant("pardon?", replaces_last=True),
        Entry(role="system", content="Be long.", time=TIME),
        user("second", replaces_last=True),
        assistant("two"),
    ):
        conversation.append(entry)
    assert [(m.role, m.content) for m in conversation.messages] == [
        ("system", "Be long."),
        ("user", "first"),
        ("assistant", "one"),
        ("user", "second"),
        ("assistant", "two"),
    ]
    save(conversation, tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## System", "## You", "## Model", "## System", "## You", "## Model",
    ]  # fmt: skip
    assert "secnd" not in text and "pardon?" not in text
    conversation.append(user("a third", replaces_last=True))
    assert [m.content for m in conversation.messages] == ["Be long.", "first", "one", "a third"]
    conversation.close()


def test_the_first_question_can_be_changed() -> None:
    header = Header(id="a", created="", model="m")
    entries = [user("hw?"), assistant("?"), user("how?", replaces_last=True)]
    assert [m.content for m in messages_of(header, entries)] == ["how?"]
    assert [m.content for m in messages_of(header, entries[2:])] == ["how?"]


def test_a_full_disk_loses_no_message_in_memory(store: ConversationStore, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    conversation = store.start(model="demo", now=NOW)
    with pytest.raises(OSError):
        conversation.append(user("said"))
    conversation.forget_file()
    conversation.append(assistant("answered"))
    assert [m.content for m in conversation.messages] == ["said", "answered"]


def test_text_that_is_no_utf_8_is_written_all_the_same(store: ConversationStore) -> None:
    conversation = store.start(model="demo", now=NOW)
    conversation.append(user("a \udcff b"))
    conversation.close()
    again = store.open()
    assert again.entries[0].content == "a ? b"
    again.close()


def test_a_saved_copy_reads_back_and_as_markdown_it_reads_well(
    store: ConversationStore, tmp_path: Path
) -> None:
    conversation = store.start(model="demo", now=NOW, system="Be brief.")
    for entry in (
        user("Why?"),
        assistant("No.", model="demo"),
        assistant("Because", reasoning="hm", finish_reason="cancelled", replaces_last=True),
    ):
        conversation.append(entry)
    save(conversation, tmp_path / "c.jsonl")
    assert read(tmp_path / "c.jsonl").entries == tuple(conversation.entries)
    save(conversation, tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text()
    assert text.startswith("# Conversation with demo\n")
    assert "## System\n\nBe brief.\n" in text
    assert "## You\n\nWhy?\n" in text
    assert "Because\n\n*(stopped by the user)*" in text
    assert "<summary>Reasoning</summary>" in text
    assert "No." not in text
    conversation.close()
    assert markdown(read(tmp_path / "c.jsonl")) == text


def test_unknown_figures_are_left_out_of_the_line() -> None:
    assert json.loads(entry_line(user("x"))) == {"role": "user", "content": "x", "time": TIME}
    line = json.loads(entry_line(assistant("x", stats=STATS)))
    assert line["stats"]["tg_tok_s"] == (3 - 1) / 0.25
    assert line["stats"]["pp_tok_s"] == (12 - 4) / 0.5
