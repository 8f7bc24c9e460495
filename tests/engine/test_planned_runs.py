"""The plan is what runs: real plans, loaded for real on the devices they were made for.

Exact plans, by llama.cpp's allocator, and what a load then takes on each device: the same to the
byte. One exception: of a mapped file llama.cpp reports the span from the first to the last tensor
that stays in it, where the plan counts those tensors (``BufferMemory.model_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm.core.generation import Loaded
from localllm.core.hardware import Hardware
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.engine.client import EngineClient
from localllm.hub.resolve import resolve
from localllm.planning import Planner
from localllm.units import GiB
from tests.engine.support import complete, finish
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.shapes import Shape
from tests.support.specs import gpu, machine

ONE = machine(gpu("SIM0", free=8 * GiB))
TWO = machine(gpu("SIM0", free=8 * GiB), gpu("SIM1", free=4 * GiB))
NONE = machine()
HEADS_OF_64 = replace(shapes.TOY, head_dim=64)


class Case(NamedTuple):
    shape: Shape
    quant: str
    hardware: Hardware
    policy: Policy
    expected: dict[str, object]
    """What makes the plan the one that the case is about."""


def case(shape: Shape, quant: str, hardware: Hardware, policy: Policy, **expected: object) -> Case:
    return Case(shape, quant, hardware, replace(policy, n_threads=2), expected)


CASES = {
    "whole": case(HEADS_OF_64, "F16", ONE, Policy(n_ctx=2048), n_gpu_layers=5),
    "partial": case(HEADS_OF_64, "F16", ONE, Policy(n_gpu_layers=2), n_gpu_layers=2),
    "tied": case(
        replace(HEADS_OF_64, tied=True),
        "F16",
        ONE,
        Policy(n_gpu_layers=1, use_mmap=False),
        n_gpu_layers=1,
        use_mmap=False,
    ),
    "two devices": case(
        HEADS_OF_64, "F16", TWO, Policy(tensor_split=(3, 2)), device_names=("SIM0", "SIM1")
    ),
    "two devices in part": case(
        HEADS_OF_64,
        "F16",
        TWO,
        Policy(n_gpu_layers=3, tensor_split=(1, 2)),
        device_names=("SIM0", "SIM1"),
        n_gpu_layers=3,
    ),
    "experts in RAM": case(
        replace(shapes.TOY_MOE, head_dim=64), "Q8_0", ONE, Policy(n_cpu_moe=2), n_gpu_layers=5
    ),
    "window": case(shapes.TOY_GEMMA3, "F16", ONE, Policy(n_ctx=4096), swa_full=False),
    "small cache": case(
        HEADS_OF_64, "F16", ONE, Policy(type_k="q8_0", type_v="q8_0"), type_k="q8_0"
    ),
    "no flash attention": case(
        HEADS_OF_64, "F16", ONE, Policy(flash_attn="off", n_ubatch=256), flash_attn="off"
    ),
    "CPU": case(HEADS_OF_64, "F16", NONE, Policy(use_mmap=False), device_names=()),
    "CPU, rearranged": case(shapes.TOY_K_QUANT, "Q4_K_M", NONE, Policy(repack=True), repack=True),
    "CPU, mapped": case(shapes.TOY_K_QUANT, "Q4_K_M", NONE, Policy(repack=False), repack=False),
}


@pytest.fixture(scope="module")
def planner() -> Iterator[Planner]:
    with Planner() as planner:
        yield planner


@pytest.mark.parametrize("name", CASES)
def test_a_load_takes_what_its_plan_says_on_every_device(
    name: str, planner: Planner, tmp_path: Path
) -> None:
    shape, quant, hardware, policy, expected = CASES[name]
    path = make_model(tmp_path / "model.gguf", shape, quant=quant, sparse=False)
    plan = planner.plan(resolve(str(path)), hardware, policy)
    assert (plan.basis, plan.verdict) == ("exact", "fits"), plan.basis_reason
    assert {key: getattr(plan, key) for key in expected} == expected
    if name == "experts in RAM":
        assert len(plan.tensor_overrides) > 0
    with EngineClient(simulated=plan.hardware.devices) as engine:
        loaded = list(engine.load(plan, (str(path),)))[-1]
        assert isinstance(loaded, Loaded), loaded
        assert loaded.n_ctx == plan.n_ctx
        assert rows(loaded) == planned_rows(plan)
        [mapped] = [row.mapped_bytes for row in loaded.memory if row.name == "host"] or [0]
        assert plan.host.mapped_bytes <= mapped <= path.stat().st_size
        assert finish(engine.complete(complete("Hello", max_tokens=4))).stats.n_gen > 0


def rows(loaded: Loaded) -> dict[str, tuple[int, int, int]]:
    """Model, context and compute by device, the mapped file left out."""
    assert loaded.memory_unknown is None
    return {
        row.name: (row.model_bytes - row.mapped_bytes, row.context_bytes, row.compute_bytes)
        for row in loaded.memory
    }


def planned_rows(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """The same of a plan."""
    return {
        row.name: (row.model_bytes - row.mapped_bytes, row.context_bytes, row.compute_bytes)
        for row in plan.devices
    }
