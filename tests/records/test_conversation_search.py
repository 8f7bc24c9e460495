"""Kept conversations found again by what was said in them, and deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from localllm.errors import NotFoundError, UsageError
from localllm.records.conversations import ConversationStore
from localllm.records.entries import Entry
from tests.records.test_conversations import assistant, user


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path / "conversations")


def kept(store: ConversationStore, day: int, *entries: Entry) -> str:
    """Keep a conversation of a day of November, last used then, and return its id."""
    conversation = store.start(model="demo", now=datetime(2026, 11, day))
    for entry in entries:
        conversation.append(entry)
    conversation.close()
    stamp = datetime(2026, 11, day).timestamp()
    os.utime(store.root / f"{conversation.header.id}.jsonl", (stamp, stamp))
    return conversation.header.id


def found(store: ConversationStore, query: str) -> Sequence[str]:
    return [row.id for row in store.search(query)]


def test_every_word_must_have_been_said_in_any_case_and_anywhere(store: ConversationStore) -> None:
    ropes = kept(store, 1, user("What is RoPE scaling?"), assistant("Each pair is rotated."))
    sails = kept(store, 2, user("Which rope holds a sail?"), assistant("A sheet."))
    assert found(store, "rope") == [sails, ropes]
    assert found(store, "  rotated\trope ") == [ropes]
    assert found(store, "ROPE rotated sail") == []
    assert found(store, "") == [sails, ropes]


def test_an_excerpt_shows_the_first_word_among_others(store: ConversationStore) -> None:
    kept(store, 1, user("Tell me\n\nof " + "many " * 20 + "WHALES and " + "more " * 30))
    (row,) = store.search("whales")
    assert row.excerpt is not None
    assert row.excerpt.startswith("…") and row.excerpt.endswith("…")
    assert "many WHALES and more" in row.excerpt
    assert "\n" not in row.excerpt and len(row.excerpt) < 100
    assert next(store.search("")).excerpt is None
    assert row.title == "Tell me of " + ("many " * 20)[:49]


def test_what_was_replaced_or_only_thought_is_not_found(store: ConversationStore) -> None:
    kept(
        store,
        1,
        user("first version"),
        assistant("bad", reasoning="secret"),
        assistant("good", replaces_last=True),
    )
    kept(store, 2, user("typo"), assistant("odd"), user("right", replaces_last=True))
    for query in ("bad", "secret", "typo", "odd", "role", "demo", "2026"):
        assert found(store, query) == [], query
    assert len(found(store, "good")) == len(found(store, "right")) == 1
    assert [row.title for row in store.search("")] == ["right", "first version"]


@pytest.mark.parametrize("word", ['say"hi"', "C:\\new", "STRASSE", "été", "日本", "it's"])
def test_words_are_found_however_json_writes_them(store: ConversationStore, word: str) -> None:
    name = kept(store, 1, user(f"before {word} after".replace("STRASSE", "Straße")))
    assert found(store, word.upper()) == [name]
    path = store.root / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))  # all escaped
    assert found(store, word) == [name]


def test_a_file_that_is_no_conversation_is_left_out(store: ConversationStore) -> None:
    name = kept(store, 1, user("whales"))
    (store.root / "broken.jsonl").write_text("whales\n")
    assert found(store, "whales") == found(store, "") == [name]


def test_a_deleted_conversation_is_gone_and_an_open_one_stays(store: ConversationStore) -> None:
    name = kept(store, 1, user("x"))
    opened = store.open(name)
    with pytest.raises(UsageError, match="open in another chat"):
        store.delete(name)
    assert found(store, "") == [name]
    opened.close()
    store.delete(name)
    assert found(store, "") == []
    for gone in (name, "../conversations/x"):
        with pytest.raises(NotFoundError):
            store.delete(gone)
