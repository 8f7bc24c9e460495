"""The widgets of a plan in an app: they follow the plan and the width, and can be walked along."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.pilot import Pilot

from localllm.tui.plan.bars import MemoryBars
from localllm.tui.plan.cliff import CliffGauge
from localllm.tui.plan.drawn import Drawn
from localllm.tui.plan.speeds import SpeedGauges
from localllm.tui.plan.strip import LayerStrip
from tests.tui.plan import plans
from tests.tui.support.driving import drive
from tests.tui.support.snapshots import screen_text


class _Pictures(App[int]):
    AUTO_FOCUS = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield from (LayerStrip(), MemoryBars(), CliffGauge(), SpeedGauges())


def test_the_four_of_them() -> None:
    async def test() -> None:
        app = _Pictures()
        async with app.run_test(size=(80, 34), tooltips=True) as pilot:
            assert [widget.size.height for widget in app.query(Drawn)] == [0, 0, 0, 0]
            for widget in app.query(Drawn):
                widget.plan = plans.experts_apart()
            await pilot.pause()
            heights = [widget.size.height for widget in app.query(Drawn)]
            assert all(heights)
            narrow = screen_text(app)
            assert "RAM experts of 33 layers, embedding" in narrow
            assert "with this much more, the experts of one more layer fit" in narrow
            await _walks(app, pilot)
            await pilot.resize_terminal(140, 34)
            await pilot.pause()
            assert app.query_one(SpeedGauges).size.height < heights[-1]
            for widget in app.query(Drawn):
                widget.plan = plans.too_large()
            await pilot.pause()
            assert "✗ 30.7 GiB short" in screen_text(app)
            app.theme = "ansi-dark"
            await pilot.pause()
            assert "✗ 30.7 GiB short" in screen_text(app)

    drive(test)


async def _walks(app: App[int], pilot: Pilot[int]) -> None:
    """Keys and a click select a layer, the pointer tells of another, and the legend comes back."""
    strip = app.query_one(LayerStrip)
    await pilot.press("tab", "right", "right")
    assert "layer 2 on CUDA0: weights" in screen_text(app)
    await pilot.press("end")
    assert "output layer on CUDA0: weights" in screen_text(app)
    await pilot.press("home", "left")
    assert "embedding in RAM" in screen_text(app)
    await pilot.click(LayerStrip, offset=(11 + 4, 2))
    assert "layer 4 on CUDA0" in screen_text(app)
    await pilot.hover(LayerStrip, offset=(11 + 40, 1))
    assert isinstance(strip.tooltip, Content)
    assert strip.tooltip.plain.startswith("layer 40 on CUDA0: weights")
    await pilot.hover(LayerStrip, offset=(2, 0))
    assert strip.tooltip is None
    app.screen.set_focus(None)
    await pilot.pause()
    assert "RAM experts of 33 layers, embedding" in screen_text(app)
