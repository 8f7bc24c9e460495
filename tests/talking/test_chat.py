"""A conversation without a terminal: asked, stopped, changed, resumed, and after a death."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from localllm.core.generation import Died, Event, Loaded, LoadProgress, TextDelta
from localllm.core.policy import Policy
from localllm.engine.client import EngineClient
from localllm.errors import DoesNotFitError, UsageError
from localllm.records.conversations import ConversationStore
from localllm.session import Session
from localllm.talking.chat import Chat
from localllm.talking.figures import status_of
from localllm.talking.obtained import obtained_at, reference
from localllm.talking.settings import Settings, changed
from localllm.talking.stats import stats
from localllm.talking.turn import Turn
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.processes import gone

GREEDY = changed(changed(Settings(), "temp", "0"), "max_tokens", "5")
ENDLESS = replace(GREEDY, max_tokens=None)


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Path:
    """Weights of zeros: a greedy answer never ends by itself."""
    return make_model(models_dir / "talking.gguf", shapes.TOY, quant="F16")


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineClient]:
    with EngineClient() as client:
        yield client


@pytest.fixture(scope="module")
def talking(
    model: Path, engine: EngineClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chat]:
    """One chat for all tests; each begins a conversation of its own."""
    store = ConversationStore(tmp_path_factory.mktemp("kept"))
    obtained = obtained_at(str(model), Policy(n_ctx=4096, n_threads=1))
    assert obtained is not None
    with Session(basis="formula", engine=engine) as session:
        chat = Chat(
            session=session,
            store=store,
            conversation=store.start(model=obtained.name, now=datetime(2026, 11, 21)),
            obtained=obtained,
            settings=GREEDY,
        )
        yield chat
        chat.close()


@pytest.fixture
def chat(talking: Chat) -> Chat:
    if talking.needs_load:
        load(talking)
    talking.system = None
    talking.start_over()
    talking.settings = GREEDY
    return talking


def load(chat: Chat) -> list[object]:
    return list(chat.loading(chat.plan_load()))


def finish(turn: Turn) -> list[Event]:
    return list(turn.events())


def contents(chat: Chat) -> list[str]:
    return [f"{message.role}: {message.content}" for message in chat.messages]


def test_a_load_tells_how_far_it_is_and_then_the_chat_is_ready(chat: Chat) -> None:
    events = load(chat)
    assert isinstance(events[-1], Loaded) and isinstance(events[0], LoadProgress)
    assert not chat.needs_load
    status = status_of(chat)
    assert (status.n_ctx, status.n_ctx_used, status.tok_s) == (4096, None, None)
    assert status.planned_bytes and status.measured_bytes


def test_an_answer_is_collected_kept_and_counted(chat: Chat) -> None:
    before = chat.totals
    chat.say("hello")
    turn = chat.turn()
    events = finish(turn)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert (turn.answer.content, turn.answer.reason) == (text, "length")
    assert contents(chat) == ["user: hello", f"assistant: {text}"]
    assert chat.conversation.entries[-1].stats == turn.answer.stats
    assert chat.totals.n_answers == before.n_answers + 1
    assert chat.totals.n_gen == before.n_gen + 5
    assert status_of(chat).n_ctx_used == turn.answer.stats.n_ctx_used  # type: ignore[union-attr]
    names = [name for name, _ in stats(chat)]
    assert names[:4] == ["last answer", "prompt", "context", "session"]
    assert names[-1] == "kept in"


def test_a_question_is_answered_again_in_place_of_the_first_answer(chat: Chat) -> None:
    assert not chat.can_ask_again()
    chat.say("hello")
    finish(chat.turn())
    chat.settings = changed(chat.settings, "max_tokens", "2")
    turn = chat.turn(again=True)
    finish(turn)
    assert contents(chat) == ["user: hello", f"assistant: {turn.answer.content}"]
    assert turn.answer.stats is not None and turn.answer.stats.n_gen == 2
    assert chat.conversation.entries[-1].replaces_last


def test_the_last_question_is_changed_and_what_came_before_stays(chat: Chat) -> None:
    assert chat.last_question is None
    chat.say("first")
    finish(chat.turn())
    chat.say("secnd")
    finish(chat.turn())
    assert chat.last_question == "secnd"
    chat.say_instead("second")
    finish(chat.turn())
    assert [line for line in contents(chat) if line.startswith("user")] == [
        "user: first",
        "user: second",
    ]
    assert len(contents(chat)) == 4


def test_a_stop_keeps_what_was_said_and_needs_no_load(chat: Chat) -> None:
    chat.settings = ENDLESS
    chat.say("hello")
    stop = threading.Event()
    turn = chat.turn(stop=stop)
    for event in turn.events():
        if isinstance(event, TextDelta) and event.n_tokens == 3:
            stop.set()
            chat.session.cancel()
    assert turn.answer.reason == "cancelled" and turn.answer.content
    assert not chat.needs_load
    assert contents(chat)[-1] == f"assistant: {turn.answer.content}"


def test_a_stop_before_the_request_is_not_forgotten(chat: Chat) -> None:
    """The engine knows no request yet that it could cancel."""
    chat.settings = ENDLESS
    chat.say("hello")
    stop = threading.Event()
    turn = chat.turn(stop=stop)
    stop.set()
    assert finish(turn) == []
    assert (turn.answer.reason, turn.answer.content) == ("cancelled", "")
    assert contents(chat) == ["user: hello"]
    stop.clear()
    asking = chat.turn(stop=stop).events()
    next(asking)
    stop.set()  # without a cancel, which may have come too early to be heard
    assert len(list(asking)) < 100
    assert list(chat.loading(chat.plan_load(), stop=stop)) == []


def test_who_stops_listening_stops_the_answer_and_it_is_kept(chat: Chat) -> None:
    chat.settings = ENDLESS
    chat.say("hello")
    turn = chat.turn()
    asking = turn.events()
    while not turn.answer.content:
        next(asking)
    asking.close()
    assert contents(chat)[-1] == f"assistant: {turn.answer.content}"
    chat.settings = GREEDY
    finish(chat.turn(again=True))
    assert chat.last is not None and chat.last.reason == "length"


def test_a_death_keeps_the_partial_answer_and_asks_for_a_load(
    chat: Chat, engine: EngineClient
) -> None:
    chat.settings = ENDLESS
    chat.say("hello")
    turn, pid = chat.turn(), engine.pid
    assert pid is not None
    for event in turn.events():
        if isinstance(event, TextDelta) and event.n_tokens == 3:
            os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert isinstance(turn.answer.fault, Died) and turn.answer.reason is None
    assert chat.needs_load and status_of(chat).phase == "not loaded"
    assert contents(chat)[-1] == f"assistant: {turn.answer.content}"
    assert chat.conversation.entries[-1].finish_reason == "died"
    load(chat)
    chat.settings = GREEDY
    finish(chat.turn(again=True))
    assert len(contents(chat)) == 2 and not chat.needs_load


def test_who_stops_an_answer_and_leaves_with_its_engine_has_stopped_it(
    chat: Chat, engine: EngineClient
) -> None:
    chat.settings = ENDLESS
    chat.say("hello")
    stop = threading.Event()
    turn, pid = chat.turn(stop=stop), engine.pid
    assert pid is not None
    for event in turn.events():
        if isinstance(event, TextDelta) and not stop.is_set():
            os.kill(pid, signal.SIGSTOP)  # it hears no cancellation any more
            stop.set()
            os.kill(pid, signal.SIGKILL)
    assert isinstance(turn.answer.fault, Died) and chat.needs_load
    assert chat.conversation.entries[-1].finish_reason == "cancelled"


def test_the_system_prompt_outlives_the_conversation(chat: Chat) -> None:
    chat.system = "Be brief."
    chat.say("hello")
    chat.system = "Be long."
    chat.start_over()
    assert contents(chat) == ["system: Be long."]


def test_a_kept_conversation_goes_on_and_an_open_one_stays_where_it_is(chat: Chat) -> None:
    chat.say("remember me")
    name = chat.conversation.header.id
    chat.start_over()
    (row,) = chat.store.search("remember")
    assert row.id == name
    chat.continue_with(chat.store.open(name))
    assert contents(chat) == ["user: remember me"]
    with pytest.raises(UsageError, match="open in another chat"):
        chat.store.delete(name)


def test_another_model_is_loaded_next_and_the_old_one_can_be_taken_back(
    chat: Chat, toy_model: Path
) -> None:
    before, other = chat.obtained, obtained_at(str(toy_model), Policy())
    assert other is not None
    chat.choose(other)
    assert chat.needs_load and chat.model_name == reference(str(toy_model))
    chat.choose(before)
    assert not chat.needs_load, "the engine still holds it"
    chat.choose(replace(other, policy=Policy(n_ctx=2**27)))
    with pytest.raises((DoesNotFitError, UsageError)):
        chat.plan_load()
    chat.choose(before)
    assert not chat.needs_load


def test_a_conversation_that_cannot_be_written_goes_on(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ConversationStore(tmp_path / "file")
    chat.continue_with(store.start(model="m", now=datetime(2026, 11, 21)))
    chat.say("hello")
    assert chat.write_error() and chat.write_error() is None
    assert contents(chat) == ["user: hello"]
