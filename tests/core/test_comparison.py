"""Comparisons and recommendations: every machine keeps its row, no bound loses a model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

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
    slowest = everything.rows[0].option.speed
    assert slowest is not None
    faster = Policy(min_tok_s=1.5 * slowest.tg_tok_s)
    found = recommend(known(2, 24), hardware, faster, Wish())
    assert all(
        r.option.speed and r.option.speed.tg_tok_s >= (faster.min_tok_s or 0) for r in found.rows
    )
    small = recommend(known(2, 24), hardware, Policy(), Wish(max_file_bytes=2 * GiB))
    assert all(row.option.model.file_bytes <= 2 * GiB for row in small.rows)
    assert [row.name for row in small.rows] == ["m2"]
