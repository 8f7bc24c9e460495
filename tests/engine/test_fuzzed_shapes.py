"""Shapes that nobody listed: formulas, dry runs, plans and real loads agree on all of them.

Everything is drawn from seeds (``tests/support/fuzz.py``); ``scripts/check_formulas.py --fuzz``
draws more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.generation import Event, Failed, Loaded
from localllm.core.hardware import Backend, Device, Hardware
from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.engine.client import EngineClient
from localllm.engine.dryrun import DryRun, DryRunContext, DryRunRefused, DryRunRequest, as_message
from localllm.engine.exact import EngineMemory
from localllm.hub.resolve import resolve
from tests.engine.support import gpu, in_child
from tests.support import shapes
from tests.support.differential import (
    Case,
    Refusal,
    Row,
    allowed_compute_bytes,
    compare_all,
    this_host,
)
from tests.support.fuzz import NAMES, random_cases, random_shape, write_models
from tests.support.gguf_maker import make_model

SEED = 11
N_MODELS, N_CASES = 36, 2

MODELS = {
    "dense": replace(shapes.TOY, name="Dense", head_dim=64, n_layer=12),
    "experts": replace(shapes.TOY_MOE, name="Experts", head_dim=64, n_layer=12),
    "window": replace(shapes.TOY_GEMMA3, name="Window", n_layer=12),
    "latent": shapes.TOY_MLA,
    "state": shapes.TOY_LFM2,
}


# -- formulas and dry runs ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(dry: DryRun, tmp_path_factory: pytest.TempPathFactory) -> list[Row | Refusal]:
    rng = Random(SEED)
    files = write_models(tmp_path_factory.mktemp("fuzzed"), rng, rng.sample(NAMES, N_MODELS))
    wanted = [
        (case, (random_shape(rng),))
        for path in files
        for case in random_cases(rng, path, N_CASES)
        for _ in range(2)
    ]
    found: list[Row | Refusal] = []
    for answer in compare_all(dry, wanted):
        if not isinstance(answer, DryRunRefused):  # hyperparameters that no graph can be built of
            found += answer
    return found


def rows(compared: Sequence[Row | Refusal]) -> list[Row]:
    return [row for row in compared if isinstance(row, Row)]


def test_weights_and_caches_of_any_shape_are_equal_to_the_byte(
    compared: list[Row | Refusal],
) -> None:
    wrong = [
        str(row)
        for row in rows(compared)
        if row.difference("model_bytes") or row.difference("context_bytes")
    ]
    assert wrong == []
    assert len(rows(compared)) > 200


def test_compute_buffers_of_any_shape_are_near_or_declared_estimates(
    compared: list[Row | Refusal],
) -> None:
    wrong = [
        str(row)
        for row in rows(compared)
        if abs(row.difference("compute_bytes")) > allowed_compute_bytes(row.dry["compute_bytes"])
        and not row.estimated
    ]
    assert wrong == []
    n_equal = sum(row.difference("compute_bytes") == 0 for row in rows(compared))
    assert n_equal > 0.7 * len(rows(compared))


def test_a_cache_of_any_types_is_refused_where_llama_cpp_refuses_it(
    compared: list[Row | Refusal],
) -> None:
    refusals = [found for found in compared if isinstance(found, Refusal)]
    assert [r for r in refusals if (r.ours is None) != (r.theirs is None)] == []
    assert refusals


# -- dry runs and real loads -------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models with random weights, which are really loaded."""
    folder = tmp_path_factory.mktemp("loaded")
    return {
        name: make_model(folder / f"{name}.gguf", shape, quant="Q8_0", sparse=False)
        for name, shape in MODELS.items()
    }


def question(case: Case, rng: Random) -> DryRunRequest:
    counts = case.placement.layers_per_device
    experts = sorted(case.placement.host_expert_layers)
    numbers = "|".join(map(str, experts))
    n_seq = rng.choice([1, 1, 3])
    return DryRunRequest(
        paths=(case.path,),
        devices=case.devices,
        n_gpu_layers=case.placement.n_gpu_layers,
        tensor_split=tuple(map(float, counts)) if sum(counts) else (),
        tensor_overrides=((rf"blk\.({numbers})\.ffn_.*_exps", "CPU"),) if experts else (),
        repack=rng.random() < 0.5,
        contexts=(
            DryRunContext(
                n_ctx=rng.choice([256, 1000, 4096]),
                n_ubatch=rng.choice([4, 33, 256]),
                type_k=rng.choice(["f16", "f32", "bf16"]),
                type_v=rng.choice(["f16", "f32", "bf16"]),
                flash_attn=rng.choice(["auto", "off"]),
                n_seq=n_seq,
                n_outputs_max=n_seq,
            ),
        ),
    )


