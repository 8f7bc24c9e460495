"""Every look of the Bench place, with fixed figures."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from localllm.benching.saving import save_bench
from localllm.core.bench.activity import Loading, Progress
from localllm.errors import EngineError, UsageError
from localllm.tui.bench.compare_dialog import CompareDialog
from localllm.tui.bench.plots import PowerPlot, SpeedPlot
from localllm.tui.bench.preview import Preview
from localllm.tui.bench.save_dialog import SaveDialog
from localllm.tui.bench.screen import BenchScreen
from localllm.tui.subject import Subject
from tests.core.test_documents import plan_8b
from tests.tui.bench.fixed import ENDED, WANTED, run
from tests.tui.support.driving import NARROW, WIDE, running, settled, until
from tests.tui.support.snapshots import check, screen_text


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No runs of the person's, and the same clock everywhere."""
    monkeypatch.setenv("LOCALLLM_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def shown(screen: BenchScreen) -> None:
    """Have tests chosen and nothing measured."""
    await settled(screen.app)
    screen.form.propose(WANTED)
    screen.form.show_ready()
    screen.preview = Preview(
        subject=Subject(name="llama-3-8b"),
        wanted=WANTED,
        plan=plan_8b(),
        seconds=41.0,
        estimates=run(n_rows=0).estimates,
        model=None,
    )
    screen.form.query_one("#form-start").focus()


async def another_is_looked_at(pilot: Pilot[int], screen: BenchScreen) -> None:
    """The curves are of what is looked at, or say whose they are."""
    speeds = screen.query_one("#bench-generation", SpeedPlot)
    watts = screen.query_one("#bench-power", PowerPlot)
    screen.measured_of = Subject(name="llama-3-8b")
    await pilot.pause()
    assert speeds.border_subtitle == "○ tg128, est."
    assert (watts.border_subtitle or "").startswith("llama-3-8b Q4_K_M ")
    screen.measured = run(n_rows=3)  # a run is looked at as long as it goes on
    await pilot.pause()
    assert re.match(r"llama-3-8b Q4_K_M · ● tg128 · ○ tg128, est.", speeds.border_subtitle or "")


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_every_look(size: tuple[int, int], tmp_path: Path) -> None:
    """All of them at one size, then at the other: resizing for each would take most of the time."""

    async def looks() -> None:
        async with running(place="bench", size=size) as (app, pilot):
            screen = app.screen
            assert isinstance(screen, BenchScreen)

            async def check_look(name: str) -> None:
                await settled(app)
                await pilot.pause()
                check(app, f"bench-{name}-{size[0]}x{size[1]}")

            await check_look("empty")
            begun = run(n_rows=0)
            screen.form.show_loading("looking at the model")
            screen.measured = replace(
                begun, progress=Progress(step=Loading(model="Llama 3 8B", fraction=0.426))
            )
            await check_look("loading")
            died = EngineError(ENDED, hint="Measure with a smaller batch.")
            screen.form.show_failed(UsageError('"llama" is no model.', hint="Is it llama-3-8b?"))
            screen.measured = replace(begun, progress=None, ended=ENDED, error=died)
            await check_look("failed")

            await shown(screen)
            screen.measured = replace(begun, progress=None, ended="interrupted")
            await check_look("ready")
            screen.running = True
            screen.measured = run(n_rows=3)
            await check_look("running")
            screen.running = False
            screen.measured = run(n_rows=6)
            await check_look("done")
            screen.measured = replace(run(n_rows=3), progress=None, ended=ENDED, error=died)
            screen.results.scroll_visible(animate=False, top=True)
            await check_look("died")
            if size == NARROW:  # what is below
                screen.measured = run(n_rows=6, watts=None)
                await pilot.press("pagedown", "pagedown")
                await check_look("below")

            await app.push_screen(CompareDialog(None, model=None))
            await check_look("compare-empty")
            app.pop_screen()

            folder = tmp_path / "bench"
            folder.mkdir()
            path = folder / "llama-3-8b-2026-11-21-0912.json"
            save_bench(path, run(n_rows=4, factor=0.96).document())
            os.utime(path, (1_795_252_320, 1_795_252_320))
            (folder / "torn.json").write_text("{")
            os.utime(folder / "torn.json", (1_795_252_000, 1_795_252_000))
            await app.push_screen(CompareDialog(run(n_rows=6), model="Llama 3 8B"))
            await check_look("compare")
            await pilot.press("down", "a")
            await until(pilot, lambda: "is not JSON" in screen_text(app))
            app.pop_screen()
            await app.push_screen(SaveDialog(run(n_rows=6), Path("/home/ada/bench/run.json")))
            await check_look("save")
            if size == WIDE:
                await another_is_looked_at(pilot, screen)

    asyncio.run(looks())
