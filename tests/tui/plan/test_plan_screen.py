"""The Plan place as a person drives it: turn until it breaks, mend, undo, go elsewhere, copy."""

from __future__ import annotations

import json
import shlex
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Key, MouseScrollUp
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from localllm.core.policy import Policy
from localllm.tui.desk import Desk
from localllm.tui.messages import Place, SubjectChanged
from localllm.tui.plan import keeping_up
from localllm.tui.plan.helps import Helps
from localllm.tui.plan.knob_row import KnobRow
from localllm.tui.plan.machine_dialog import MachineDialog
from localllm.tui.plan.screen import PlanScreen
from localllm.tui.subject import ONE_MORE, Planned, Subject
from localllm.units import GiB
from tests.tui.plan.conftest import FIXED, plan_screen, small_machine, with_a_card
from tests.tui.support.driving import drive, running, until
from tests.tui.support.snapshots import screen_text


async def finished(pilot: Pilot[int]) -> PlanScreen:
    """Wait for the plan of what was asked last, with what would help it."""
    screen = plan_screen(pilot.app)  # type: ignore[arg-type]  # the pilot's app is ours

    def is_finished() -> bool:
        made = screen.made
        return made is not None and made.subject == screen.latest and screen.proof == "done"

    await until(pilot, is_finished)
    await pilot.pause()
    return screen


def test_turned_until_it_breaks_mended_undone_and_moved_to_another_machine() -> None:
    async def test() -> None:
        begin = replace(FIXED, wishes=replace(FIXED.wishes, n_ctx=16384))
        async with running(subject=begin, place="plan", machine=small_machine()) as (app, pilot):
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.verdict == "fits"
            await pilot.press("right")  # the context has the focus
            screen = await finished(pilot)
            broken = screen.latest
            assert broken.wishes.n_ctx == 32768
            text = screen_text(app)
            assert "✗ does not fit" in text
            assert "short of" in text and "→ This would help: q8_0 KV cache" in text

            await pilot.press("w")
            await until(pilot, lambda: "│ ▸ q8_0 KV cache" in screen_text(app))
            assert screen_text(app).count("│ ▸ ") == 1  # what Enter applies, and no other
            await pilot.press("enter")
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.verdict == "fits"
            mended = replace(broken.wishes, type_k="q8_0", type_v="q8_0")
            assert app.subject.wishes == screen.latest.wishes == mended

            await pilot.press("u")
            screen = await finished(pilot)
            assert screen.latest == broken and "✗ does not fit" in screen_text(app)
            await pilot.press("u")
            assert app.subject == begin

            await pilot.press("m")
            for key in "a100pcie80gb":  # before the line is there, or the profiles were read
                app.post_message(Key(key, key))
            app.post_message(Key("enter", None))
            await until(pilot, lambda: app.screen is screen and screen.latest.simulated)
            assert app.subject.machines == ("a100-pcie-80gb",)
            assert "SIMULATED" in screen_text(app)
            await pilot.press("c")
            assert app.current_mode == "plan"  # it cannot be run there
            await pilot.press("m", "enter")
            await until(pilot, lambda: app.screen is screen and not screen.latest.simulated)
            assert "SIMULATED" not in screen_text(app)
            await finished(pilot)
            went: list[Place] = []
            app.action_go = went.append  # type: ignore[assignment,method-assign]  # nobody goes there
            await pilot.press("c", "b")
            assert (went, app.subject) == (["chat", "bench"], begin)

    drive(test)


