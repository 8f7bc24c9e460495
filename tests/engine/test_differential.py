"""The memory formulas against llama.cpp's own allocator, on machines that do not exist.

``scripts/check_formulas.py`` prints the same comparison as a table, over more cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pytest

from localllm.core.memory import RunShape
from localllm.engine.dryrun import DryRun, DryRunRefused
from tests.support.differential import (
    SHAPES,
    Case,
    Refusal,
    Row,
    allowed_compute_bytes,
    cases,
    compare_all,
)
from tests.support.families import FAMILIES, write_families
from tests.support.gguf_maker import make_model
from tests.support.shapes import SHAPES as MODELS

FULL_SIZE = tuple(name for name in MODELS if not name.startswith("toy"))


@pytest.fixture(scope="module")
def dry() -> Iterator[DryRun]:
    with DryRun() as child:
        child.check()
        yield child


Wanted = Iterator[tuple[Case, Sequence[RunShape]]]


@pytest.fixture(scope="module")
def of_families(dry: DryRun, tmp_path_factory: pytest.TempPathFactory) -> list[Row | Refusal]:
    """Every architecture in three placements: a cache for each, and a common one on GPUs."""
    files = write_families(tmp_path_factory.mktemp("families"))

    def wanted() -> Wanted:
        for index, (name, path) in enumerate(files.items()):
            for number, case in enumerate(cases(name, path)):
                third = ("RPC, half", "experts in RAM")[index % 2]
                if case.placement_name in ("CPU", "two, half", third):
                    own = SHAPES[2 + (index + number) % 10]
                    yield case, (own,) if case.placement_name == "CPU" else (SHAPES[1], own)

    return all_of(compare_all(dry, wanted()))


@pytest.fixture(scope="module")
def of_tied(dry: DryRun, tmp_path_factory: pytest.TempPathFactory) -> list[Row | Refusal]:
    """Every architecture that can do without an output matrix, on the CPU and in part on GPUs."""
    files = write_families(tmp_path_factory.mktemp("tied"), tied=True)

    def wanted() -> Wanted:
        for name, path in files.items():
            for case in cases(name, path):
                if case.placement_name in ("CPU", "two, half"):
                    yield case, SHAPES[:1]

    found: list[Row | Refusal] = []
    for each in compare_all(dry, wanted()):
        if isinstance(each, DryRunRefused):
            assert "'output.weight' not found" in str(each)
        else:
            found += each
    return found


@pytest.fixture(scope="module")
def of_models(dry: DryRun, tmp_path_factory: pytest.TempPathFactory) -> list[Row | Refusal]:
    """Well-known models in full size, each in every second placement."""
    folder = tmp_path_factory.mktemp("models")

    def wanted() -> Wanted:
        for index, name in enumerate(FULL_SIZE):
            shape = MODELS[name].without_vocabulary()
            quant = "MXFP4" if shape.arch == "gpt-oss" else ("Q4_K_M", "Q2_K", "Q8_0")[index % 3]
            path = make_model(folder / f"{name}.gguf", shape, quant=quant)
            for number, case in enumerate(cases(name, path)):
                if (index + number) % 2 == 0:
                    yield case, (SHAPES[number % 3], SHAPES[3 + (index + number) // 2 % 9])

    found = all_of(compare_all(dry, wanted()))
    for path in folder.iterdir():
        path.unlink()
    return found


def all_of(answers: Iterable[list[Row | Refusal] | DryRunRefused]) -> list[Row | Refusal]:
    """Everything that was compared. None of these models may be refused."""
    found: list[Row | Refusal] = []
    for each in answers:
        if isinstance(each, DryRunRefused):
            raise each
        found += each
    return found


def rows(found: list[Row | Refusal]) -> list[Row]:
    return [row for row in found if isinstance(row, Row)]


def test_weights_are_equal_to_the_byte_for_every_architecture(
    of_families: list[Row | Refusal],
) -> None:
    wrong = [str(row) for row in rows(of_families) if row.difference("model_bytes")]
    assert wrong == []
    assert {row.case.model for row in rows(of_families)} == set(FAMILIES)


def test_tied_embeddings_are_counted_where_llama_cpp_copies_them(
    of_tied: list[Row | Refusal],
) -> None:
    wrong = [str(row) for row in rows(of_tied) if row.difference("model_bytes")]
    assert wrong == []
    assert len({row.case.model for row in rows(of_tied)}) > 100


def test_caches_and_states_are_equal_to_the_byte_for_every_architecture(
    of_families: list[Row | Refusal],
) -> None:
    wrong = [str(row) for row in rows(of_families) if row.difference("context_bytes")]
    assert wrong == []


def test_weights_caches_and_states_of_well_known_models_are_equal_to_the_byte(
    of_models: list[Row | Refusal],
) -> None:
    wrong = [
        str(row)
        for row in rows(of_models)
        if row.difference("model_bytes") or row.difference("context_bytes")
    ]
    assert wrong == []
    assert {row.case.model for row in rows(of_models)} == set(FULL_SIZE)


def test_a_context_is_refused_where_llama_cpp_refuses_it(
    of_families: list[Row | Refusal], of_models: list[Row | Refusal]
) -> None:
    refusals = [found for found in of_families + of_models if isinstance(found, Refusal)]
    wrong = [
        f"{r.case.model} {r.shape}: ours {r.ours}; theirs {r.theirs}"
        for r in refusals
        if (r.ours is None) != (r.theirs is None)
    ]
    assert wrong == []
    assert refusals


def test_compute_buffers_are_near_or_declared_estimates(
    of_families: list[Row | Refusal], of_models: list[Row | Refusal]
) -> None:
    compared = [row for row in rows(of_families + of_models) if not row.estimated]
    wrong = [
        str(row)
        for row in compared
        if abs(row.difference("compute_bytes")) > allowed_compute_bytes(row.dry["compute_bytes"])
    ]
    assert wrong == []
    assert len({row.case.model for row in compared}) >= 10


def test_every_placement_and_cache_was_compared(of_models: list[Row | Refusal]) -> None:
    placements = Counter(row.case.placement_name for row in rows(of_models))
    assert len(placements) == 8
    assert {row.shape for row in rows(of_models)} == set(SHAPES)


def test_nearly_every_architecture_of_llama_cpp_is_among_them() -> None:
    assert len(FAMILIES) >= 140
    assert len(FULL_SIZE) >= 18
