"""The product of lists, in llama-bench's order; the tests of each, and the context they need."""

from __future__ import annotations

from typing import Any

import pytest

from localllm.core.bench.sweep import Axes, configurations
from localllm.core.bench.tests import CHAT_N_CTX, bench_policy, bench_tests, check_size
from localllm.core.generation import BenchTest
from localllm.core.policy import Policy
from localllm.errors import UsageError


def labels(tests: tuple[BenchTest, ...]) -> list[str]:
    return [test.label for test in tests]


def wanted(**changes: Any) -> tuple[BenchTest, ...]:
    wishes: dict[str, Any] = {
        "prompts": (512,),
        "gens": (128,),
        "pairs": (),
        "depths": (0,),
        "repetitions": 5,
    }
    return bench_tests(**(wishes | changes))


def test_tests_come_in_llama_benchs_order() -> None:
    assert labels(wanted()) == ["pp512", "tg128"]
    every = wanted(prompts=(512, 1024), pairs=((64, 16), (32, 8)), depths=(0, 4096))
    assert labels(every) == [
        *("pp512", "pp1024", "tg128", "pp64+tg16", "pp32+tg8"),
        *("pp512 @ d4096", "pp1024 @ d4096", "tg128 @ d4096"),
        *("pp64+tg16 @ d4096", "pp32+tg8 @ d4096"),
    ]


def test_a_zero_leaves_a_test_out() -> None:
    assert labels(wanted(prompts=(0,))) == ["tg128"]
    with pytest.raises(UsageError):
        wanted(prompts=(0,), gens=(0,))


def test_configurations_come_in_llama_benchs_order() -> None:
    """Placement changes slowest, threads fastest: a model is loaded as seldom as possible."""
    axes = Axes(
        n_gpu_layers=(0, 9),
        cache=(("f16", "f16"), ("q8_0", "f16")),
        n_threads=(1, 2),
    )
    found = [
        (one.policy.n_gpu_layers, one.policy.type_k, one.policy.n_threads)
        for one in configurations(Policy(), axes)
    ]
    assert found == [
        *((0, "f16", 1), (0, "f16", 2), (0, "q8_0", 1), (0, "q8_0", 2)),
        *((9, "f16", 1), (9, "f16", 2), (9, "q8_0", 1), (9, "q8_0", 2)),
    ]
    assert len(axes) == len(found)
    assert axes.swept == {"n_gpu_layers", "type_k", "n_threads"}


def test_one_configuration_is_llama_benchs_default() -> None:
    (only,) = configurations(Policy(use_mmap=False), Axes())
    assert (only.policy.n_batch, only.policy.n_ubatch) == (2048, 512)
    assert only.policy.use_mmap is False  # what no list says stays as it is
    assert Axes().swept == frozenset()


def test_too_many_tests_are_a_slip() -> None:
    many = Axes(n_threads=tuple(range(1, 1001)), n_batch=tuple(range(1, 7)))
    check_size(1, Axes(), wanted())
    with pytest.raises(UsageError, match="12,000 tests"):
        check_size(1, many, wanted())


def test_the_context_is_what_the_largest_test_needs() -> None:
    assert bench_policy(Policy(), wanted(depths=(0, 4096))).n_ctx == 4608
    small = wanted(prompts=(8,), gens=(4,))
    assert bench_policy(Policy(), small).n_ctx == 8
    assert bench_policy(Policy(), small, chat=True).n_ctx == CHAT_N_CTX
    assert bench_policy(Policy(), small, chat=True, n_ctx_train=128).n_ctx == 128
    with pytest.raises(UsageError, match="the model was trained for 128"):
        bench_policy(Policy(), wanted(), n_ctx_train=128)


def test_what_the_person_fixed_is_kept() -> None:
    wishes = Policy(n_ctx=8192, n_gpu_layers=7)
    assert bench_policy(wishes, wanted(), chat=True) == wishes
    with pytest.raises(UsageError):
        bench_policy(Policy(n_ctx=256), wanted())
