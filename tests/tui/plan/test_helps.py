"""What would help: rows of the plan that is shown, and of no other."""

from __future__ import annotations

from textual.app import App, ComposeResult

from localllm.tui.plan.helps import Helps
from tests.tui.plan.plans import in_part, on_cpu
from tests.tui.support.driving import drive


class _Holder(App[None]):
    def compose(self) -> ComposeResult:
        yield Helps()


def test_what_helps_one_model_or_machine_is_not_shown_beside_another() -> None:
    async def test() -> None:
        app = _Holder()
        async with app.run_test() as pilot:
            helps = app.query_one(Helps)
            helps.plan, helps.proof = in_part(), "done"
            await pilot.pause()
            assert str(helps.look) == "ready"
            helps.proof = "none"  # somebody turns: the rows stay
            await pilot.pause()
            assert str(helps.look) == "ready"
            helps.plan = on_cpu()
            await pilot.pause()
            assert str(helps.look) == "loading"
            helps.plan, helps.proof = in_part(), "done"
            await pilot.pause()
            assert str(helps.look) == "ready"
            helps.plan = None
            await pilot.pause()
            assert str(helps.look) == "loading"

    drive(test)
