"""Real runs on devices that do not exist: offload, splits, experts in RAM, memory that runs out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm.core.buffers import BufferMemory
from localllm.core.generation import Event, Failed, Loaded
from localllm.core.hardware import Backend, Device
from localllm.core.plan import Plan, TensorOverride
from localllm.engine.client import EngineClient
from localllm.engine.dryrun import DryRun, DryRunContext, DryRunRequest, as_message
from localllm.units import MiB
from tests.engine.support import complete, cpu_plan, device, failure, finish, gpu, in_child, text_of
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.shapes import Shape

ONE, TWO = (gpu("SIM0"),), (gpu("SIM0"), gpu("SIM1"))
BACKENDS: tuple[Backend, ...] = ("cuda", "metal", "vulkan", "rpc")
EXPERTS = r"ffn_(up|down|gate_up|gate)_(ch|)exps"
QUESTION = complete("Once upon a time there was a machine", max_tokens=16)

HEADS_OF_64 = replace(shapes.TOY, name="Heads of 64", head_dim=64)
"""A toy whose flash attention CUDA has a kernel for."""

MODELS: Mapping[str, tuple[Shape, str]] = {
    "f16": (HEADS_OF_64, "F16"),
    "q8_0": (HEADS_OF_64, "Q8_0"),
    "tied": (replace(HEADS_OF_64, tied=True), "F16"),
    "experts": (replace(shapes.TOY_MOE, head_dim=64), "Q8_0"),
    "window": (shapes.TOY_GEMMA3, "Q8_0"),
    "latent": (shapes.TOY_MLA, "Q8_0"),
    "state": (shapes.TOY_LFM2, "Q8_0"),
}


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Any:
    """Model files with random weights, by name."""

    def make(name: str) -> Path:
        path = models_dir / f"simulated-{name}.gguf"
        if not path.exists():
            shape, quant = MODELS[name]
            make_model(path, shape, quant=quant, sparse=False)
        return path

    return make


def plan_on(devices: tuple[Device, ...], **changes: Any) -> Plan:
    rows = (*(device(d.name) for d in devices), device("host"))
    return cpu_plan(devices=rows, **changes)


def load(engine: EngineClient, path: Path, devices: tuple[Device, ...], **changes: Any) -> Loaded:
    last = list(engine.load(plan_on(devices, **changes), (str(path),)))[-1]
    assert isinstance(last, Loaded), last
    return last


@pytest.fixture(scope="module")
def cpu_answer(model: Any) -> Iterator[Any]:
    """What a model answers on the CPU alone."""
    known: dict[tuple[str, str], str] = {}
    with EngineClient() as engine:

        def answer(name: str, flash_attn: str) -> str:
            if (name, flash_attn) not in known:
                load(engine, model(name), (), flash_attn=flash_attn)
                known[name, flash_attn] = text_of(engine.complete(QUESTION))
            return known[name, flash_attn]

        yield answer


SPLITS: list[tuple[tuple[Device, ...], dict[str, Any]]] = [
    (ONE, {"n_gpu_layers": 0}),
    (ONE, {"n_gpu_layers": 3}),
    (ONE, {"n_gpu_layers": 5}),
    (TWO, {"n_gpu_layers": 3, "tensor_split": (2.0, 1.0)}),
    (TWO, {"n_gpu_layers": 5, "tensor_split": (3.0, 2.0)}),
]


@pytest.mark.parametrize("name", ["q8_0", "tied"])
def test_tokens_do_not_depend_on_where_the_layers_lie(
    model: Any, cpu_answer: Any, name: str
) -> None:
    for devices, changes in SPLITS:
        with EngineClient(simulated=devices) as engine:
            load(engine, model(name), devices, **changes)
            assert text_of(engine.complete(QUESTION)) == cpu_answer(name, "auto"), changes


def test_tokens_do_not_depend_on_the_backend_or_on_mapping(model: Any, cpu_answer: Any) -> None:
    for backend, use_mmap in zip(BACKENDS, itertools.cycle((True, False)), strict=False):
        devices = (gpu(backend=backend),)
        with EngineClient(simulated=devices) as engine:
            load(engine, model("q8_0"), devices, n_gpu_layers=3, use_mmap=use_mmap)
            assert text_of(engine.complete(QUESTION)) == cpu_answer("q8_0", "auto")


def test_experts_in_ram_answer_as_experts_on_the_device(model: Any, cpu_answer: Any) -> None:
    patterns = ("", EXPERTS, rf"blk\.(0|2)\.{EXPERTS}")
    on_device = []
    for pattern in patterns:
        overrides = (TensorOverride(pattern=pattern, buffer_type="CPU"),) if pattern else ()
        with EngineClient(simulated=ONE) as engine:
            loaded = load(engine, model("experts"), ONE, n_gpu_layers=5, tensor_overrides=overrides)
            on_device.append(loaded.memory[0].model_bytes)
            assert text_of(engine.complete(QUESTION)) == cpu_answer("experts", "auto")
    everything, none, half = on_device
    assert none < half < everything
    assert everything - half == half - none


# -- the dry run is the real thing -------------------------------------------------------------


def differences(dry: DryRun, questions: list[DryRunRequest]) -> list[object]:
    """Real loads beside dry runs: what of the questions they answer differently."""
    real = in_child(
        "import json\n"
        "from tests.engine.real_loads import main\n"
        f"main(json.loads({json.dumps(json.dumps(list(map(as_message, questions))))}))"
    )
    found: list[object] = []
    for question, answer in zip(questions, real, strict=True):
        [planned] = dry.measure(question).contexts
        if answer != by_name(planned.devices):
            found.append((question, answer, planned))
    return found


def by_name(rows: tuple[BufferMemory, ...]) -> dict[str, list[int]]:
    return {row.name: [row.model_bytes, row.context_bytes, row.compute_bytes] for row in rows}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "f16"])
def test_a_dry_run_counts_what_a_real_load_takes_to_the_byte(
    dry: DryRun, model: Any, name: str
) -> None:
    n = MODELS[name][0].n_layer + 1
    few: list[dict[str, Any]] = [{}, {"flash_attn": "off"}]
    many = [
        *few,
        {"n_seq": 3, "n_outputs_max": 3, "n_ctx": 3072},
        {"n_ubatch": 8},
        {"n_outputs_max": 0},
    ]
    if name != "state":  # heads of 16 take no quantised cache
        many.append({"type_k": "q8_0", "type_v": "q8_0"})
    pipelined = {"devices": TWO, "n_gpu_layers": n, "tensor_split": (2, n - 2)}
    overrides = ((rf"blk\.(0|2)\.{EXPERTS}", "CPU"),)
    cases: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({}, few),
        ({"repack": True}, few),
        ({"devices": ONE}, few),
        ({"devices": ONE, "n_gpu_layers": 2}, many),
        *(({"devices": (gpu(backend=b),), "n_gpu_layers": n}, few) for b in BACKENDS[1:]),
        ({"devices": TWO, "n_gpu_layers": n - 1, "tensor_split": (1, n - 2)}, few),
        (pipelined, many),  # inputs in four copies
        ({**pipelined, "tensor_overrides": overrides}, many),
    ]
    questions = [
        DryRunRequest(
            paths=(model(name),),
            contexts=(DryRunContext(**{"n_ctx": 1024, "n_ubatch": 128, **context}),),
            **{"repack": False, **placement},
        )
        for placement, contexts in cases
        for context in contexts
    ]
    assert not differences(dry, questions)


def test_so_does_the_engine_s_own_child(dry: DryRun, model: Any) -> None:
    for devices, changes in SPLITS[-2:]:
        with EngineClient(simulated=devices) as engine:
            loaded = load(engine, model("q8_0"), devices, use_mmap=False, **changes)
        request = DryRunRequest(
            paths=(model("q8_0"),),
            devices=devices,
            repack=False,
            contexts=(DryRunContext(n_ctx=1024, n_ubatch=128, n_batch=512),),
            **changes,
        )
        assert by_name(loaded.memory) == by_name(dry.measure(request).contexts[0].devices)


# -- memory that runs out ----------------------------------------------------------------------


def last_event(events: Iterator[Event]) -> Event:
    return list(events)[-1]


def test_what_does_not_fit_is_refused_by_kind_and_what_fits_runs(
    dry: DryRun, model: Any, cpu_answer: Any
) -> None:
    path = model("f16")
    contexts = (DryRunContext(n_ctx=1024, n_ubatch=128, n_batch=512),)
    request = DryRunRequest(paths=(path,), devices=ONE, n_gpu_layers=5, contexts=contexts)
    weights, cache, compute = by_name(dry.measure(request).contexts[0].devices)["SIM0"]
    for n_bytes, refused in (
        (weights - 1, "could not load the model"),
        (weights + cache - 1, "could not make a context"),
        (weights + cache + compute - 1, "could not make a context"),
        (weights + cache + compute, None),
    ):
        devices = (gpu(total_bytes=n_bytes, free_bytes=n_bytes),)
        with EngineClient(simulated=devices) as engine:
            event = last_event(engine.load(plan_on(devices, n_gpu_layers=5), (str(path),)))
            if refused is None:
                assert isinstance(event, Loaded), event
                assert text_of(engine.complete(QUESTION)) == cpu_answer("f16", "auto")
            else:
                assert isinstance(event, Failed), event
                assert event.code == "out_of_memory"
                assert refused in event.message
                assert "failed to allocate SIM0 buffer" in event.message


def test_only_the_device_that_is_full_is_blamed(model: Any) -> None:
    devices = (gpu("SIM0"), gpu("SIM1", gib=0.0001))
    with EngineClient(simulated=devices) as engine:
        plan = plan_on(devices, n_gpu_layers=5, tensor_split=(3.0, 2.0))
        failed = failure(engine.load(plan, (str(model("f16")),)))
        assert failed.code == "out_of_memory"
        assert "SIM1" in failed.message


def test_an_engine_that_ran_out_of_memory_loads_less_the_next_time(model: Any) -> None:
    devices = (gpu(total_bytes=8 * MiB, free_bytes=8 * MiB),)
    with EngineClient(simulated=devices) as engine:
        too_much = plan_on(devices, n_gpu_layers=5, n_ctx=65_536)
        assert failure(engine.load(too_much, (str(model("f16")),))).code == "out_of_memory"
        load(engine, model("f16"), devices, n_gpu_layers=5, n_ctx=1024)
        assert finish(engine.complete(QUESTION)).stats.n_gen == 16


def test_a_device_that_is_not_simulated_is_not_there(model: Any) -> None:
    with EngineClient() as engine:
        plan = plan_on(ONE, n_gpu_layers=5)
        message = failure(engine.load(plan, (str(model("f16")),))).message
    assert "no device SIM0" in message
