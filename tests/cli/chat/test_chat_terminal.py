"""Conversations at a real pseudo-terminal, with the real engine."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chat.conftest import ENDLESS
from tests.cli.chat.pty import Terminal, kill
from tests.support.processes import gone

QUESTION = "Which command shows the plan?"
PROMPT = r"(?m)^\S\n .+ tok/s"
"""An empty line to type on, and the status under it."""


def entries(state_dir: Path) -> list[list[dict[str, Any]]]:
    """The lines of every conversation kept, without the headers, the oldest file first."""
    files = sorted((state_dir / "conversations").glob("*.jsonl"))
    return [[json.loads(line) for line in f.read_text().splitlines()[1:]] for f in files]


def test_a_conversation_from_the_banner_to_resuming_it(state_dir: Path) -> None:
    with Terminal("chat", "demo", "--greedy", state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        assert re.search(r"^demo \S+ · [\d.]+ MiB · .*context [\d,]+ \(KV f16\)", terminal.text())
        assert re.search(r"memory [\d.]+ MiB planned, [\d.]+ MiB measured", terminal.text())
        assert terminal.last_row().startswith(" demo")
        terminal.type(f"{QUESTION}\r")
        terminal.wait_for(r"— \d+ tokens · [\d.,]+ tok/s \(estimated [\d.,]+, range [\d.,]+ to")
        terminal.wait_for(PROMPT)
        assert "localllm plan" in terminal.text()
        status = r"[\d.,]+ tok/s · [\d.,]+ predicted · context \d+/[\d,]+ · .*(—|[\d.]+) W"
        assert re.search(status, terminal.last_row())
        terminal.type("/regne\r")
        terminal.wait_for(r"hint: Did you mean /regen\?")
        terminal.type("/regen\r")
        terminal.wait_for(r"(?s)/regen.*— \d+ tokens")
        terminal.type("/set tempp 1\r")
        terminal.wait_for(r"There is no setting 'tempp'")
        terminal.type("/stats\r")
        terminal.wait_for(r"memory host +planned [\d.]+ MiB, measured [\d.]+ MiB")
        terminal.wait_for(r"energy +not measured: \w+|power +[~\d.]+ W ")  # by this machine
        terminal.type('"""two\rlines"""\r')
        terminal.wait_for(r"(?s)lines.*— \d+ tokens")
        terminal.type("/clear\r")
        terminal.wait_for(r"A new conversation. The last one is kept: /load \d{8}-\d{6}-")
        terminal.type("\x04")
        assert terminal.end() == 0
    (said,) = entries(state_dir)  # the new conversation was empty, so it left no file
    assert [e["role"] for e in said] == ["user", "assistant", "assistant", "user", "assistant"]
    assert said[2]["replaces_last"] is True
    assert said[1]["content"] == said[2]["content"]  # greedy
    assert said[1]["stats"]["n_gen"] > 5
    assert said[3]["content"] == "two\nlines"

    with Terminal("chat", "--resume", state_dir=state_dir, columns=120, lines=40) as terminal:
        terminal.wait_for(PROMPT)
        assert re.search(r"\d{8}-\d{6}-\w{4}: 4 messages so far", terminal.text())
        assert re.search(r"\S two\n  lines", terminal.text())
        terminal.type("hello\r")
        terminal.wait_for(r"(?s)\S hello.*— \d+ tokens")
        terminal.type("/bye\r")
        assert terminal.end() == 0
    assert [e["role"] for e in entries(state_dir)[0]][-2:] == ["user", "assistant"]


def test_ctrl_c_stops_the_answer_and_the_next_needs_no_reload(
    slow_model: Path, state_dir: Path
) -> None:
    with Terminal("chat", str(slow_model), *ENDLESS, state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        (engine,) = terminal.children()
        terminal.type("go\r")
        terminal.wait_for(r"(?m)^ slow F16 · [\d.]+ tok/s")
        terminal.type("\x03")
        terminal.wait_for(r"— stopped · \d+ tokens?")
        terminal.rest(2.2)  # a later Ctrl-C is not a second one
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again, or Ctrl-D, leaves")
        terminal.type("more\r")
        terminal.wait_for(r"(?s)\S more\n.*tok/s")
        assert terminal.children() == [engine]
        assert "loading" not in terminal.text()
        terminal.type("\x03")
        terminal.wait_for(r"(?s)\S more\n.*— stopped")
        terminal.type("\x03")
        assert terminal.end() == 0
        assert gone(engine)
    (said,) = entries(state_dir)
    assert [e.get("finish_reason") for e in said] == [None, "cancelled", None, "cancelled"]
    assert said[1]["content"]


def test_a_killed_engine_costs_neither_the_text_nor_the_chat(
    slow_model: Path, state_dir: Path
) -> None:
    with Terminal("chat", str(slow_model), *ENDLESS, state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("go\r")
        terminal.wait_for(r"(?m)^ slow F16 · [\d.]+ tok/s")
        (engine,) = terminal.children()
        kill(engine)
        terminal.wait_for(r"error: The engine was killed while answering \(SIGKILL\)")
        terminal.wait_for(r"(?s)hint: .*note: What was said is kept")
        terminal.wait_for(r"(?m)^ slow F16 · not loaded")
        (said,) = entries(state_dir)
        assert said[1]["finish_reason"] == "died"
        assert said[1]["content"]

        terminal.type("again\r")  # the next message loads the model by itself
        terminal.wait_for(r"(?s)\S again\n.*loading the model again.*tok/s")
        terminal.type("\x03")
        terminal.wait_for(r"(?s)\S again\n.*— stopped")

        (engine,) = terminal.children()
        kill(engine)
        assert gone(engine)
        terminal.rest(0.2)
        # Killed while nothing was asked: the question is not lost either.
        terminal.type("third\r")
        terminal.wait_for(r"(?s)\S third\n.*note: The engine was killed while idle.*tok/s")
        terminal.type("\x03")
        terminal.wait_for(r"(?s)\S third\n.*— stopped")
        terminal.type("/exit\r")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ending_the_chat_from_outside_ends_the_engine(
    slow_model: Path, state_dir: Path, number: signal.Signals
) -> None:
    with Terminal("chat", str(slow_model), *ENDLESS, state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        (engine,) = terminal.children()
        terminal.type("go\r")
        terminal.wait_for(r"(?m)^ slow F16 · [\d.]+ tok/s")
        kill(terminal.process.pid, number)
        assert terminal.end() == 128 + number
        assert gone(engine)
        assert "Traceback" not in terminal.text()


def test_no_color_means_plain_text(state_dir: Path) -> None:
    with Terminal("chat", "demo", "--greedy", state_dir=state_dir, NO_COLOR="1") as terminal:
        terminal.wait_for(PROMPT)
        start = len(terminal.raw)
        terminal.type(f"{QUESTION}\r")
        terminal.wait_for(r"— \d+ tokens")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "`localllm plan" in terminal.text()  # Markdown as it was written
    colours = re.findall(rb"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]", terminal.raw[start:])
    assert colours == []


def test_a_dumb_terminal_gets_no_escape_sequence(state_dir: Path) -> None:
    with Terminal("chat", "demo", "--greedy", state_dir=state_dir, TERM="dumb") as terminal:
        terminal.wait_for("Ctrl-D leaves")
        terminal.rest(0.5)
        terminal.type(f"{QUESTION}\r")
        terminal.wait_for(r"— \d+ tokens")
        terminal.rest(0.3)
        terminal.type("\x04")
        assert terminal.end() == 0
    answer = terminal.raw[terminal.raw.index(b"localllm plan") :].split("—".encode())[0]
    assert b"\x1b" not in answer


def test_a_terminal_of_a_few_columns_is_enough(slow_model: Path, state_dir: Path) -> None:
    with Terminal(
        "chat", str(slow_model), *ENDLESS, state_dir=state_dir, columns=20, lines=8
    ) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("go\r")
        terminal.wait_for(r"tok/s")
        terminal.type("\x03")
        terminal.wait_for("stopped")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.text()


def test_a_full_context_ends_the_answer_with_the_ways_on(
    hollow_model: Path, state_dir: Path
) -> None:
    args = ("--ctx", "256", *ENDLESS)
    with Terminal("chat", str(hollow_model), *args, state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("go\r")
        terminal.wait_for(r"(?s)the context is full \(256 tokens\).*/clear.*--ctx")
        terminal.wait_for(r"context 25\d/256")
        terminal.type("more\r")  # no room for a question either
        terminal.wait_for(
            r"(?s)error: The prompt has \d+ tokens, but the context holds 256.*hint: "
        )
        terminal.type("/clear\r")
        terminal.wait_for("A new conversation")
        terminal.type("/set max_tokens 3\r")
        terminal.type("again\r")  # typed ahead: it waits for its turn
        terminal.wait_for(r"cut at max_tokens 3: /set max_tokens none · 3 tokens")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_what_is_typed_during_an_answer_waits_for_the_prompt(
    slow_model: Path, state_dir: Path
) -> None:
    args = (*ENDLESS, "-n", "120")
    with Terminal("chat", str(slow_model), *args, state_dir=state_dir) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("go\r")
        terminal.wait_for(r"(?m)^ slow F16 · [\d.]+ tok/s")
        terminal.type("typed ahead")
        terminal.rest(0.2)
        assert "typed ahead" not in terminal.text()
        terminal.wait_for(r"(?m)^\S typed ahead\n slow F16")
        terminal.type("\x03\x04")
        assert terminal.end() == 0


def test_ctrl_c_while_loading_leaves_with_130(llama_32_1b: Path, state_dir: Path) -> None:
    with Terminal("chat", str(llama_32_1b), "--ctx", "512", state_dir=state_dir) as terminal:
        terminal.wait_for(r"loading llama-3.2-1b-q4_k_m")
        (engine,) = terminal.children()
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.text().strip() == "interrupted"
        assert gone(engine)
