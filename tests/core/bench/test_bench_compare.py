"""Two runs beside each other: what is called different, and what never is."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.bench.compare import compare
from localllm.core.bench.read import read_bench
from localllm.core.bench.row import bench_row
from localllm.core.generation import BenchTest
from localllm.errors import IntegrityError
from tests.core.bench.test_bench_row import PP512, setup
from tests.core.test_documents import plan_8b

Rows = list[dict[str, Any]]


@functools.cache
def pp512() -> dict[str, Any]:
    return bench_row(setup(plan_8b()), PP512, [10**9], test_time="")


def row(rates: Sequence[float], **changes: Any) -> dict[str, Any]:
    made = pp512() | {"samples_ts": list(rates), "avg_ts": sum(rates) / len(rates)}
    return made | changes


def llama_benchs(rates: Sequence[float], **changes: Any) -> dict[str, Any]:
    """As llama-bench itself writes it: its 42 fields and the samples."""
    made = dict(list(row(rates).items())[:44])
    return made | {"model_filename": "/elsewhere/llama-3-8b.gguf"} | changes


STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)


def test_a_clear_difference_is_called_one() -> None:
    (pair,) = compare([row(STEADY)], [row([1.05 * rate for rate in STEADY])]).pairs
    assert (pair.label, pair.speed.verdict) == ("pp512", "higher")
    assert pair.speed.change == pytest.approx(0.05)
    assert pair.speed.p is not None and pair.speed.p < 0.001
    assert pair.speed.low is not None and pair.speed.high is not None
    assert 0 < pair.speed.low < 0.05 < pair.speed.high
    (back,) = compare([row([1.05 * rate for rate in STEADY])], [row(STEADY)]).pairs
    assert back.speed.verdict == "lower"


def test_what_scatters_more_than_it_differs_is_not() -> None:
    (pair,) = compare([row((90, 110, 100))], [row((95, 115, 104))]).pairs
    assert pair.speed.verdict == "no significant difference"


def test_a_steady_run_is_judged_by_its_windows() -> None:
    """A minute in which something else ran is one window of five, not a fifth of the evidence."""
    quiet = [100.0, 101.0] * 250
    busy = [100.0, 101.0] * 200 + [90.0, 91.0] * 50
    (pair,) = compare([row(quiet)], [row(busy)]).pairs
    assert pair.speed.verdict == "lower"
    steady = {"mode": "steady", "repetitions_per_window": 100}
    (pair,) = compare([row(quiet, **steady)], [row(busy, **steady)]).pairs
    assert pair.speed.verdict == "no significant difference"


def test_among_many_equal_tests_none_is_called_different() -> None:
    """Forty tests of one machine with itself: two would pass at 5 % without a correction."""
    draw, n = random.Random(3), 40

    def run() -> Rows:
        return [row([draw.gauss(100, 1) for _ in range(5)], n_prompt=64 + i) for i in range(n)]

    pairs = compare(run(), run()).pairs
    assert len(pairs) == n
    assert {pair.speed.verdict for pair in pairs} == {"no significant difference"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quick": True, "mode": "quick"}, "B is a quick run"),
        ({"invalid": ["the GPU slept"]}, "B: the GPU slept"),
        ({"samples_ts": [500.0]}, "fewer than two repetitions"),
    ],
)
def test_what_says_nothing_of_the_machine_is_not_judged(
    changes: dict[str, Any], reason: str
) -> None:
    (pair,) = compare([row(STEADY)], [row([500.0] * 5, **changes)]).pairs
    assert (pair.speed.verdict, pair.speed.reason) == ("not judged", reason)
    assert pair.speed.change == pytest.approx(4.0)  # the figures are still shown


def test_llama_benchs_own_rows_are_compared() -> None:
    compared = compare([llama_benchs(STEADY)], [row([2 * rate for rate in STEADY])])
    assert [pair.speed.verdict for pair in compared.pairs] == ["higher"]
    assert compared.differences == ()


def test_rows_meet_by_what_a_run_itself_varies() -> None:
    a = [row(STEADY, n_threads=n) for n in (1, 2, 4)]
    b = [row(STEADY, n_threads=n, build_commit="other") for n in (2, 4, 8)]
    compared = compare(a, b)
    assert [pair.label for pair in compared.pairs] == ["pp512, n_threads 2", "pp512, n_threads 4"]
    assert (compared.only_a, compared.only_b) == (
        ("pp512, n_threads 1",),
        ("pp512, n_threads 8",),
    )
    assert [(one.field, one.b) for one in compared.differences] == [("build_commit", "other")]


def test_another_setting_is_compared_and_named() -> None:
    compared = compare([row(STEADY, n_threads=4)], [row(STEADY, n_threads=8)])
    assert len(compared.pairs) == 1
    assert [(one.field, one.a, one.b) for one in compared.differences] == [("n_threads", 4, 8)]


def test_sampled_answers_meet_each_other_and_no_test() -> None:
    a = [row(STEADY, kind="chat", n_prompt=20, n_gen=64), row(STEADY, n_prompt=20, n_gen=64)]
    b = [row(STEADY, kind="chat", n_prompt=20, n_gen=31)]
    compared = compare(a, b)
    assert [pair.label for pair in compared.pairs] == ["chat (sampled)"]
    assert compared.only_a == ("pp20+tg64",)


def joules(values: Sequence[float], **changes: Any) -> dict[str, Any]:
    energy = {
        "samples_j_per_token": list(values),
        "j_per_token_gain": 0.05,
        "power_rough": False,
        "power_scope": "GPU board",
        "power_source": "NVML energy counter",
    }
    return row(STEADY, **(energy | changes))


def test_joules_are_judged_on_the_same_sensor() -> None:
    """Its gain of 5 % is in both alike: a difference of 3 % counts."""
    (pair,) = compare([joules((0.500, 0.501, 0.499))], [joules((0.515, 0.516, 0.514))]).pairs
    assert pair.energy is not None and pair.energy.verdict == "higher"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine": "another"}, "different sensors, each good to 5%"),
        ({"power_scope": "GPU + CPU package"}, "different scopes: GPU board and GPU + CPU package"),
        ({"power_rough": True}, "B: too short for its meter"),
    ],
)
def test_joules_of_other_sensors_are_not_judged_within_their_gain(
    changes: dict[str, Any], reason: str
) -> None:
    a = [joules((0.500, 0.501, 0.499))]
    (pair,) = compare(a, [joules((0.515, 0.516, 0.514), **changes)]).pairs
    assert pair.energy is not None
    assert (pair.energy.verdict, pair.energy.reason) == ("not judged", reason)


def test_a_file_may_be_an_array_lines_or_a_document() -> None:
    rows = [row(STEADY), llama_benchs(STEADY, n_prompt=64)]
    lines = "\n".join(json.dumps(one) for one in rows)
    document = json.dumps({"schema": "localllm.bench/1", "rows": rows})
    for text in (json.dumps(rows), lines, document):
        assert len(read_bench("run.json", text).rows) == 2
    assert len(read_bench("run.json", json.dumps(rows[0])).rows) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "[1]",
        "3",
        '{"rows": [], "schema": "localllm.bench/1"}',
        '{"rows": [{}]}',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0}]',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0, "avg_ts": 0}]',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0, "avg_ts": NaN}]',
        '[{"n_prompt": -1, "n_gen": 0, "n_depth": 0, "avg_ts": 5}]',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0, "avg_ts": 5, "samples_ts": ["a"]}]',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0, "avg_ts": 5, "n_threads": [1]}]',
        '[{"n_prompt": 1, "n_gen": 0, "n_depth": 0, "avg_ts": 5, "invalid": [1]}]',
        "[" * 100_000,
    ],
)
def test_a_file_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        read_bench("other.json", text)


_VALUES = st.sampled_from([None, True, -5, 0, 3, 10**9, 1.5, float("nan"), float("inf"), "x", ""])
_FIELDS = st.sampled_from([*row(STEADY)])


@given(st.dictionaries(_FIELDS, _VALUES | st.lists(_VALUES, max_size=3), max_size=6))
def test_whatever_is_read_can_be_compared(changes: dict[str, Any]) -> None:
    text = json.dumps([row(STEADY, **changes)])
    try:
        rows = read_bench("run.json", text).rows
    except IntegrityError:
        return
    compared = compare(rows, [row(STEADY, n_prompt=1), row(STEADY)])
    assert len(compared.pairs) + len(compared.only_a) == 1


def test_a_mixed_test_has_its_own_name() -> None:
    one = bench_row(setup(plan_8b()), BenchTest(n_prompt=8, n_gen=4, n_depth=2), [9], test_time="")
    (pair,) = compare([one], [one]).pairs
    assert pair.label == "pp8+tg4 @ d2"
