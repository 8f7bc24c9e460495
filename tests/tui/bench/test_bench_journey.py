"""The Bench place on the real engine: measure, save, compare, stop, and a death of the engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from localllm.benching.wanted import PATIENCE_S
from localllm.core.bench.activity import Repeating
from localllm.core.policy import Policy
from localllm.errors import EngineError
from localllm.tui.app import LocalLLMApp
from localllm.tui.bench.compare_dialog import CompareDialog
from localllm.tui.bench.save_dialog import SaveDialog
from localllm.tui.bench.screen import BenchScreen
from localllm.tui.subject import Subject
from localllm.tui.widgets.choices import Choices
from tests.tui.support.driving import WIDE, running, until
from tests.tui.support.snapshots import screen_text

DEMO = Subject(name="demo", wishes=Policy(n_threads=1))


def bench_of(app: LocalLLMApp) -> BenchScreen:
    screen = app.screen
    assert isinstance(screen, BenchScreen)
    return screen


def seen(app: LocalLLMApp) -> str:
    """The screen's words, wherever lines were broken."""
    return " ".join(screen_text(app).replace("│", " ").split())


async def choose(pilot: Pilot[int], screen: BenchScreen, **fields: str) -> None:
    """Fill in fields, and wait until it is known what they come to."""
    for name, text in fields.items():
        screen.query_one(f"#form-{name}", Input).value = text
    await pilot.pause()
    await until(pilot, lambda: screen.preview is not None)


async def run_until(pilot: Pilot[int], screen: BenchScreen, holds: Callable[[], object]) -> None:
    """Start, and wait for something."""
    await pilot.press("ctrl+r")
    await until(pilot, lambda: screen.running)
    await until(pilot, holds)


def in_second_test(screen: BenchScreen) -> bool:
    progress = None if screen.measured is None else screen.measured.progress
    if progress is None or progress.where is None or not isinstance(progress.step, Repeating):
        return False
    return progress.where.number == 2 and progress.step.repetition > 1


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALLLM_MEASUREMENTS", "on")


async def stop_and_lose(app: LocalLLMApp, pilot: Pilot[int], screen: BenchScreen) -> None:
    """A run that is stopped, and one whose engine is killed."""
    await choose(pilot, screen, prompts="16", gens="400", depths="0")
    screen.query_one("#form-repetitions", Input).value = "60"  # and it starts at once
    await run_until(pilot, screen, lambda: in_second_test(screen))
    assert app.activities["bench"] == "2/2"
    await pilot.press("escape")
    await until(pilot, lambda: not screen.running)
    measured = screen.measured
    assert measured is not None and measured.ended == "interrupted"
    kept = [(row["n_prompt"], row["complete"]) for row in measured.rows]
    assert kept == [(16, True), (0, False)]
    await pilot.pause()
    assert "Stopped. What was measured until then is kept below." in seen(app)
    assert "bench" not in app.activities

    await run_until(pilot, screen, lambda: in_second_test(screen))
    session = app.desk.running
    assert session is not None and session._engine is not None
    assert session._engine.pid is not None
    os.kill(session._engine.pid, signal.SIGKILL)
    await until(pilot, lambda: not screen.running)
    measured = screen.measured
    assert measured is not None and isinstance(measured.error, EngineError)
    assert measured.rows[0]["n_prompt"] == 16
    await pilot.pause()
    assert "✗ " in seen(app) and "pp16" in seen(app)


def test_a_run_is_measured_saved_compared_stopped_and_lost(tmp_path: Path) -> None:
    async def journey() -> None:
        async with running(subject=DEMO, place="bench", size=WIDE) as (app, pilot):
            screen = bench_of(app)
            await until(pilot, lambda: screen.preview is not None)
            proposed = screen.preview
            assert proposed is not None and proposed.seconds is not None
            assert proposed.seconds <= PATIENCE_S and len(proposed.wanted.depths) > 1
            await pilot.pause()
            assert "8 tests, llama-bench's method; about " in seen(app)

            screen.query_one("#form-depths", Input).value = "x"
            await until(pilot, lambda: "is not a list" in seen(app))
            await pilot.press("ctrl+r")
            assert not screen.running

            screen.query_one("#form-mode", Choices).focus()
            await pilot.press("left")
            await choose(pilot, screen, prompts="16", gens="8", depths="0,32", repetitions="2")
            assert "quick  ( ) standard" in screen_text(app) and "not to be compared" in seen(app)
            await pilot.click("#form-mode", offset=(15, 0))
            await choose(pilot, screen)
            assert screen.preview is not None and screen.preview.wanted.mode == "standard"
            assert app.desk.take_engine("chat")
            await pilot.press("ctrl+r")
            assert not screen.running  # an answer is not taken its engine
            app.desk.give_engine("chat")
            await run_until(pilot, screen, lambda: not screen.running)
            measured = screen.measured
            assert measured is not None and measured.error is None
            assert [(row["n_prompt"], row["n_gen"], row["n_depth"]) for row in measured.rows] == [
                *((16, 0, 0), (0, 8, 0), (16, 0, 32), (0, 8, 32)),
            ]
            assert app.desk.running is None  # its memory is free again
            await pilot.pause()
            text = seen(app)
            assert f"{measured.rows[0]['avg_ts']:.2f} ± " in text
            assert "● tg8 · ○ tg8, est." in text and "power not measured (" in text

            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, SaveDialog))
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is screen)
            (saved,) = (tmp_path / "state" / "bench").glob("demo-*.json")
            document = json.loads(saved.read_text())
            assert (document["ended"], len(document["rows"])) == ("complete", 4)

            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, SaveDialog))
            app.screen.query_one("#save-path", Input).value = str(saved)
            await pilot.press("enter")
            await until(pilot, lambda: "is there already" in seen(app))
            await pilot.press("escape")

            await pilot.press("ctrl+o")
            dialog = app.screen
            assert isinstance(dialog, CompareDialog)
            await until(pilot, lambda: dialog.result.look == "ready")
            assert {row[1] for row in dialog.table.rows} == {"+0.0%"}  # the file that was saved
            await pilot.press("down", "a")
            await until(pilot, lambda: "kept without its" in dialog.table.rows[0][2])
            dialog.path.focus()
            dialog.path.value = str(tmp_path / "nothing.json")
            await pilot.press("enter")
            await until(pilot, lambda: dialog.result.look == "failed")
            assert "There is no file" in seen(app)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is screen)
            await stop_and_lose(app, pilot, screen)

    asyncio.run(journey())
