"""Machines and subjects that the Plan place is opened with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.policy import Policy
from localllm.tui.app import LocalLLMApp
from localllm.tui.plan import keeping_up
from localllm.tui.plan.screen import PlanScreen
from localllm.tui.subject import Subject
from localllm.units import GiB
from tests.support.specs import gpu, machine

FIXED = Subject(name="llama-3.1-8b", wishes=Policy(quant="Q4_K_M"))
"""Nothing of it is left to be chosen."""


@pytest.fixture(autouse=True, scope="package")
def _nobody_hesitates() -> Iterator[None]:
    """Nothing waits for a person who may turn on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping_up, "CHOICE_S", 0.0)
        patch.setattr(keeping_up, "SETTLED_S", 0.0)
        yield


def small_machine() -> Hardware:
    """This machine, with 8 GiB of RAM free and no GPU."""
    return replace(machine(ram=8 * GiB), source=THIS_MACHINE)


def with_a_card(free: int = 23 * GiB) -> Hardware:
    """This machine, with one GPU."""
    return replace(machine(gpu(free=free)), source=THIS_MACHINE)


def plan_screen(app: LocalLLMApp) -> PlanScreen:
    """The place as it is open."""
    screen = app.screen
    assert isinstance(screen, PlanScreen)
    return screen