def test_knobs_by_mouse_and_by_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with running(subject=FIXED, place="plan", machine=with_a_card()) as (app, pilot):
            screen = await finished(pilot)
            monkeypatch.setattr(keeping_up, "CHOICE_S", 60.0)  # for as long as a person turns on

            def wishes() -> Policy:
                return screen.latest.wishes

            context, layers = (
                screen.query_one(f"#knob-{n}", KnobRow) for n in ("n_ctx", "n_gpu_layers")
            )

            await pilot.click(layers, offset=(18, 0))  # its left arrow
            await until(pilot, lambda: wishes().n_gpu_layers == 32)
            await pilot.click(layers, offset=(40, 0))  # the word "set"
            await until(pilot, lambda: wishes().n_gpu_layers is None)
            at_the_end = context.size.width - 1
            await pilot.click(context, offset=(at_the_end, 0))
            await until(pilot, lambda: wishes().n_ctx == 131072)
            await pilot.mouse_down(context, offset=(at_the_end, 0))
            await pilot.hover(context, offset=(47, 0))
            await pilot.mouse_up(context, offset=(47, 0))
            await until(pilot, lambda: wishes().n_ctx == 512)
            context.post_message(_wheel_up(context))
            await until(pilot, lambda: wishes().n_ctx == 1024)

            for text in ("32k", "many"):
                await pilot.press("enter")
                context.query_one(Input).value = text
                await pilot.press("enter")
            assert wishes().n_ctx == 32768  # nobody reads "many"
            assert any("is not a context" in note.title for note in app._notifications)
            assert context.entry.value == "many"  # it stays, to be corrected
            await pilot.press("escape")
            for keys, n_ctx in ((("enter", *"8192", "enter"), 8192), ((*"4096", "enter"), 4096)):
                for key in keys:  # all at once, as one who types faster than the line opens
                    app.post_message(Key(key, key if len(key) == 1 else None))
                await pilot.pause()
                assert not context.is_editing and screen.focused is context
                assert wishes().n_ctx == n_ctx
            assert "▸ context" in screen_text(app) and "▸ GPU layers" not in screen_text(app)
            await pilot.press("enter", "9")
            assert "Set it" in screen_text(app) and "Leave it" in screen_text(app)
            await pilot.press("escape", "H")
            assert wishes().n_ctx == 512
            await pilot.press("a")
            assert wishes() == FIXED.wishes
            assert screen.focused is context
            await pilot.press("pagedown", "pagedown", "pagedown")
            assert "Basis: " in screen_text(app)  # the end of what is said
            assert screen.focused is context
            await pilot.press("down", "down", "left")  # past the quantisation, to the cache
            assert wishes().type_k == "q8_0"
            await pilot.press("r")
            assert wishes() == Policy()

            app.post_message(
                SubjectChanged(replace(FIXED, wishes=Policy(quant="Q4_K_M", depth=9000)))
            )
            await until(pilot, lambda: "leaves no room in a context" in screen_text(app))
            assert "Knobs" in screen_text(app)
            assert "The last plan that could be made" in screen_text(app)
            assert app.planned is None
            monkeypatch.setattr(keeping_up, "CHOICE_S", 0.0)
            screen.query_one("#knob-depth", KnobRow).focus()
            await pilot.press("left")
            screen = await finished(pilot)
            assert wishes().depth == 4096
            assert "leaves no room" not in screen_text(app)

    drive(test)


def _wheel_up(row: KnobRow) -> MouseScrollUp:
    return MouseScrollUp(
        row, x=0, y=0, delta_x=0, delta_y=0, button=0, shift=False, meta=False, ctrl=False
    )


class _Gated(Desk):
    """A desk whose first plan waits, and that counts what it plans."""

    def __init__(self) -> None:
        super().__init__(machine=with_a_card(), exact=False)
        self.planned: list[Subject] = []
        self.gate = threading.Event()

    def plan(self, subject: Subject, **wishes: object) -> Planned:
        self.planned.append(subject)
        if len(self.planned) == 2:  # the first after what the place opened with
            self.gate.wait(20)
        return super().plan(subject, **wishes)  # type: ignore[arg-type]  # passed on as they are


def test_the_latest_wish_wins_and_none_is_queued() -> None:
    async def test() -> None:
        desk = _Gated()
        desk.planned.append(FIXED)
        async with running(subject=FIXED, place="plan", desk=desk) as (app, pilot):
            desk.gate.set()
            screen = await finished(pilot)
            desk.planned[:] = [FIXED]
            desk.gate.clear()
            layers = screen.query_one("#knob-n_gpu_layers", KnobRow)
            layers.action_turn(-1)
            await until(pilot, lambda: len(desk.planned) == 2)
            for _ in range(19):
                layers.action_turn(-1)
            await until(pilot, lambda: screen.latest.wishes.n_gpu_layers == 13)
            assert screen.plan is not None and screen.plan.n_gpu_layers == 33
            helps = screen.query_one(Helps)
            helps.proof = "none"  # as it is between a plan and what would help it
            await pilot.pause()
            assert helps.look == "loading"
            desk.gate.set()
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.n_gpu_layers == 13
            asked = [subject.wishes.n_gpu_layers for subject in desk.planned[1:]]
            assert asked == [32, 13, 13]  # the last one at once, and then with what would help
            assert app.subject.wishes.n_gpu_layers == 13

    drive(test)


