"""Home as a person goes through it: look, filter, look up, fetch, verify, remove, go on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest

from localllm import keeping
from localllm.core.kept import Inventory
from localllm.tui.app import LocalLLMApp
from localllm.tui.fetching.dialog import FetchDialog
from localllm.tui.home.screen import HomeScreen
from localllm.tui.subject import Subject
from tests.support.loopback_hub import Fault, LoopbackHub
from tests.tui.support.driving import WIDE, drive, running, until
from tests.tui.support.model_hub import NAME, REPO, rtx_4090
from tests.tui.support.snapshots import check_both, screen_text


def home(app: LocalLLMApp) -> HomeScreen:
    """The place, whatever dialog is on top of it."""
    return cast(HomeScreen, app._screen_stacks["home"][0])


def is_weighed(app: LocalLLMApp) -> bool:
    """Whether every model has its verdict."""
    here = home(app)
    return bool(here.models.shelf.known) and not here.models.asks(here.subject, ())


def names(app: LocalLLMApp) -> list[str]:
    """The models that are listed, in order."""
    return [entry.row.name for entry in home(app).list._entries if entry.row is not None]


def keys(app: LocalLLMApp) -> set[str]:
    """The keys of all models."""
    return {row.key for row in home(app).models.shelf.rows()}


def focused(app: LocalLLMApp) -> str | None:
    """The widget that is typed into."""
    return app.focused.id if app.focused is not None else None


def told(app: LocalLLMApp) -> str:
    """Everything that was said in passing."""
    return "\n".join(each.message for each in app._notifications)


def test_the_first_day_from_an_empty_machine_to_a_model_that_is_removed(hub: LoopbackHub) -> None:
    async def test() -> None:
        async with running(machine=rtx_4090(), size=WIDE) as (app, pilot):
            here = home(app)
            await until(pilot, lambda: is_weighed(app))
            await check_both(pilot, "home-empty")
            assert focused(app) == "list"

            await pilot.press("l", "a", "1")  # Llama without its dash
            assert focused(app) == "filter" and here.typed.value == "la1"
            here.typed.value = "llama 3.2"
            await pilot.pause()
            assert names(app) == ["llama-3.2-1b"]
            here.typed.value = REPO
            await until(pilot, lambda: here.list.entry is not None and here.row is None)
            assert f"enter: look up {REPO} on the Hub" in screen_text(app)
            await pilot.press("enter")
            await until(pilot, lambda: here.row is not None)
            await check_both(pilot, "home-looked-up")
            assert here.row is not None and here.row.name == NAME

            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, FetchDialog))
            await pilot.press("enter")
            dialog = cast(FetchDialog, app.screen)
            await until(pilot, lambda: dialog.phase == "done")
            await pilot.press("enter")
            await until(pilot, lambda: here.row is not None and here.row.kept is not None)
            await until(pilot, lambda: "used just now" in here.detail.content.plain)
            assert "in the shared Hugging Face cache" in here.detail.content.plain

            await pilot.press("v")
            await until(pilot, lambda: "1 file, 671.3 KiB in " in screen_text(app))
            assert f"ok       {NAME}  671.3 KiB" in screen_text(app)
            await pilot.press("escape", "x")
            await until(pilot, lambda: "Deleting frees 671.4 KiB." in screen_text(app))
            await check_both(pilot, "home-remove")
            await pilot.press("escape")
            assert keeping.kept_models().models
            await pilot.press("x")
            await until(pilot, lambda: "Deleting frees" in screen_text(app))
            await pilot.press("d")
            await until(pilot, lambda: f"kept:{NAME}" not in keys(app))
            assert not keeping.kept_models().models
            assert "Deleted: 671.4 KiB are free again." in told(app)
            assert app.screen is here

    drive(test)


def test_a_download_that_goes_on_is_seen_in_the_list(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    look = keeping.kept_models

    def counted() -> Inventory:
        looks.append(None)
        return look()

    monkeypatch.setattr("localllm.keeping.kept_models", counted)
    monkeypatch.setattr("localllm.tui.desk.known_models", tuple)  # none: nothing is planned

    async def test() -> None:
        async with running(machine=rtx_4090(), size=WIDE) as (app, pilot):
            here = home(app)
            await until(pilot, lambda: here.list.entry is not None)
            here.typed.value = NAME
            await until(pilot, lambda: here.list.entry is not None and here.row is None)
            here.list.action_choose()
            await until(pilot, lambda: here.row is not None)
            fault = hub.fault(Fault(cut="stall", after=400_000))
            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, FetchDialog))
            await pilot.press("enter")
            await until(pilot, fault.reached.is_set)
            await pilot.press("h")
            await until(pilot, lambda: app.screen is here)
            assert app.activities["home"].startswith("↓")
            here.action_clear_filter()
            await until(pilot, lambda: names(app)[0] == "demo")
            assert f"↓ {NAME}" in screen_text(app)
            assert "… fetching" in screen_text(app)
            here.list.go_to(f"found:{NAME}")
            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, FetchDialog))
            assert cast(FetchDialog, app.screen).phase == "running"
            await pilot.press("h")
            await until(pilot, lambda: app.screen is here)
            fault.released.set()
            await until(pilot, lambda: f"kept:{NAME}" in keys(app))
            assert f"fetched {NAME}: 671.3 KiB" in told(app) and "home" not in app.activities
            assert hub.ranges("Toy-F16.gguf")[1:] == ["0-"]  # the first was the header
            await pilot.pause(0.2)
            assert len(looks) == 2  # the app tells every screen once

    drive(test)


def test_another_machine_has_other_verdicts_another_order_and_what_is_chosen_goes_on(
    hub: LoopbackHub,
) -> None:
    async def test() -> None:
        subject = Subject(machines=("desktop-ddr4",))
        async with running(machine=rtx_4090(), subject=subject, size=WIDE) as (app, pilot):
            here = home(app)
            await until(pilot, lambda: is_weighed(app))
            await check_both(pilot, "home-simulated")
            await pilot.press("s", "s", "s")  # size, last use, speed
            assert names(app)[1:] == ["llama-3.2-1b", "gpt-oss-20b", "gpt-oss-120b"]
            here.typed.value = "fits oss"
            await pilot.pause()
            assert names(app) == ["gpt-oss-20b"]
            here.typed.value = ""
            app.subject = Subject()
            await until(pilot, lambda: is_weighed(app))
            words = here.models.verdicts(here.subject)["known:llama-3.2-1b"].words
            assert words.endswith("17/17 layers on GPU")
            app.subject = subject  # is known already
            await pilot.pause()
            assert is_weighed(app)

            here.list.go_to("demo:demo")
            await pilot.press("x", "f")
            await pilot.pause()
            assert "demo comes with localllm: there is nothing to be deleted." in told(app)
            assert "demo is here." in told(app)
            y = 1 + [entry.key for entry in here.list.seen].index("known:gpt-oss-20b")
            await pilot.click("#list", offset=(8, y))
            assert here.row is not None and here.row.name == "gpt-oss-20b"
            await pilot.click("#list", offset=(8, y))
            await until(pilot, lambda: app.current_mode == "plan")
            assert app.subject.name == "gpt-oss-20b"

    drive(test)


def test_every_look_and_what_goes_wrong_is_said_in_its_place(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> None:
    go_on = threading.Event()
    look = keeping.kept_models

    def later() -> Inventory:
        go_on.wait(30)
        return Inventory(models=(), notes=("/cache/hub could not be read: Permission denied.",))

    async def test() -> None:
        monkeypatch.setattr("localllm.keeping.kept_models", later)
        async with running(machine=rtx_4090(), size=WIDE) as (app, pilot):
            here = home(app)
            await until(pilot, lambda: here.machine.look == "ready")
            await check_both(pilot, "home-loading")
            go_on.set()
            await until(pilot, lambda: is_weighed(app))
            await check_both(pilot, "home-unreadable")

            here.typed.value = "maker/Nothing-GGUF"
            await until(pilot, lambda: here.list.entry is not None and here.row is None)
            here.list.action_choose()
            await until(pilot, lambda: here.models.problems)
            await until(pilot, lambda: "→" in here.detail.content.plain)
            assert "✗ There is no repository maker/Nothing-GGUF" in screen_text(app)
            hub.add_repo("maker/Gated-GGUF", {"Toy-F16.gguf": toy_model}, gated="manual")
            here.typed.value = "maker/Gated-GGUF"
            here.list.action_choose()
            await until(pilot, lambda: "its licence must be" in here.detail.content.plain)
            assert "log in and accept the licence" in here.detail.content.plain
            here.typed.value = "no such thing:"
            await until(pilot, lambda: here.panel.look == "empty")
            await check_both(pilot, "home-nothing-like-it")

            monkeypatch.setattr("localllm.keeping.kept_models", look)
            monkeypatch.setenv("HF_HUB_CACHE", "~nobody-of-that-name/hub")
            here.action_clear_filter()
            await until(pilot, lambda: here.panel.look == "ready")
            await pilot.press("r")
            await until(pilot, lambda: here.panel.look == "failed")
            app.subject = Subject(machines=("rtx-40900",))
            await until(pilot, lambda: here.machine.look == "failed")
            await check_both(pilot, "home-failed")

    drive(test)
