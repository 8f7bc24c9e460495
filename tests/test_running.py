"""Plans run on devices that do not exist and have less memory than the plan thinks: real loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from localllm.core.generation import Died, Event, Failed, Loaded, LoadNote, PromptProgress, Proved
from localllm.core.hardware import Device, Hardware
from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.shortfall import Shortfall, with_shortfalls
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from localllm.hub.resolve import resolve
from localllm.running import RunEvent, Runner
from localllm.units import MiB
from tests.engine.support import ask, finish, gpu
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.specs import host

SHAPE = replace(shapes.TOY, name="Twelve layers", n_layer=12, head_dim=64)
"""A layer takes 2.4 MiB at a context of 4,096 tokens, most of it cache."""

POLICY = Policy(n_ctx=4096, n_ubatch=128, n_threads=1, vram_headroom_bytes=0)


SHORT = replace(POLICY, n_ctx=256)


@pytest.fixture(autouse=True, scope="module")
def _faults_on_request() -> Iterator[None]:
    """Engine children of these tests do as a ``FaultRequest`` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALLLM_ENGINE_TEST", "1")
        yield


@pytest.fixture(scope="module")
def path(models_dir: Path) -> Path:
    return make_model(models_dir / "twelve-layers.gguf", SHAPE, quant="F16", sparse=False)


def card(mib: int = 64) -> Device:
    n_bytes = mib * MiB
    return gpu("SIM0", total_bytes=n_bytes, free_bytes=n_bytes, overhead_bytes=0)


def hardware(*devices: Device, **changes: Any) -> Hardware:
    return Hardware(name="test", source="test", host=replace(host(), **changes), devices=devices)


