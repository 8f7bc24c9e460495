"""What an answer took, in words: whose watts, beside which estimate, with which error."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.joules import AnswerEnergy
from localllm.core.metered.readings import Energy, Unmeasured
from localllm.core.plan import Plan
from localllm.words.energy_lines import energy_lines, footer_piece
from tests.core.test_reconcile import energy, plan
from tests.records.test_measurements import stats

NO_METER = Unmeasured(reason="no permission to read RAPL", fix="sudo chmod o+r FILE")
SHORT = Unmeasured(reason="too few readings")
STATS = stats()
"""200 new prompt tokens after 100; tokens 2 to 101."""


def answer(
    decode: Energy | Unmeasured = NO_METER,
    prefill: Energy | Unmeasured = NO_METER,
    total: Energy | Unmeasured = NO_METER,
) -> AnswerEnergy:
    return AnswerEnergy(prefill=prefill, decode=decode, total=total)


def measured(joules: float = 400.0, seconds: float = 2.0, **changes: Any) -> Energy:
    return energy(joules=joules, sigma_j=joules / 40, ended_s=5.0 + seconds, **changes)


def lines(given_: AnswerEnergy | None, made: Plan | None = None, **changes: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in energy_lines(stats(**changes), given_, made):
        key = name or f"{list(found)[-1]}, net"
        found[key] = text
    return found


def test_each_phase_stands_beside_its_estimate_with_both_errors() -> None:
    found = lines(
        answer(measured(idle_w=50.0, idle_sigma_w=1.0), measured(60.0, 0.5), measured(460.0, 2.5)),
        plan("CUDA0"),
    )
    assert list(found) == ["power", "decode", "decode, net", "prompt", "answer"]
    assert found["power"] == (
        "200 W while decoding, 120 W while reading the prompt, GPU board by NVML energy counter"
    )
    assert re.fullmatch(
        r"estimated 2\.\d\d J/token \(\S+ to \S+\), "
        r"measured 4\.0 ± 0\.1 J/token \(stat\) ± 5 % \(sensor\), \+\d+ %, outside the range",
        found["decode"],
    )
    assert found["decode, net"].startswith("beyond the 50.0 W of idling 3.0 ± 0.1 J/token (stat)")
    assert "measured 0.300 ± 0.007 J/token (stat)" in found["prompt"]
    assert found["answer"] == "460 ± 10 J (stat) ± 5 % (sensor)"


def test_without_a_meter_there_is_one_reason_the_remedy_and_the_estimates() -> None:
    found = lines(answer(), plan("CUDA0"))
    assert list(found) == ["energy"]
    assert re.fullmatch(
        r"not measured: no permission to read RAPL \(to enable: sudo chmod o\+r FILE\); "
        r"estimated decode \S+ J/token \(\S+ to \S+\), prompt \S+ J/token",
        found["energy"],
    )
    assert lines(answer(SHORT, SHORT)) == {"energy": "not measured: too few readings"}
    assert lines(None) == {}


def test_a_phase_without_energy_has_its_own_reason() -> None:
    found = lines(answer(measured(), SHORT))
    assert found["prompt"] == "not measured: too few readings"
    assert found["decode"].startswith("measured 4.0 ± 0.1 J/token")
    assert "answer" not in found


def test_a_phase_without_tokens_is_left_out() -> None:
    energies = answer(measured(), measured(), measured())
    assert "prompt" not in lines(energies, n_cached=300)
    assert "decode" not in lines(energies, n_gen=1)


def test_what_is_rough_is_marked_and_what_is_noise_has_no_figure() -> None:
    rough = lines(answer(measured(rough=True, idle_w=199.9, idle_sigma_w=9.0)))
    assert rough["power"].startswith("~200 W while decoding")
    assert rough["decode"] == "measured ~4.0 J/token"
    assert rough["decode, net"].endswith("of idling <= noise")


def test_what_a_meter_averages_and_what_is_missing_is_said() -> None:
    average = measured(
        kinds=("average",),
        window_s=1.0,
        sources=("NVML power",),
        scope="1 of 2 GPU boards",
        missing=("GPU board nvidia1: the GPU is lost",),
    )
    found = lines(answer(average), plan("CUDA0", "CUDA1", tensor_split=(1.0, 1.0)))
    assert found["power"] == (
        "200 W while decoding, 1 of 2 GPU boards by NVML power (1.00 s averages added up), "
        "GPU board nvidia1: the GPU is lost"
    )
    assert "estimated" not in found["decode"] and "1 of 2 GPU boards" in found["decode"]


def test_a_counter_that_its_name_does_not_say_is_named() -> None:
    found = lines(answer(measured(sources=("RAPL",), scope="CPU package")))
    assert found["power"] == "200 W while decoding, CPU package by RAPL (counter)"


def test_a_shifted_answer_has_no_estimate_for_its_text() -> None:
    found = lines(answer(measured(), measured()), plan("CUDA0"), n_ctx=350)
    assert "estimated" not in found["decode"] and "estimated" in found["prompt"]


def test_the_piece_under_an_answer() -> None:
    piece = footer_piece(STATS, answer(measured()), plan("CUDA0"))
    assert piece is not None
    assert re.fullmatch(r"200 W GPU board · 4\.0 J/token \(estimated 2\.\d\)", piece)
    assert footer_piece(STATS, answer(measured(rough=True))) == "~200 W GPU board · ~4.0 J/token"


@pytest.mark.parametrize(
    ("energies", "changes"),
    [(None, {}), (answer(), {}), (answer(measured()), {"n_gen": 1}), (answer(measured(0.0)), {})],
)
def test_no_piece_where_nothing_was_measured(
    energies: AnswerEnergy | None, changes: dict[str, Any]
) -> None:
    assert footer_piece(stats(**changes), energies) is None


@given(
    st.floats(0, 1e6),
    st.floats(1e-3, 1e4),
    st.floats(0, 1e4),
    st.one_of(st.none(), st.floats(0, 1e4)),
    st.booleans(),
)
def test_no_figures_that_are_none(
    joules: float, seconds: float, sigma_j: float, idle_w: float | None, rough: bool
) -> None:
    part = energy(
        joules=joules,
        sigma_j=sigma_j,
        ended_s=5.0 + seconds,
        idle_w=idle_w,
        idle_sigma_w=None if idle_w is None else 0.5,
        rough=rough,
    )
    both = answer(part, part, part)
    texts = [text for _, text in energy_lines(STATS, both)] + [footer_piece(STATS, both) or ""]
    for text in texts:
        assert not re.search(r"nan|inf\b|None|-\d|\d e[+-]|\de[+-]\d", text)
