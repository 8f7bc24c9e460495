"""The looks of the Plan place and its dialogs, at both sizes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from textual.pilot import Pilot
from textual.widgets import Input

from localllm.choosing import Decided
from localllm.core.policy import Policy
from localllm.finding import Watch
from localllm.tui.app import LocalLLMApp
from localllm.tui.desk import Desk
from localllm.tui.messages import SubjectChanged
from localllm.tui.plan.machine_dialog import MachineDialog
from localllm.tui.subject import Subject
from tests.tui.plan.conftest import FIXED, plan_screen, small_machine
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import check_both, screen_text


class _Slow(Desk):
    """A desk that finds nothing before it may."""

    def __init__(self) -> None:
        super().__init__(machine=small_machine(), exact=False)
        self.may_find = threading.Event()

    def find_if(
        self, subject: Subject, *, wanted: Callable[[], bool], watch: Watch | None = None
    ) -> Decided | None:
        if watch is not None and not self.may_find.is_set():
            watch.on_step("looking at meta-llama/Llama-3.1-8B")
        self.may_find.wait(20)
        return super().find_if(subject, wanted=wanted, watch=watch)


def test_every_look() -> None:
    async def test() -> None:
        desk = _Slow()
        async with running(place="plan", desk=desk) as (app, pilot):
            await check_both(pilot, "plan-empty")

            app.post_message(SubjectChanged(FIXED))
            await until(pilot, lambda: "looking at" in screen_text(app))
            await check_both(pilot, "plan-loading")

            desk.may_find.set()
            await _finished(app, pilot, FIXED)
            await check_both(pilot, "plan-fits")

            broken = replace(FIXED, wishes=Policy(quant="Q4_K_M", n_ctx=65536))
            app.post_message(SubjectChanged(broken))
            await _finished(app, pilot, broken)
            await check_both(pilot, "plan-does-not-fit")

            elsewhere = Subject(name="mixtral-8x7b", machines=("2x rtx-3060-12gb",))
            app.post_message(SubjectChanged(elsewhere))
            await _finished(app, pilot, elsewhere)
            await check_both(pilot, "plan-simulated")

            refused = replace(elsewhere, wishes=Policy(n_ctx=4096, depth=5000))
            app.post_message(SubjectChanged(refused))
            await until(pilot, lambda: "✗" in screen_text(app))
            await check_both(pilot, "plan-refused")

            app.post_message(SubjectChanged(Subject(name="./missing.gguf")))
            await until(pilot, lambda: "missing.gguf" in screen_text(app))
            await until(pilot, lambda: "✗" in screen_text(app))
            await check_both(pilot, "plan-failed")

    drive(test)


def test_the_dialogs() -> None:
    async def test() -> None:
        async with running(subject=FIXED, place="plan", machine=small_machine()) as (app, pilot):
            await _finished(app, pilot, FIXED)
            await pilot.press("m")
            await until(pilot, lambda: isinstance(app.screen, MachineDialog))
            app.screen.query_one(Input).value = "2x 3090"
            await until(pilot, lambda: "2x rtx-3090" in screen_text(app))
            await check_both(pilot, "plan-machines")
            await pilot.press("escape", "y", "f")
            await check_both(pilot, "plan-copy")

    drive(test)


async def _finished(app: LocalLLMApp, pilot: Pilot[int], subject: Subject) -> None:
    """Wait for the plan of a subject, with what would help it."""
    screen = plan_screen(app)
    await until(
        pilot,
        lambda: (
            screen.made is not None and screen.made.subject == subject and screen.proof == "done"
        ),
    )
    await pilot.pause()
