"""Plans made by llama.cpp's own allocator, on machines that do not exist: a real child, real files.

What every exact plan must hold: it fits by the engine's own count, and one step further does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Hardware
from localllm.core.placing import Problem
from localllm.core.planner import make_plan, one_step_further, solve
from localllm.core.policy import Policy
from localllm.engine.dryrun import DryRun
from localllm.engine.exact import EngineMemory
from localllm.errors import EngineError
from localllm.hub.known.models import known_model
from localllm.hub.resolve import LocalModel, resolve
from localllm.planning import Planner
from localllm.units import GiB, MiB
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.specs import gpu, machine


@pytest.fixture(scope="module")
def planner() -> Iterator[Planner]:
    with Planner(basis="exact") as planner:
        yield planner


@pytest.fixture(scope="module")
def dry() -> Iterator[DryRun]:
    with DryRun() as dry:
        yield dry


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalModel]:
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name, shape in (
        ("8b", shapes.LLAMA_3_8B),
        ("70b", shapes.LLAMA_3_70B),
        ("mixture", shapes.QWEN3_30B_A3B),
        ("window", shapes.GEMMA_3_4B),
    ):
        long = replace(shape.without_vocabulary(), n_ctx_train=131072)
        path = make_model(folder / f"{name}.gguf", long)
        made[name] = resolve(str(path))
    return made


def two_cards(first_gib: int, second_gib: int) -> Hardware:
    return machine(gpu("CUDA0", free=first_gib * GiB), gpu("CUDA1", free=second_gib * GiB))


CASES = [
    ("8b", machine(gpu(free=4 * GiB)), Policy()),
    ("8b", machine(gpu(free=24 * GiB)), Policy()),
    ("8b", machine(gpu(free=3 * GiB)), Policy(n_ctx=32768, type_k="q8_0", type_v="q8_0")),
    ("8b", machine(gpu(free=4 * GiB)), Policy(flash_attn="off", n_ubatch=256)),
    ("70b", machine(gpu(free=24 * GiB)), Policy()),
    ("70b", two_cards(24, 11), Policy(n_ctx=16384)),
    ("mixture", machine(gpu(free=8 * GiB)), Policy()),
    ("mixture", two_cards(8, 5), Policy()),
    ("mixture", machine(gpu(free=1 * GiB)), Policy(n_ctx=4096)),
    ("window", machine(gpu(free=2 * GiB)), Policy(n_ctx=16384)),
]


@pytest.mark.parametrize(("name", "hardware", "policy"), CASES, ids=lambda case: str(case)[:24])
def test_the_engine_accepts_the_plan_and_refuses_one_step_more(
    name: str,
    hardware: Hardware,
    policy: Policy,
    models: dict[str, LocalModel],
    dry: DryRun,
) -> None:
    model = models[name]
    engine = EngineMemory(
        dry, MemoryModel(model.spec, (), hardware.host), full=model.paths, bare=model.paths
    )
    plan = make_plan(model.spec, hardware, policy, engine=engine)
    assert (plan.basis, plan.verdict) == ("exact", "fits")
    assert all(row.spare_bytes is not None and row.spare_bytes >= 0 for row in plan.devices)
    policy = replace(policy, n_ubatch=plan.n_ubatch)
    cold = solve(engine, hardware, policy)  # by halving, without the formulas' guess
    further = one_step_further(Problem(memory=engine, hardware=hardware, policy=policy), cold)
    assert further is None or not further.gpus_fit
    assert cold.placement.n_gpu_layers == plan.n_gpu_layers
    assert cold.rows == tuple(replace(row, cached_bytes=0) for row in plan.devices)


def test_the_largest_context_is_refused_one_step_further(
    models: dict[str, LocalModel], planner: Planner
) -> None:
    model, hardware = models["8b"], machine(gpu(free=8 * GiB))
    plan = planner.plan(model, hardware, Policy(n_ctx="max"))
    assert (plan.basis, plan.n_gpu_layers, plan.n_ctx % 256) == ("exact", 33, 0)
    further = planner.plan(model, hardware, Policy(n_ctx=plan.n_ctx + 256))
    assert further.n_gpu_layers < 33


def test_on_the_cpu_alone_the_engine_is_asked_too(
    models: dict[str, LocalModel], planner: Planner
) -> None:
    plan = planner.plan(models["8b"], machine(), Policy())
    assert (plan.basis, plan.verdict, plan.device_names) == ("exact", "fits", ())
    assert plan.host.context_bytes == 1024 * MiB


def test_by_formula_no_child_is_started(models: dict[str, LocalModel]) -> None:
    with Planner(basis="formula") as planner:
        plan = planner.plan(models["8b"], machine(gpu()), Policy())
        assert planner._dry is None
    assert (plan.basis, plan.basis_reason, plan.differences) == ("formula", None, ())


def test_what_is_about_to_be_loaded_with_room_to_spare_starts_no_child(
    models: dict[str, LocalModel],
) -> None:
    with_room, tight = machine(gpu()), machine(gpu(free=5 * GiB))
    quick = Planner()
    try:
        plan = quick.plan(models["8b"], with_room, Policy(), to_run=True)
        assert (plan.basis, plan.memory_basis, plan.verdict) == ("formula", "formula", "fits")
        assert plan.basis_reason is not None and "the load measures" in plan.basis_reason
        assert quick._dry is None
        plan = quick.plan(models["8b"], tight, Policy(), to_run=True)
        assert (plan.basis, plan.basis_reason) == ("exact", None)
        assert quick._dry is not None
    finally:
        quick.close()


def test_an_exact_basis_that_was_insisted_on_is_proven_before_a_load_as_well(
    models: dict[str, LocalModel], planner: Planner
) -> None:
    assert planner.plan(models["8b"], machine(gpu()), Policy(), to_run=True).basis == "exact"


def test_without_the_engine_the_formulas_plan_and_the_plan_says_why(
    models: dict[str, LocalModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "llama_cpp"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Planner() as planner:
        plan = planner.plan(models["8b"], machine(gpu()), Policy())
    assert plan.basis == "formula"
    assert plan.basis_reason
    with Planner(basis="exact") as planner, pytest.raises(EngineError, match="no exact plan"):
        planner.plan(models["8b"], machine(gpu()), Policy())


def test_a_plan_that_llama_cpp_does_not_survive_says_so(planner: Planner) -> None:
    """With a quantised cache this model's graph outgrows llama.cpp's table of its tensors."""
    model = known_model("granite-3.1-1b-a400m")
    assert model is not None
    quantised = Policy(type_k="q8_0", type_v="q8_0")
    with Planner() as lenient:
        plan = lenient.plan(model, machine(gpu()), quantised)
    assert plan.refusal is not None
    assert plan.memory_basis == "formula"
    assert plan.basis_reason
    with pytest.raises(EngineError, match="no exact plan"):
        planner.plan(model, machine(gpu()), quantised)
    assert planner.plan(model, machine(gpu()), Policy()).memory_basis == "exact"


def test_where_formula_and_engine_differ_the_plan_says_so(
    models: dict[str, LocalModel], planner: Planner
) -> None:
    """Weights and cache never differ; a compute term may, and then the engine's figure stands."""
    plan = planner.plan(models["mixture"], machine(gpu(free=8 * GiB)), Policy())
    rows = {row.name: row for row in plan.devices}
    for difference in plan.differences:
        assert difference.term == "compute"
        assert rows[difference.device].compute_bytes == difference.engine_bytes
        assert difference.formula_bytes != difference.engine_bytes
