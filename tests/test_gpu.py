"""What only a machine with a GPU can show: the plan against what its memory really took.

Skipped, visibly, where the installed llama.cpp lists no GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.core.generation import (
    BenchSample,
    BenchTest,
    ChatRequest,
    Finished,
    Loaded,
    Message,
    Sampling,
    TextDelta,
)
from localllm.core.policy import Policy
from localllm.session import Session, detect_hardware, resolve_model
from localllm.units import MiB
from tests.support.gguf_maker import make_model
from tests.support.shapes import SHAPES

pytestmark = pytest.mark.gpu

QUESTION = ChatRequest(
    messages=(Message(role="user", content="Which command shows the plan?"),),
    sampling=Sampling(temperature=0),
    max_tokens=40,
)


@pytest.fixture(scope="module")
def gpu_session() -> Session:
    """A session on this machine, if llama.cpp has a GPU here."""
    hardware = detect_hardware(wake_gpus=True)
    if not hardware.usable_devices:
        pytest.skip("llama.cpp lists no GPU on this machine")
    return Session(hardware=hardware)


def answer(session: Session, policy: Policy) -> str:
    """Load the demo model under a policy and return its greedy answer."""
    model = resolve_model("demo")
    plan = session.make_plan(model, policy)
    assert plan.verdict == "fits"
    events: list[object] = list(session.load(model, plan))
    assert isinstance(events[-1], Loaded), events[-1]
    events = list(session.chat(QUESTION))
    assert isinstance(events[-1], Finished), events[-1]
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_plan_of_a_whole_model_is_what_the_gpu_allocates(gpu_session: Session) -> None:
    with Session(hardware=gpu_session.hardware) as session:
        answer(session, Policy())
        assert session.plan is not None
        assert session.plan.n_gpu_layers == session.plan.n_layer_total
        for row in session.memory_comparison():
            assert abs(row.planned_bytes - row.measured_bytes) <= 16 * MiB, row


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(n_gpu_layers=16),
        Policy(n_gpu_layers=0),
        Policy(type_k="q8_0", type_v="q8_0", n_ubatch=2048),
        Policy(flash_attn="off", n_gpu_layers=20),
    ],
    ids=["all", "half", "none", "q8_0", "no flash attention"],
)
def test_an_exact_plan_is_what_a_load_allocates(
    gpu_session: Session, llama_3_8b: Path, policy: Policy
) -> None:
    """The simulated device the plan was proven on, against the real one it stands for."""
    model = resolve_model(str(llama_3_8b))
    with Session(hardware=gpu_session.hardware, basis="exact") as session:
        plan = session.make_plan(model, policy)
        assert plan.basis == "exact"
        if plan.verdict != "fits":
            pytest.skip("this GPU is too small for the shape")
        events = list(session.load(model, plan))
        loaded = events[-1]
        assert isinstance(loaded, Loaded), loaded
        measured = {row.name: row for row in loaded.memory}
        for row in plan.devices[:-1]:
            real = measured[row.name]
            assert real.model_bytes == row.model_bytes
            assert real.context_bytes == row.context_bytes
            assert abs(real.compute_bytes - row.compute_bytes) <= MiB, row


def test_the_gpu_answers_as_rightly_as_the_cpu(gpu_session: Session) -> None:
    with Session(hardware=gpu_session.hardware) as session:
        on_gpu = answer(session, Policy())
        on_cpu = answer(session, Policy(n_gpu_layers=0))
    assert "localllm plan" in on_gpu
    assert "localllm plan" in on_cpu


@pytest.mark.parametrize("n_gpu_layers", [None, 8])
def test_the_estimate_is_near_what_the_gpu_measures(
    gpu_session: Session, tmp_path: Path, n_gpu_layers: int | None
) -> None:
    path = make_model(tmp_path / "3b.gguf", SHAPES["llama-3.2-3b"])
    tests = (
        BenchTest(n_prompt=512, n_gen=0, repetitions=2),
        BenchTest(n_prompt=0, n_gen=64, repetitions=2),
    )
    with Session(hardware=gpu_session.hardware) as session:
        model = resolve_model(str(path))
        plan = session.make_plan(model, Policy(n_ctx=1024, n_gpu_layers=n_gpu_layers))
        assert plan.speed is not None
        events = list(session.load(model, plan))
        assert isinstance(events[-1], Loaded), events[-1]
        fastest = {test.label: 0.0 for test in tests}
        for event in session.bench(tests):
            if isinstance(event, BenchSample) and event.repetition:
                tok_s = 1e9 * (event.test.n_prompt + event.test.n_gen) / event.ns
                fastest[event.test.label] = max(fastest[event.test.label], tok_s)
    for test, low, high in (
        (tests[0], plan.speed.pp_low, plan.speed.pp_high),
        (tests[1], plan.speed.tg_low, plan.speed.tg_high),
    ):
        assert low is not None and high is not None
        print(plan.device_names, test.label, low, fastest[test.label], high)
        assert low / 2 < fastest[test.label] < 2 * high