def test_machines_are_found_counted_combined_and_copied() -> None:
    async def test() -> None:
        small = with_a_card(4 * GiB)
        async with running(subject=FIXED, place="plan", machine=small) as (app, pilot):
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.n_gpu_layers < 33
            await _take(screen, "one more")
            await until(pilot, lambda: app.subject.machines == ("this machine", ONE_MORE))
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.n_gpu_layers == 33
            await pilot.press("y")
            assert "No name says" in screen_text(app)
            await pilot.press("escape", "m")
            await until(pilot, lambda: isinstance(app.screen, MachineDialog))
            entry = app.screen.query_one(Input)
            entry.value = "30506gb"
            await pilot.press("enter")
            await until(pilot, lambda: app.subject.machines == ("rtx-3050-6gb",))
            screen = await finished(pilot)
            await _take(screen, "one more")
            await until(pilot, lambda: app.subject.machines == ("2x rtx-3050-6gb",))

            await pilot.press("m")
            await until(pilot, lambda: isinstance(app.screen, MachineDialog))
            entry = app.screen.query_one(Input)
            entry.value = "hgx"
            await pilot.press("+")
            entry.value += "4090"
            await pilot.press("enter")
            await until(pilot, lambda: "cannot be combined" in screen_text(app))
            entry.value = "2x3090"
            await pilot.press("+")
            assert entry.value == "2x rtx-3090 + "
            entry.value += "epyc9654"
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is screen)
            assert app.subject.machines == ("2x rtx-3090", "epyc-9654")
            screen = await finished(pilot)
            assert screen.plan is not None and len(screen.plan.hardware.devices) == 2

            await pilot.press("y")
            line = app.screen.query_one(TextArea).text
            assert shlex.split(line) == [
                *("localllm", "plan", "llama-3.1-8b", "--hardware", "2x rtx-3090"),
                *("--hardware", "epyc-9654", "--quant", "Q4_K_M"),
            ]
            assert app.clipboard == ""
            await pilot.press("enter")
            assert app.clipboard == line
            await pilot.press("c")
            assert app.clipboard == line  # it cannot be run there
            assert "localllm chat runs on this machine" in screen_text(app)
            await pilot.press("f")
            assert app.clipboard.startswith("llama-server \\\n  -m ")
            await pilot.press("j")
            assert json.loads(app.clipboard)["n_gpu_layers"] == 33
            assert app.screen.query_one(TextArea).text == app.clipboard
            await pilot.press("escape")
            assert app.screen is screen

    drive(test)


async def _take(screen: PlanScreen, words: str) -> None:
    """Choose among what would help, as a click on the row does."""
    assert screen.plan is not None
    offered = next(o for o in screen.plan.counterfactuals if o.change.startswith(words))
    screen.query_one(Helps).post_message(Helps.Chosen(offered))


def test_llama_cpp_itself_counts_what_is_a_file(toy_model: Path) -> None:
    async def test() -> None:
        subject = Subject(name=str(toy_model))
        async with running(
            subject=subject, place="plan", machine=with_a_card(8 * GiB), exact=True
        ) as (app, pilot):
            screen = await finished(pilot)
            assert screen.plan is not None
            assert (screen.plan.basis, screen.plan.basis_reason) == ("exact", None)
            assert "✓ exact (llama.cpp)" in screen_text(app)
            before = screen.plan
            await pilot.press("right")
            await until(pilot, lambda: screen.plan is not before)
            assert "≈ formula · est." in screen_text(app) or screen.proof == "done"
            screen = await finished(pilot)
            assert screen.plan is not None and screen.plan.basis == "exact"
            # in another quantisation there is no such file to ask llama.cpp about
            app.post_message(SubjectChanged(replace(subject, wishes=Policy(quant="Q8_0"))))
            await until(pilot, lambda: screen.latest.wishes.quant == "Q8_0")
            screen = await finished(pilot)
            assert "Not exact: the file is in F16, not in Q8_0." in screen_text(app)

    drive(test)
