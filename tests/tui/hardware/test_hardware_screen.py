"""The Hardware place: its looks, its keys, and that it reads only while it is shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from textual.pilot import Pilot

from localllm.core.hardware import THIS_MACHINE
from localllm.core.hardware_document import hardware_from_document
from localllm.tui.app import LocalLLMApp
from localllm.tui.hardware.checks import Fix
from localllm.tui.hardware.screen import HardwareScreen
from localllm.tui.help.screen import HelpScreen
from localllm.tui.plan.machine_dialog import MachineDialog
from localllm.tui.subject import ONE_MORE, Subject
from localllm.tui.threads import called
from tests.support.fake_nvml import FakeDriver, Scenario, rtx_4090
from tests.tui.hardware.desk import FACTS, RAPL_FIX, WORKSTATION, FixedDesk
from tests.tui.support.driving import drive, running, settled, until
from tests.tui.support.snapshots import check_both, screen_text


def place(app: LocalLLMApp) -> HardwareScreen:
    assert isinstance(app.screen, HardwareScreen)
    return app.screen


async def ready(app: LocalLLMApp, pilot: Pilot[int]) -> HardwareScreen:
    """Wait until everything of this machine is shown."""
    screen = place(app)
    panels = (screen.now, screen.facts, screen.checks, screen.engine)
    await until(pilot, lambda: all(panel.look == "ready" for panel in panels))
    await pilot.pause()
    return screen


def shown_bandwidth(screen: HardwareScreen) -> float | None:
    known = screen.facts.known
    return None if known is None else known.hardware.host.memory_bandwidth_gb_s


def test_every_look() -> None:
    async def test() -> None:
        desk = FixedDesk()
        desk.may_answer.clear()
        async with running(place="hardware", desk=desk) as (app, pilot):
            await until(pilot, lambda: place(app).facts.look == "loading")
            await check_both(pilot, "hardware-loading")

            desk.may_answer.set()
            screen = await ready(app, pilot)
            await check_both(pilot, "hardware-ready")

            app.subject = Subject(machines=("rtx-4090",))
            await until(pilot, lambda: screen.facts.look == "ready" and screen.hardware)
            await pilot.pause()
            await check_both(pilot, "hardware-simulated")
            assert await called(lambda: desk.opened[-1].has_stopped.wait(10))

            app.subject = Subject(machines=(THIS_MACHINE, ONE_MORE))
            await until(pilot, lambda: screen.hardware and len(screen.hardware.devices) == 3)

            app.subject = Subject(machines=("rtx-4099",))
            await until(pilot, lambda: screen.facts.look == "failed")
            await check_both(pilot, "hardware-failed")

    drive(test)


def test_what_is_missing_says_why_and_which_line_mends_it() -> None:
    async def test() -> None:
        broken = replace(
            FACTS,
            engine=None,
            engine_problem="llama-cpp-python is not installed.",
            engine_fix="python -m pip install llama-cpp-python",
        )
        async with running(place="hardware", desk=FixedDesk(facts=broken)) as (app, pilot):
            screen = place(app)
            await until(pilot, lambda: screen.checks.look == "ready")
            assert screen.engine.look == "failed"
            assert screen.checks.border_title == "checks · 2 problems"
            await pilot.press("end")
            await pilot.pause()
            await check_both(pilot, "hardware-no-engine")

            screen.query(Fix).last().focus()
            await pilot.press("enter")
            assert app.clipboard == RAPL_FIX

    drive(test)


def test_a_sleeping_gpu_is_not_woken_by_a_look() -> None:
    async def test() -> None:
        desk = FixedDesk(asleep=True)
        async with running(place="hardware", desk=desk, size=(120, 60)) as (app, pilot):
            screen = place(app)
            await until(pilot, lambda: screen.checks.look == "empty" and screen.facts.known)
            await pilot.pause()
            assert desk.asked == []
            assert "Press d to ask llama.cpp" in screen_text(app)
            await pilot.press("d")
            await ready(app, pilot)
            assert desk.asked == ["check"]

    drive(test)


def test_gauges_rest_while_nobody_looks_and_keys_copy_measure_detect_and_swap() -> None:
    async def test() -> None:
        desk = FixedDesk()
        async with running(place="hardware", desk=desk) as (app, pilot):
            screen = await ready(app, pilot)
            app.action_go("plan")
            assert await called(lambda: desk.opened[0].has_stopped.wait(10))
            assert len(desk.opened) == 1
            app.action_go("hardware")
            await until(pilot, lambda: len(desk.opened) == 2)

            await pilot.press("y")
            await until(pilot, lambda: app.clipboard)
            document = json.loads(app.clipboard)
            assert hardware_from_document(document) == WORKSTATION
            assert document["no_meters"][0]["fix"] == RAPL_FIX

            await pilot.press("m")
            await until(pilot, lambda: shown_bandwidth(screen) == 71.5)
            await pilot.press("r")
            await until(pilot, lambda: desk.asked.count("check") == 2)
            assert desk.asked == ["check", "measure", "detect", "check"]

            await pilot.press("s")
            await until(pilot, lambda: isinstance(app.screen, MachineDialog))
            await pilot.press("f1")  # a dialog has keys of its own
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            assert "First:" not in screen_text(app)
            await pilot.press("f1")
            app.screen.dismiss(("a100-sxm4-80gb",))
            await until(pilot, lambda: app.subject.machines)
            await until(pilot, lambda: screen.hardware and screen.hardware is not WORKSTATION)
            await pilot.pause()
            assert re.search(r"a100-sxm4-80gb ▐SIMULATED▌", screen_text(app))
            await pilot.press("r", "m", "d")  # a profile has nothing of the kind
            assert len(desk.asked) == 4
            await pilot.press("t")
            await ready(app, pilot)
            assert app.subject == Subject()

            desk.may_measure.clear()
            await pilot.press("m")
            await until(pilot, lambda: screen.facts.look == "loading")
            app.subject = Subject(machines=("rtx-4090",))
            await until(pilot, lambda: screen.hardware and screen.hardware is not WORKSTATION)
            desk.may_measure.set()  # a figure of this machine, which is not shown any more
            await settled(app)
            assert screen.facts.known is not None and screen.facts.look == "ready"
            assert screen.facts.known.hardware is screen.hardware

    drive(test)


REAL = """
import asyncio
from tests.tui.support.driving import running, until
from tests.tui.support.snapshots import screen_text

async def main():
    async with running(place="hardware", size=(90, 60)) as (app, pilot):
        screen = app.screen
        await until(pilot, lambda: screen.now.look == screen.facts.look == "ready")
        await until(pilot, lambda: "busy" in screen_text(app))
        text = screen_text(app)
    print(text)

asyncio.run(main())
"""


def test_a_card_is_read_through_nvml_while_one_looks(driver: FakeDriver) -> None:
    gpu = rtx_4090(
        utilisation_percent=42, temperature_c=51, clock_mhz=2520, used_mib=1004, power_mw=60000
    )
    Scenario(gpus=(gpu,)).write(driver.scenario_file)
    text = driver.run(REAL)
    assert "NVIDIA GeForce RTX 4090  llama.cpp: cuda" in text
    assert "22.5 of 24.0 GiB free" in text
    assert "42% busy" in text
    assert "51 °C · 2,520 MHz" in text
    assert "GPU board" in text