def of_one_type(request: DryRunRequest) -> DryRunRequest:
    """The same with one type for K and V, as a latent cache must have it."""
    [context] = request.contexts
    return replace(request, contexts=(replace(context, type_v=context.type_k),))


def test_a_real_load_takes_what_the_dry_run_says_wherever_the_layers_lie(
    dry: DryRun, files: dict[str, Path]
) -> None:
    rng = Random(SEED)
    asked = [
        of_one_type(question(case, rng)) if name == "latent" else question(case, rng)
        for name, path in files.items()
        for case in random_cases(rng, path, 12)
    ]
    real = in_child(
        "import json\n"
        "from tests.engine.real_loads import main\n"
        f"main(json.loads({json.dumps(json.dumps(list(map(as_message, asked))))}))"
    )
    for request, loaded in zip(asked, real, strict=True):
        [planned] = dry.measure(request).contexts
        assert loaded == {
            row.name: [row.model_bytes, row.context_bytes, row.compute_bytes]
            for row in planned.devices
        }, request


# -- plans and real loads ----------------------------------------------------------------------


def plan_on(dry: DryRun, path: Path, devices: tuple[Device, ...]) -> Plan:
    host, spec = this_host(), resolve(str(path)).spec
    memory = EngineMemory(dry, MemoryModel(spec, (), host), (path,), (path,), this_machine=True)
    hardware = Hardware(name="toy", source="test", host=host, devices=devices)
    policy = Policy(n_ctx=2048, n_ubatch=32, vram_headroom_bytes=0, use_mmap=False)
    return make_plan(spec, hardware, policy, engine=memory)


def needed(plan: Plan) -> list[int]:
    return [row.needed_bytes for row in plan.devices[:-1]]


def sized(devices: Sequence[Device], sizes: Sequence[int]) -> tuple[Device, ...]:
    return tuple(
        replace(device, total_bytes=size, free_bytes=size)
        for device, size in zip(devices, sizes, strict=True)
    )


def load(path: Path, plan: Plan, devices: tuple[Device, ...]) -> Event:
    with EngineClient(simulated=devices) as engine:
        return list(engine.load(plan, (str(path),)))[-1]


BRIM: list[tuple[str, tuple[Backend, ...], tuple[float, ...]]] = [
    ("dense", ("cuda",), (0.8,)),
    ("experts", ("cuda",), (0.9,)),
    ("latent", ("cuda",), (0.95,)),
    ("state", ("metal",), (0.7,)),
    ("window", ("vulkan",), (0.8,)),
    ("dense", ("cuda", "cuda"), (0.6, 0.4)),
    ("experts", ("cuda", "rpc"), (0.35, 0.6)),
]
"""Models, devices, and their sizes as shares of what the whole model needs on the first."""


@pytest.mark.parametrize(("name", "backends", "shares"), BRIM)
def test_a_plan_that_fills_its_devices_to_the_last_byte_loads_and_no_other_does(
    dry: DryRun,
    files: dict[str, Path],
    name: str,
    backends: tuple[Backend, ...],
    shares: tuple[float, ...],
) -> None:
    path = files[name]
    large = tuple(
        gpu(f"SIM{i}", backend=backend, gib=1, overhead_bytes=0)
        for i, backend in enumerate(backends)
    )
    whole = needed(plan_on(dry, path, large[:1]))[0]
    plan = plan_on(dry, path, sized(large, [int(whole * share) for share in shares]))
    assert len(plan.devices) == len(large) + 1

    brimful = sized(large, needed(plan))
    again = plan_on(dry, path, brimful)
    assert [row.n_layers for row in again.devices] == [row.n_layers for row in plan.devices]
    loaded = load(path, again, brimful)
    assert isinstance(loaded, Loaded), loaded
    assert [(r.name, r.model_bytes, r.context_bytes, r.compute_bytes) for r in loaded.memory] == [
        (r.name, r.model_bytes, r.context_bytes, r.compute_bytes) for r in again.devices
    ]

    short = sized(large, [size - (i == 0) for i, size in enumerate(needed(plan))])
    assert isinstance(load(path, again, short), Failed)
    other = plan_on(dry, path, short)
    assert (other.n_gpu_layers, other.tensor_split, other.tensor_overrides) != (
        again.n_gpu_layers,
        again.tensor_split,
        again.tensor_overrides,
    )