@dataclass
class World:
    """One machine as it is, beside the machine as the plan believes it to be."""

    path: Path
    engine: EngineClient
    now: Hardware | None = None
    """What reading memory again says; None: what the plan said."""
    loaded: list[Plan] = field(default_factory=list)
    remembered: list[Shortfall] = field(default_factory=list)
    held: list[Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec = resolve(str(self.path)).spec
        self.runner = Runner(
            replan=self.plan,
            load=self._load,
            prove=self.engine.prove,
            release=self.engine.unload,
            reread=lambda known, names: self.now or known,
            holders=lambda device: f"{'python' if device else 'firefox'} (pid 4242) 1.00 GiB",
            remember=self.remembered.extend,
            held=lambda plan, policy: self.held.append(plan),
            now=lambda: "2026-11-20T10:00:00+00:00",
        )

    def plan(self, machine: Hardware, policy: Policy) -> Plan:
        return make_plan(self.spec, machine, policy)

    def _load(self, plan: Plan) -> Iterator[Event]:
        self.loaded.append(plan)
        yield from self.engine.load(plan, (str(self.path),))

    def run(self, machine: Hardware, policy: Policy = POLICY, **wishes: Any) -> list[RunEvent]:
        plan = self.plan(machine, policy)
        assert plan.verdict == "fits"
        return list(self.runner.load(plan, policy, **wishes))

    @property
    def layers(self) -> list[int]:
        """GPU layers of every plan that was loaded, one after the other."""
        return [plan.n_gpu_layers for plan in self.loaded]


@pytest.fixture
def world(path: Path) -> Iterator[Any]:
    """A world whose GPU really has so much memory."""
    engines: list[EngineClient] = []

    def make(mib: int, **changes: Any) -> World:
        engines.append(EngineClient(simulated=(card(mib),) if mib else ()))
        return World(changes.pop("path", path), engines[-1], **changes)

    yield make
    for engine in engines:
        engine.close()


def notes(events: list[RunEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, LoadNote)]


# -- memory that is not there ------------------------------------------------------------------


def test_a_plan_that_holds_is_loaded_as_it_is(world: Any) -> None:
    here = world(64)
    events = here.run(hardware(card()))
    assert isinstance(events[-1], Loaded)
    assert (here.layers, notes(events), here.remembered) == ([13], [], [])
    assert here.held == here.loaded


def test_a_gpu_with_less_memory_than_it_says_gets_fewer_layers(world: Any) -> None:
    here = world(26)
    events = here.run(hardware(card()))
    assert isinstance(events[-1], Loaded), events[-1]
    first, second = here.loaded
    assert (first.n_gpu_layers, first.type_k) == (13, "f16")
    assert 0 < second.n_gpu_layers < 13 and (second.n_ctx, second.type_k) == (4096, "f16")
    (note,) = notes(events)
    assert note.startswith("The memory of SIM0 ran out while loading (no room for ")
    fewer = 13 - second.n_gpu_layers
    assert f"Now: {fewer} layers fewer on SIM0, {second.n_gpu_layers} of 13" in note
    assert finish(here.engine.chat(ask("Hello", max_tokens=4))).stats.n_gen == 4


def test_what_was_missing_is_left_free_the_next_time(world: Any) -> None:
    """The next plan of that model on that card is the one that held, and says why."""
    here = world(26)
    here.run(hardware(card()))
    (learnt,) = here.remembered
    assert (learnt.device, learnt.day) == ("SIM0", "2026-11-20")
    policy, (reason,) = with_shortfalls(POLICY, here.remembered)
    assert here.plan(hardware(card()), policy).devices == here.loaded[-1].devices
    assert "more is left free on SIM0: a load ran out of memory there on 2026-11-20" in reason


def test_a_second_step_takes_more(world: Any) -> None:
    here = world(14)
    events = here.run(hardware(card()))
    assert isinstance(events[-1], Loaded), events[-1]
    assert len(notes(events)) == 2
    first, second, third = here.layers
    assert first - second > 0 and second - third > 0 and third > 0


def test_a_gpu_that_holds_not_even_the_weights_is_left_out(world: Any) -> None:
    """The cache and the compute buffers would have come after them."""
    here = world(1)
    events = here.run(hardware(card()))
    assert isinstance(events[-1], Loaded), events[-1]
    assert here.layers == [13, 0]
    assert notes(events)[0].endswith("Now: all 13 layers run on the CPU.")


def test_layers_that_the_person_fixed_stay_and_the_hint_names_a_number(world: Any) -> None:
    here = world(26)
    events = here.run(hardware(card()), replace(POLICY, n_gpu_layers=13))
    assert (here.layers, notes(events)) == ([13], [])
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.code == "out_of_memory"
    assert failed.hint is not None
    assert failed.hint.startswith("--n-gpu-layers was kept as asked, and ")


def test_an_open_cache_type_falls_second_and_a_fixed_one_never(world: Any) -> None:
    """Layers first; the second step may take a coarser cache where its type is open."""
    for wish, then in (("auto", "q8_0"), (None, "f16")):
        here = world(14)
        here.run(hardware(card()), replace(POLICY, type_k=wish, type_v=wish))
        assert [plan.type_k for plan in here.loaded] == ["f16", "f16", then]


# -- memory that is gone -----------------------------------------------------------------------


def test_memory_that_went_between_plan_and_load_is_planned_around(world: Any) -> None:
    here = world(20, now=hardware(card(20)))
    events = here.run(hardware(card()))
    assert isinstance(events[-1], Loaded), events[-1]
    (layers,) = here.layers
    assert 0 < layers < 13
    assert notes(events) == [
        "SIM0 has 44.0 MiB less free (held by python (pid 4242) 1.00 GiB) than when the plan was "
        f"made. Now: {13 - layers} layers fewer on SIM0, {layers} of 13."
    ]
    assert here.remembered == []


def test_what_no_longer_fits_is_not_tried(world: Any) -> None:
    here = world(0, now=hardware(available_bytes=64 * MiB))
    events = here.run(hardware())
    (failed,) = events
    assert isinstance(failed, Failed) and failed.error == "DoesNotFitError"
    assert "Twelve layers no longer fits: RAM has " in failed.message
    assert "firefox (pid 4242)" in failed.message
    assert here.loaded == []


def test_memory_that_came_free_changes_nothing(world: Any) -> None:
    here = world(64, now=hardware(card(64)))
    events = here.run(hardware(card(20)))
    assert notes(events) == [] and here.layers[0] < 13


# -- RAM ---------------------------------------------------------------------------------------


def test_where_ram_runs_out_the_weights_stay_as_they_are(world: Any, models_dir: Path) -> None:
    shape = replace(shapes.TOY_K_QUANT, n_vocab=32768, n_layer=2)
    path = make_model(models_dir / "rearranged.gguf", shape, quant="Q4_0", sparse=False)
    here = world(0, path=path)
    limit = FaultRequest(fault="limit_memory", argument=64 * MiB)
    list(here.engine.inject_fault(limit))  # of the first child alone
    events = here.run(hardware())
    assert isinstance(events[-1], Loaded), events[-1]
    assert [plan.repack for plan in here.loaded] == [True, False]
    (note,) = notes(events)
    assert note.startswith("RAM ran out while loading")
    assert "the weights as they are in the file" in note
    (learnt,) = here.remembered
    assert learnt.plain_weights and learnt.device == "host"


def test_an_answer_that_dies_of_memory_is_remembered_for_the_next_load(
    world: Any, models_dir: Path
) -> None:
    shape = replace(shapes.TOY_K_QUANT, n_vocab=32768, n_layer=2)
    path = make_model(models_dir / "rearranged.gguf", shape, quant="Q4_0", sparse=False)
    here = world(0, path=path)
    here.run(hardware())
    died = list(here.engine.inject_fault(FaultRequest(fault="bad_alloc")))[-1]
    assert isinstance(died, Died) and died.out_of_memory
    note = here.runner.after_death(died, here.loaded[-1], POLICY)
    assert note is not None
    assert note.text.startswith("RAM ran out while answering. From the next load on: the weights")
    assert [each.plain_weights for each in here.remembered] == [True]
    policy, _ = with_shortfalls(POLICY, here.remembered)
    assert not here.plan(hardware(), policy).repack
    silent = replace(died, out_of_memory=False)
    assert here.runner.after_death(silent, here.loaded[-1], POLICY) is None


# -- the proof ---------------------------------------------------------------------------------

POOL_IS_EMPTY = Died(
    message="The engine crashed while reading the prompt (SIGABRT).",
    hint="",
    phase="prompt",
    signal="SIGABRT",
    out_of_memory=True,
    stderr_tail=(
        "CUDA error: out of memory",
        "  current device: 0, in function alloc at ggml-cuda.cu:443",
    ),
)
"""What CUDA says when its pool finds no memory in mid-run, as the engine reports it."""


def test_a_proof_comes_before_ready(world: Any) -> None:
    here = world(64)
    events = here.run(hardware(card()), SHORT, proves=True)
    kinds = [type(event) for event in events]
    assert kinds[-2:] == [Proved, Loaded]
    assert PromptProgress in kinds and kinds.count(Loaded) == 1
    assert finish(here.engine.chat(ask("Hello", max_tokens=4))).stats.n_gen == 4


def test_memory_that_ends_in_the_proof_is_stepped_down_from(world: Any) -> None:
    here = world(64)
    prove, deaths = here.engine.prove, [POOL_IS_EMPTY]
    here.runner = Runner(**_parts(here, prove=lambda: iter([deaths.pop()]) if deaths else prove()))
    events = here.run(hardware(card()), SHORT, proves=True)
    assert isinstance(events[-1], Loaded), events[-1]
    assert len(here.layers) == 2 and here.layers[1] < here.layers[0]
    (note,) = notes(events)
    assert note.startswith("The memory of SIM0 ran out in the proof run. Now: ")


def test_two_steps_are_taken_and_not_a_third(world: Any) -> None:
    here = world(64)
    here.runner = Runner(**_parts(here, prove=lambda: iter([POOL_IS_EMPTY])))
    events = here.run(hardware(card()), POLICY, proves=True)
    assert len(here.layers) == len(set(here.layers)) == 3
    assert len(notes(events)) == 2 and here.remembered == here.held == []
    died = events[-1]
    assert isinstance(died, Died)
    assert died.message == POOL_IS_EMPTY.message
    assert died.hint.startswith("2 smaller plans ran out of memory as well")


def _parts(here: World, **changes: Any) -> dict[str, Any]:
    names = ("replan", "load", "prove", "release", "reread", "holders", "remember", "held", "now")
    return {name: getattr(here.runner, f"_{name}") for name in names} | changes
