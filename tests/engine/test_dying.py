"""A child that dies, by whatever means, ends in one sentence, and the next load works."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.core.generation import BenchTest, Died, Event, Failed, TextDelta
from localllm.engine.children import N_STDERR_LINES, child_environment
from localllm.engine.client import EngineClient
from localllm.engine.process import EngineProcess
from localllm.engine.protocol import FaultRequest
from localllm.errors import EngineError
from tests.engine.support import (
    ENDLESS,
    ask,
    cpu_plan,
    device,
    failure,
    finish,
    gpu,
    load,
    long_answer,
    text_of,
)
from tests.support.processes import gone


@pytest.fixture
def engine(toy_model: Path) -> Iterator[EngineClient]:
    """A toy of one's own, to be killed; and afterwards a new one must load and answer."""
    with EngineClient(watchdog_s=3.0) as engine:
        load(engine, toy_model)
        yield engine
        load(engine, toy_model)
        finish(engine.chat(ask("Hello")))


def death(events: Iterator[Event] | list[Event]) -> Died:
    last = list(events)[-1]
    assert isinstance(last, Died), last
    assert last.message.endswith(".") and last.hint
    return last


def break_it(engine: EngineClient, fault: str, argument: int = 0) -> list[Event]:
    return list(engine.inject_fault(FaultRequest(fault=fault, argument=argument)))


def test_kill_9_in_mid_answer_keeps_the_text(engine: EngineClient) -> None:
    request = long_answer(engine, 300)
    events: list[Event] = []
    for event in engine.complete(request):
        events.append(event)
        if len(events) == 30:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
    died = death(events)
    assert (died.signal, died.phase) == ("SIGKILL", "generate")
    assert "SIGKILL" in died.message and not died.out_of_memory
    assert sum(isinstance(event, TextDelta) for event in events) >= 28
    assert engine.pid is None


def test_a_child_that_died_between_two_requests_is_reported_by_the_next(
    engine: EngineClient,
) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert gone(engine.pid or 0, within_s=2)
    assert "SIGKILL" in death(engine.chat(ask("Hello"))).message
    refused = failure(engine.chat(ask("Hello")))
    assert refused.error == "EngineError" and "No model" in refused.message


def test_a_stopped_child_ends_in_a_watchdog_report(toy_model: Path) -> None:
    with EngineClient(watchdog_s=1.0) as engine:
        load(engine, toy_model)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        began = time.monotonic()
        died = death(engine.chat(ask("Hello")))
        assert time.monotonic() - began < 5
    assert "no sign of life for 1 s" in died.message
    assert not died.out_of_memory


def test_a_child_that_beats_but_does_not_work_is_ended(toy_model: Path) -> None:
    with EngineClient(watchdog_s=1.0) as engine:
        load(engine, toy_model, n_ubatch=1)
        died = death(break_it(engine, "hang", 60))
    assert "no progress" in died.message


def test_a_ping_tells_a_living_child_from_a_dead_a_stopped_and_a_missing_one(
    toy_model: Path,
) -> None:
    with EngineClient(simulated=(gpu("SIM0"),)) as engine:
        assert engine.ping() is None
        on_gpu = {"devices": (device("SIM0"), device("host")), "n_gpu_layers": 5}
        for number, cause in (
            (signal.SIGKILL, "SIGKILL"),
            (signal.SIGSTOP, "no sign of life for 1 s"),
        ):
            load(engine, toy_model, **on_gpu)
            finish(engine.chat(ask("Hello")))
            assert engine.ping() is None
            finish(engine.chat(ask("Hello")))
            assert engine.pid is not None
            os.kill(engine.pid, number)
            died = engine.ping(patience_s=1.0)
            assert died is not None and died.phase == "idle"
            assert cause in died.message
            assert engine.ping() is None  # nobody is left to be asked


def test_a_child_that_ignores_a_cancellation_is_ended(endless_model: Path) -> None:
    with EngineClient(cancel_grace_s=0.5) as engine:
        load(engine, endless_model)
        assert engine.pid is not None
        events = engine.complete(ENDLESS)
        next(events)
        os.kill(engine.pid, signal.SIGSTOP)
        engine.cancel()
        assert "ignored a cancellation" in death(events).message


def test_an_abort_is_quoted_with_file_line_and_message(engine: EngineClient) -> None:
    died = death(break_it(engine, "abort"))
    assert died.signal == "SIGABRT"
    assert "ggml-cuda.cu:1: CUDA error" in died.message


def test_a_segmentation_fault(engine: EngineClient) -> None:
    died = death(break_it(engine, "segfault"))
    assert died.signal == "SIGSEGV" and "SIGSEGV" in died.message


def test_a_model_file_that_shrinks_while_in_use(toy_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(toy_model, tmp_path / "cut.gguf"))
    with EngineClient() as engine:
        load(engine, path)
        os.truncate(path, 4096)
        died = death(engine.chat(ask("Hello")))
        assert died.signal == "SIGBUS" and "model file" in died.message
        load(engine, toy_model)


def test_out_of_memory_at_load_is_a_failure_with_its_own_code(toy_model: Path) -> None:
    with EngineClient() as engine:
        break_it(engine, "limit_memory", 2**30)
        refused = list(engine.load(cpu_plan(n_ctx=2**24), (str(toy_model),)))[-1]
        assert isinstance(refused, Failed), refused
        assert (refused.error, refused.code) == ("EngineError", "out_of_memory")
        assert refused.hint and "--ctx" in refused.hint
        load(engine, toy_model)


