"""The dialog of a download, and downloads that go on behind the screens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot

from localllm.choosing import Decided
from localllm.core.fetching import FetchProgress, FileState
from localllm.core.policy import Policy
from localllm.session import LocalModel, Session
from localllm.tui.app import LocalLLMApp
from localllm.tui.fetching.dialog import FetchDialog
from localllm.tui.fetching.fetches import Fetch
from localllm.units import GiB, MiB
from tests.support.loopback_hub import Fault, LoopbackHub
from tests.tui.support.driving import drive, running, until
from tests.tui.support.model_hub import NAME, rtx_4090
from tests.tui.support.snapshots import check_both, screen_text

FREE = 100 * GiB
RATE = 52.3e6


def decided(name: str = NAME) -> Decided:
    """What a name means on a machine that is the same everywhere; the disk of this one is not."""
    with Session(hardware=rtx_4090(), basis="formula") as session:
        found = session.find(name, Policy())
    assert found.fetch is not None
    return replace(found, fetch=replace(found.fetch, free_bytes=FREE, bytes_per_s=RATE))


class Results(list[LocalModel | None]):
    """What dialogs gave back."""


async def opened(
    app: LocalLLMApp, pilot: Pilot[int], what: Decided, results: Results
) -> FetchDialog:
    dialog = FetchDialog(what)
    app.push_screen(dialog, results.append)
    await pilot.pause()
    return dialog


def came(app: LocalLLMApp) -> int:
    """How many bytes of the model are here."""
    fetch = app.fetches.of(NAME)
    return fetch.progress.n_done if fetch is not None and fetch.progress is not None else 0


def test_a_model_is_asked_about_stopped_resumed_verified_and_handed_over(
    hub: LoopbackHub, toy_model: Path
) -> None:
    async def test() -> None:
        results, what = Results(), decided()
        async with running(machine=rtx_4090(), place="plan") as (app, pilot):
            dialog = await opened(app, pilot, what, results)
            await app.workers.wait_for_complete()
            await check_both(pilot, "fetch-before")
            assert what.fetch is not None
            once_more = replace(what.fetch, bytes_per_s=None)  # its header is here by now
            assert app.fetches.timed(once_more).bytes_per_s == RATE
            hub.rate = 400_000
            await pilot.press("enter")
            await until(pilot, lambda: came(app))
            assert dialog.phase == "running"
            await pilot.press("escape")
            await until(pilot, lambda: dialog.phase == "stopped")
            assert " of 671.3 KiB are kept: fetching it again continues." in screen_text(app)
            hub.rate = None
            await pilot.press("enter")
            await until(pilot, lambda: dialog.phase == "done")
            first, second = hub.ranges("Toy-F16.gguf")[-2:]
            assert first == "0-" and int(second.removesuffix("-")) > 0
            shown = screen_text(app)
            assert f"✓ fetched {NAME}: 671.3 KiB in " in shown
            assert "of it were here" in shown and "verified (SHA-256)" in shown
            await pilot.press("escape")  # there is nothing to stop any more
            await pilot.pause()
            (model,) = results
            assert model is not None and model.paths[0].read_bytes() == toy_model.read_bytes()

    drive(test)


def test_leaving_the_app_waits_for_no_download_and_keeps_its_part(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    async def test() -> None:
        what = decided()
        fault = hub.fault(Fault(cut="stall", after=400_000))
        async with running(machine=rtx_4090(), place="plan") as (app, pilot):
            await opened(app, pilot, what, Results())
            await pilot.press("enter")
            await until(pilot, lambda: fault.reached.is_set() and came(app))
            await pilot.press("ctrl+q")
        (part,) = (tmp_path / "hf").rglob("*.part")
        assert 0 < part.stat().st_size <= 400_000

    drive(test)


def going(*phases: str, waiting_for: str | None = None) -> Fetch:
    """A download as it may be seen, its figures the same every time."""
    fetch = Fetch(decided())
    fetch.state = "running"
    n_files = len(phases)
    for second in range(3):
        files = tuple(
            FileState(
                path=f"Toy-F16-{number:05d}-of-{n_files:05d}.gguf" if n_files > 1 else "Toy.gguf",
                n_bytes=4 * GiB,
                n_done={"done": 4 * GiB, "queued": 0}.get(phase, (1500 + 50 * second) * MiB),
                n_resumed=500 * MiB if phase == "fetching" else 0,
                n_received=(1000 + 50 * second) * MiB if phase == "fetching" else 0,
                phase=phase,  # type: ignore[arg-type]  # one of them
                waiting_for=waiting_for if phase == "waiting" else None,
            )
            for number, phase in enumerate(phases, 1)
        )
        fetch.account.hear(FetchProgress(files=files), float(second))
    return fetch


def test_every_look_of_a_download(hub: LoopbackHub) -> None:
    async def test() -> None:
        what = decided()
        assert what.fetch is not None
        (file,) = what.fetch.files
        huge = replace(what.fetch, files=(replace(file, n_bytes=2**60),))
        hub.fault(Fault(where="Toy-F16.gguf", corrupt_at=-1, times=-1))
        async with running(machine=rtx_4090(), place="plan") as (app, pilot):
            dialog = await opened(app, pilot, replace(what, fetch=huge), Results())
            n_asked = len(hub.requests)
            await until(pilot, lambda: dialog.phase == "failed")
            assert "✗" in screen_text(app) and "1,048,576 TiB" in screen_text(app)
            assert len(hub.requests) == n_asked
            await pilot.press("escape")

            dialog = await opened(app, pilot, what, Results())
            await pilot.press("enter")
            await until(pilot, lambda: dialog.phase == "failed")
            await check_both(pilot, "fetch-failed")

            dialog.show_fetch(going("fetching"))
            await check_both(pilot, "fetch-running")
            dialog.show_fetch(going("done", "fetching", "checking", "queued"))
            await check_both(pilot, "fetch-parts")
            dialog.show_fetch(going("waiting", waiting_for="no connection, again in 8 s"))
            await check_both(pilot, "fetch-waiting")
            stopped = going("fetching")
            stopped.state, stopped.said = "stopped", stopped.account.stopped("fetching it again")
            dialog.show_fetch(stopped)
            await check_both(pilot, "fetch-stopped")
            done = going("done")
            done.state, done.said = "done", done.account.ended(182.0)
            dialog.show_fetch(done)
            await check_both(pilot, "fetch-done")

    drive(test)
