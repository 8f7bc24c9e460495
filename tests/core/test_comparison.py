"""Comparisons and recommendations: every machine keeps its row, no bound loses a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from localllm.core.calibration import Calibration, Observation
from localllm.core.choice import choose
from localllm.core.comparison import (
    COMPARE_SCHEMA,
    Machine,
    compare,
    compare_each,
    comparison_document,
)
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.policy import Policy
from localllm.core.recommendation import Known, Wish, least_tok_s, recommend
from localllm.core.requantise import requantised
from localllm.errors import UsageError
from localllm.units import GiB
from tests.support.specs import gpu, host, llama, machine

QUANTS = ("Q8_0", "Q4_K_M", "IQ3_XXS")


def model(n_layer: int = 8, name: str = "dense") -> ModelSpec:
    return llama(name=name, n_layer=n_layer, n_ctx_train=32768)


def variants() -> list[ModelSpec]:
    return [requantised(model(), quant) for quant in QUANTS]


def desk() -> Machine:
    return Machine(label="desk", hardware=machine(gpu()))


def bare() -> Machine:
    return Machine(label="bare", hardware=machine())


def tiny() -> Machine:
    hardware = Hardware(name="tiny", source="profile tiny", host=host(available=1 * GiB))
    return Machine(label="tiny", hardware=hardware)


def test_machines_keep_their_order_and_get_what_each_would_alone() -> None:
    entries = compare(variants(), [bare(), desk()], Policy())
    assert [entry.machine.label for entry in entries] == ["bare", "desk"]
    for entry in entries:
        alone = choose(variants(), entry.machine.hardware, Policy(), alternatives=False)
        assert entry.choice is not None
        assert entry.choice.best == alone.best


def test_a_machine_that_is_too_small_says_what_is_short_and_where() -> None:
    entry = compare(variants(), [tiny()], Policy())[0]
    assert not entry.fits
    [short] = entry.shortages
    assert entry.option is not None
    assert (short.place, short.n_bytes) == (
        "RAM",
        -(entry.option.solution.rows[-1].spare_bytes or 0),
    )


def test_a_wish_that_one_machine_cannot_take_costs_only_its_own_row() -> None:
    entries = compare(variants(), [bare(), desk()], Policy(n_gpu_layers=4))
    assert entries[0].refusal is not None
    assert "no GPU" in entries[0].refusal.message
    assert entries[1].fits
    with pytest.raises(UsageError, match="no GPU"):
        compare(variants(), [bare()], Policy(n_gpu_layers=4))


def test_a_grid_has_one_column_of_machines_for_each_quantisation_in_one_kv_type() -> None:
    grid = compare_each(variants(), [desk(), tiny()], Policy())
    for quant, entries in zip(QUANTS, grid, strict=True):
        assert [e.option and e.option.model.quant for e in entries] == [quant, quant]
        assert {e.option and e.option.solution.settings.shape.type_k for e in entries} == {"f16"}


def test_rows_of_the_document_have_a_plan_s_names_whether_they_fit_or_not() -> None:
    machines = [desk(), tiny(), bare()]
    entries = (
        *compare(variants(), machines, Policy()),
        *compare(variants(), machines, Policy(n_gpu_layers=4))[2:],
    )
    document = comparison_document(entries, version="1", command=("localllm", "compare"))
    assert document["schema"] == COMPARE_SCHEMA
    fits, short, _, refused = document["rows"]
    assert set(fits) == set(short) == set(refused)
    assert (fits["verdict"], short["verdict"], refused["verdict"]) == ("fits", "does-not-fit", None)
    assert fits["speed"]["tg_low"] < fits["speed"]["tg_tok_s"] < fits["speed"]["tg_high"]
    assert fits["model"]["quant"] in QUANTS
    assert (short["speed"], short["short"][0]["device"]) == (None, "RAM")
    assert "no GPU" in refused["refusal"]
    json.dumps(document, allow_nan=False)


# ---------------------------------------------------------------------------- recommendations


def known(*layers: int) -> list[Known]:
    """Models of so many layers, named by them."""
    return [_known(f"m{n}", n) for n in layers]


def _known(name: str, n_layer: int) -> Known:
    spec = model(n_layer, name)
    return Known(name=name, n_params=spec.n_params, spec=_giving(spec))


def _giving(spec: ModelSpec) -> Callable[[], ModelSpec]:
    return lambda: spec


@pytest.mark.parametrize("hardware", [machine(), machine(gpu(free=6 * GiB))], ids=["CPU", "GPU"])
def test_bounds_lose_no_model_that_runs_well(hardware: Hardware) -> None:
    """Against a choice among all quantisations for every model."""
    from localllm.core.preferences import LARGE_KLD
    from localllm.core.quants import OFFERED

    models = known(2, 24, 120)
    expected = []
    for each in models:
        best = choose(
            [requantised(each.spec(), quant) for quant in OFFERED],
            hardware,
            Policy(),
            alternatives=False,
        ).best
        fast = best.speed is not None and best.speed.tg_tok_s >= least_tok_s(Policy())
        if fast and best.loss.kld < LARGE_KLD:
            expected.append((each.name, best.model.quant, best.speed))
    found = recommend(models, hardware, Policy(), Wish())
    assert sorted((r.name, r.option.model.quant, r.option.speed) for r in found.rows) == sorted(
        expected, key=lambda row: row[0]
    )
    assert len(found.rows) + found.too_large + found.too_slow == len(models)


def test_rows_come_in_the_order_that_was_asked_for() -> None:
    hardware = machine(gpu())
    by_size = recommend(known(2, 24, 8), hardware, Policy(), Wish())
    assert [row.name for row in by_size.rows] == ["m24", "m8", "m2"]
    by_speed = recommend(known(2, 24, 8), hardware, Policy(), Wish(sort="speed"))
    assert [row.name for row in by_speed.rows] == ["m2", "m8", "m24"]


def test_a_limit_says_how_many_come_after() -> None:
    for sort in ("size", "speed"):
        wish = Wish(sort=sort, limit=2)
        found = recommend(known(2, 24, 8, 12), machine(gpu()), Policy(), wish)
        assert (len(found.rows), found.not_reached) == (2, 2)


def test_models_of_equal_shape_share_a_row() -> None:
    models = [*known(8), _known("twin", 8), *known(2)]
    found = recommend(models, machine(gpu()), Policy(), Wish(limit=1))
    [row] = found.rows
    assert (row.name, row.also) == ("m8", ("twin",))
    assert found.not_reached == 1


def test_wishes_narrow_the_rows() -> None:
    hardware = machine(gpu())
    everything = recommend(known(2, 24), hardware, Policy(), Wish())
    assert [row.name for row in everything.rows] == ["m24", "m2"]
    slowest, quickest = (row.option.tok_s for row in everything.rows)
    wish = math.sqrt(slowest * quickest)
    found = recommend(known(2, 24), hardware, Policy(min_tok_s=wish), Wish())
    assert [row.name for row in found.rows] == ["m2"]
    assert found.rows[0].option.tok_s >= wish
    small = recommend(known(2, 24), hardware, Policy(), Wish(max_file_bytes=2 * GiB))
    assert [row.name for row in small.rows] == ["m2"]
    assert small.rows[0].option.model.file_bytes <= 2 * GiB


def test_no_bound_loses_what_was_measured_to_be_faster_than_the_formula() -> None:
    """Own measurements move an estimate by more than any factor that a bound could allow for."""
    from localllm.core.quants import OFFERED

    hardware, [slow] = machine(), known(60)
    fastest = choose(
        [requantised(slow.spec(), quant) for quant in OFFERED],
        hardware,
        Policy(prefer="speed"),
        alternatives=False,
    ).best
    calibration = Calibration(
        Observation(
            model_key=f"m{model}",
            placement_key="cpu",
            phase="tg",
            predicted_tok_s=4.0,
            measured_tok_s=22.0,
            n_tokens=512,
            age_days=float(day),
        )
        for day in range(10)
        for model in range(6)
    )
    policy = Policy(min_tok_s=4 * fastest.tok_s, type_k="f16", type_v="f16")
    assert not recommend([slow], hardware, policy, Wish()).rows
    [row] = recommend([slow], hardware, policy, Wish(), calibration=calibration).rows
    assert row.option.tok_s >= 4 * fastest.tok_s


def test_with_max_no_model_is_left_with_a_scrap_of_context_for_a_smaller_loss() -> None:
    """Q6_K would fit into 6 GiB with a few hundred tokens, and fast enough."""
    from localllm.core.quants import OFFERED

    base = machine(ram=6 * GiB)
    fast = replace(base.host, memory_bandwidth_gb_s=400.0, n_threads_logical=128)
    fast = replace(fast, n_cores_physical=64, n_cores_performance=64)
    hardware, policy = replace(base, host=fast), Policy(n_ctx="max")
    spec = llama(name="wide cache", n_layer=24, n_head_kv=32, n_ctx_train=32768)
    large = choose([requantised(spec, "Q6_K")], hardware, policy, alternatives=False).best
    assert large.fits and large.n_ctx < 8192
    every = [requantised(spec, quant) for quant in OFFERED]
    best = choose(every, hardware, policy, alternatives=False).best
    models = [Known(name=spec.name, n_params=spec.n_params, spec=_giving(spec))]
    [row] = recommend(models, hardware, policy, Wish()).rows
    assert (row.option.model.quant, row.option.n_ctx) == (best.model.quant, best.n_ctx)
    assert row.option.n_ctx >= 8192
