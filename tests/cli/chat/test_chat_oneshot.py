"""One answer for pipes and scripts: what is on which stream, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.cli.chat.conftest import ENDLESS
from tests.cli.chat.pty import COMMAND, ROOT, children, environment, kill
from tests.cli.conftest import Command, Outcome
from tests.support.processes import gone

QUESTION = "Which command shows the plan?"


def chat(
    *args: str, state_dir: Path, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "chat", *args],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(state_dir),
        cwd=cwd or state_dir,
        timeout=100,
    )


def start(*args: str, state_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "chat", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(state_dir),
        cwd=state_dir,
    )


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def test_the_answer_alone_goes_to_standard_output(state_dir: Path) -> None:
    asked = chat("demo", "-p", QUESTION, "--greedy", state_dir=state_dir)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "localllm plan" in asked.stdout
    assert asked.stdout == asked.stdout.strip() + "\n"

    piped = chat("demo", "--greedy", state_dir=state_dir, stdin=QUESTION + "\n")
    assert piped.stdout == asked.stdout

    document = json.loads(
        chat("demo", "-p", QUESTION, "--greedy", "--json", state_dir=state_dir).stdout
    )
    assert document["schema"] == "localllm.answer/1"
    assert document["content"].strip() == asked.stdout.strip()
    assert document["finish_reason"] == "stop"
    assert document["model"] == "demo"
    assert document["n_ctx"] >= document["stats"]["n_ctx_used"] > document["stats"]["n_gen"] > 5
    assert document["stats"]["tg_tok_s"] > 0
    assert document["memory"][0]["measured_bytes"] > 0
    left = {path.name: path.read_text() for path in state_dir.iterdir()}
    assert set(left) <= {"measurements.jsonl", "history.jsonl"}  # a script leaves no conversation
    assert not any(QUESTION in text or asked.stdout.strip() in text for text in left.values())


def test_how_fast_an_answer_was_is_kept(state_dir: Path, hollow_model: Path) -> None:
    common = ("-p", "word " * 100, "-n", "24", *ENDLESS, "--json")
    asked = chat(str(hollow_model), *common, state_dir=state_dir)
    assert (asked.returncode, asked.stderr) == (0, "")
    stats = json.loads(asked.stdout)["stats"]
    lines = (state_dir / "measurements.jsonl").read_text().splitlines()
    prompt, text = (json.loads(line) for line in lines)
    assert (prompt["phase"], prompt["n_tokens"]) == ("pp", stats["n_prompt"])
    assert prompt["measured_tok_s"] == stats["pp_tok_s"]
    assert (text["phase"], text["n_tokens"], text["depth"]) == ("tg", 23, stats["n_prompt"])
    assert text["measured_tok_s"] == stats["tg_tok_s"]
    assert {one["source"] for one in (prompt, text)} == {"chat"}
    assert min(one["predicted_tok_s"] for one in (prompt, text)) > 0


def test_what_is_piped_in_follows_what_is_asked(state_dir: Path, toy_model: Path) -> None:
    common = (str(toy_model), "--json", "--temp", "0", "-n", "1")
    both = chat(*common, "-p", "one", state_dir=state_dir, stdin="two\n")
    joined = chat(*common, "-p", "one\n\ntwo", state_dir=state_dir)
    assert (
        json.loads(both.stdout)["stats"]["n_prompt"]
        == (json.loads(joined.stdout)["stats"]["n_prompt"])
    )


def test_with_resume_one_answer_follows_another(state_dir: Path, toy_model: Path) -> None:
    nothing = chat(str(toy_model), "-p", "one", "--resume", state_dir=state_dir)
    assert (nothing.returncode, nothing.stdout) == (5, "")
    assert nothing.stderr.startswith("error: There is no conversation to resume.\nhint: ")
    from datetime import datetime

    from localllm.records.conversations import ConversationStore
    from localllm.records.entries import Entry

    store = ConversationStore(state_dir / "conversations")
    kept = store.start(model=str(toy_model), now=datetime.now(), system="Be brief.")
    kept.append(Entry(role="user", content="zero", time=""))
    kept.append(Entry(role="assistant", content="0", time=""))
    kept.close()
    asked = chat("--resume", "-p", "one", "-n", "4", "--json", state_dir=state_dir)
    assert (asked.returncode, asked.stderr) == (0, "")
    again = store.open()
    assert [m.role for m in again.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert again.entries[-1].content == json.loads(asked.stdout)["content"]
    assert again.entries[-1].finish_reason == "length"
    again.close()


def test_raw_text_is_continued_without_a_template(state_dir: Path, toy_model: Path) -> None:
    common = (str(toy_model), "-p", "one", "--json", "--temp", "0", "-n", "1")
    templated = json.loads(chat(*common, state_dir=state_dir).stdout)
    raw = json.loads(chat(*common, "--raw", state_dir=state_dir).stdout)
    assert raw["stats"]["n_prompt"] < templated["stats"]["n_prompt"]


def test_an_engine_killed_in_mid_answer_leaves_the_partial_text(
    slow_model: Path, state_dir: Path
) -> None:
    with start(str(slow_model), "-p", "go", *ENDLESS, state_dir=state_dir) as process:
        first = pipe(process.stdout).read(1)
        (engine,) = children(process.pid)
        kill(engine)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 6
    assert (first + rest).endswith(b"\n")
    assert len(first + rest) > 1
    assert errors.startswith(b"error: The engine was killed while answering (SIGKILL)")
    assert b"\nhint: " in errors
    assert b"Traceback" not in errors


def test_json_keeps_the_partial_text_of_a_killed_engine(slow_model: Path, state_dir: Path) -> None:
    with start(str(slow_model), "-p", "go", "--json", *ENDLESS, state_dir=state_dir) as process:
        deadline = time.monotonic() + 30
        while not children(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        (engine,) = children(process.pid)
        # Nothing is printed that would say when it answers, but then it computes: ten loads' worth.
        working = psutil.Process(engine)
        while working.cpu_times().user < 0.7 and time.monotonic() < deadline:
            time.sleep(0.02)
        kill(engine)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 6
    if out:  # on a very busy machine it was killed before its first token
        document = json.loads(out)
        assert document["finish_reason"] == "died"
        assert document["content"]
        assert document["error"]["message"].startswith("The engine was killed")


def test_ctrl_c_keeps_the_partial_text_and_exits_130(slow_model: Path, state_dir: Path) -> None:
    with start(str(slow_model), "-p", "go", *ENDLESS, state_dir=state_dir) as process:
        first = pipe(process.stdout).read(1)
        (engine,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"interrupted\n")
    assert (first + rest).endswith(b"\n")
    assert gone(engine)


def test_a_reader_that_leaves_ends_it_quietly(slow_model: Path, state_dir: Path) -> None:
    with start(str(slow_model), "-p", "go", *ENDLESS, state_dir=state_dir) as process:
        assert pipe(process.stdout).read(1)
        (engine,) = children(process.pid)
        pipe(process.stdout).close()
        errors = pipe(process.stderr).read()
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, b"")
    assert gone(engine)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("missing.gguf", None, 5),
        ("page.gguf", b"<!DOCTYPE html><html><body>404</body></html>", 7),
        ("pointer.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", 7),
        ("cut.gguf", b"GGUF\x03\x00\x00\x00", 7),
        ("empty.gguf", b"", 7),
    ],
)
def test_a_file_that_is_no_model_is_one_sentence_and_a_hint(
    tmp_path: Path,
    localllm: Command,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes | None,
    code: int,
) -> None:
    pipe_in("", monkeypatch)
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(localllm("chat", str(path), "-p", "x"), code)


def test_a_request_that_makes_no_sense_is_one_sentence_and_a_hint(
    toy_model: Path, localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(toy_model)
    pipe_in("", monkeypatch)
    refused(localllm("chat", str(toy_model.parent), "-p", "x"), 2)
    refused(localllm("chat", model, "-p", "x", "--ctx", "9999999"), 2)
    refused(localllm("chat", model, "-p", "x", "--temp", "hot"), 2)
    refused(localllm("chat", "-p", "x"), 2)
    refused(localllm("chat", model, "-p", "x", "--ram-budget", "1MiB"), 3)
    pipe_in(" \n", monkeypatch)
    refused(localllm("chat", model), 2)
    pipe_in("word " * 3000, monkeypatch)
    refused(localllm("chat", model, "--ctx", "256"), 2)


def test_a_refusal_leaves_the_process_with_its_code(state_dir: Path) -> None:
    done = chat("missing.gguf", "-p", "x", state_dir=state_dir)
    refused(Outcome(code=done.returncode, out=done.stdout, err=done.stderr), 5)


def pipe_in(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives a command in this process a standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def refused(outcome: Outcome, code: int) -> None:
    assert (outcome.code, outcome.out) == (code, "")
    first, second, *more = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")
    assert more == []


def test_a_terminal_gets_no_control_characters_of_the_model(
    state_dir: Path, hollow_model: Path
) -> None:
    # Every token is as likely, bytes included: on a pipe they pass as they are.
    args = ("-p", "go", *ENDLESS, "-n", "150")
    piped = subprocess.run(
        [*COMMAND, "chat", str(hollow_model), *args],
        stdin=subprocess.DEVNULL, capture_output=True, env=environment(state_dir), cwd=ROOT,
        timeout=60,
    ).stdout  # fmt: skip
    assert any(byte < 32 and byte not in b"\n\t\r" for byte in piped)
    master, slave = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "chat", str(hollow_model), *args],
        stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL,
        env=environment(state_dir), cwd=ROOT,
    ):  # fmt: skip
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            shown += chunk
    os.close(master)
    assert len(shown) > 100
    assert not any(byte < 32 and byte not in b"\n\t\r" for byte in shown)