def test_a_file_that_memory_is_too_short_to_map_is_out_of_memory(llama_3_8b: Path) -> None:
    with EngineClient() as engine:
        break_it(engine, "limit_memory", 2**30)
        refused = list(engine.load(cpu_plan(n_ctx=256), (str(llama_3_8b),)))[-1]
        assert isinstance(refused, Failed), refused
        assert (refused.error, refused.code) == ("EngineError", "out_of_memory")


def test_out_of_memory_that_kills_is_recognised(engine: EngineClient) -> None:
    died = death(break_it(engine, "bad_alloc"))
    assert died.signal == "SIGABRT" and died.out_of_memory
    assert "--ctx" in died.hint


def test_a_flood_on_stdout_and_stderr_blocks_nothing(engine: EngineClient) -> None:
    began = time.monotonic()
    assert isinstance(break_it(engine, "flood", 10_000_000)[-1], Failed)
    assert time.monotonic() - began < 20
    finish(engine.chat(ask("Hello")))


def test_the_last_words_are_kept_and_no_more(engine: EngineClient) -> None:
    break_it(engine, "flood", 100_000)
    died = death(break_it(engine, "abort"))
    assert 0 < len(died.stderr_tail) <= N_STDERR_LINES
    assert "CUDA error" in died.message


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(engine: EngineClient) -> None:
    assert engine.pid is not None
    assert os.getpgid(engine.pid) != os.getpgid(0)
    assert os.getsid(engine.pid) != os.getsid(0)
    os.kill(engine.pid, signal.SIGINT)
    assert finish(engine.chat(ask("Hello"))).reason == "length"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_child_leaves_no_core_and_is_the_first_to_go_when_memory_is_short(
    engine: EngineClient,
) -> None:
    pid = engine.pid
    assert pid is not None
    limits = Path(f"/proc/{pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "800"
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"GGML_NO_BACKTRACE=1" in environment


def test_close_is_quick_whatever_the_child_does(endless_model: Path) -> None:
    for prepare in (None, signal.SIGSTOP):
        engine = EngineClient()
        load(engine, endless_model)
        events = engine.complete(ENDLESS)
        next(events)
        pid = engine.pid
        assert pid is not None
        if prepare is not None:
            os.kill(pid, prepare)
        began = time.monotonic()
        engine.close()
        assert time.monotonic() - began < 2
        assert gone(pid, within_s=1)
        last = list(events)[-1]
        assert isinstance(last, Died) and "closed" in last.message
        assert failure(engine.chat(ask("Hello"))).message == "The engine is closed."


def test_close_from_another_thread_ends_a_request(toy_model: Path) -> None:
    engine = EngineClient()
    load(engine, toy_model)
    events = engine.bench((BenchTest(n_prompt=0, n_gen=900, repetitions=1000),))
    next(events)
    closer = threading.Timer(0.2, engine.close)
    closer.start()
    assert "closed" in death(events).message
    closer.join()


PARENT = """
    import sys, threading, time
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from tests.engine.support import load
    from localllm.engine.client import EngineClient

    engine = EngineClient()
    loader = threading.Thread(target=load, args=(engine, Path({model!r})))
    loader.start()
    loader.join()
    time.sleep(0.3)  # the thread that loaded has ended, the child must not have
    print(engine.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_child_outlives_the_thread_that_loaded_it_but_not_its_parent(
    toy_model: Path, number: signal.Signals
) -> None:
    root = str(Path(__file__).parents[2])
    code = textwrap.dedent(PARENT.format(root=root, model=str(toy_model)))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        line = parent.stdout.readline()
        assert line.strip().isdigit(), line
        parent.send_signal(number)
        parent.wait()
    assert gone(int(line), within_s=2)


def test_faults_are_refused_outside_tests(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALLLM_ENGINE_TEST")
    with EngineClient() as engine:
        load(engine, toy_model)
        assert failure(break_it(engine, "abort")).error == "UsageError"


def test_the_child_gets_no_tokens_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "HF_TOKEN" not in child_environment()


def test_no_descriptor_is_left_behind(toy_model: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    with EngineClient() as engine:
        load(engine, toy_model)
    before = count()
    for _ in range(3):
        with EngineClient() as engine:
            load(engine, toy_model)
            break_it(engine, "abort")
            load(engine, toy_model)
    deadline = time.monotonic() + 2  # the last thread is about to close its pipe
    while count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert count() <= before


def test_an_engine_that_nobody_closed_takes_its_child_along(toy_model: Path) -> None:
    engine = EngineClient()
    load(engine, toy_model)
    pid = engine.pid
    assert pid is not None
    del engine
    gc.collect()
    assert gone(pid, within_s=2)


def test_a_python_that_cannot_start_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EngineError, match="could not be started"):
        EngineProcess(beat_s=1.0)


def test_text_before_a_death_is_all_there(engine: EngineClient) -> None:
    request = long_answer(engine, 300)
    whole = text_of(engine.complete(request))
    events: list[Event] = []
    for event in engine.complete(request):
        events.append(event)
        if len(events) == 50:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGABRT)
    death(events)
    assert whole.startswith(text_of(events)) and text_of(events)


def test_limits_here_are_those_of_the_test_process() -> None:
    """The memory limit of the out-of-memory test stayed in its child."""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 2**30
