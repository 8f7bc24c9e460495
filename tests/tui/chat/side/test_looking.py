"""The figures of a moment: each beside its estimate, and a reason where one is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.expected_energy import expected_energy
from localllm.core.metered.live import Live
from localllm.core.metered.readings import Unmeasured
from localllm.core.prediction import predicted
from localllm.session import Session
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.looking import NO_HEALTH, NOT_YET, figures_of
from localllm.tui.chat.side.places import NOT_TOLD
from localllm.tui.chat.side.watts import RESTING
from localllm.units import GiB, MiB
from tests.tui.chat.side.support import (
    BOARD,
    HELD_BACK,
    NO_METER,
    answering,
    cpu_plan,
    ended,
    energy,
    gpu_plan,
    moment,
    reading,
    seen,
)

AT_REST = replace(BOARD, watts=None, missing="no reading yet")


def test_without_a_loaded_model_there_are_none() -> None:
    with Session(basis="formula") as session:
        assert figures_of(session, Course()) is None


def test_the_estimate_is_for_just_these_tokens_at_their_depth() -> None:
    course, plan = Course(), gpu_plan()
    now_s = answering(course, n_tokens=200, tok_s=36.0, n_prompt=6000)
    speed = seen(moment(plan, BOARD), course, now_s).speed
    expected = predicted(plan, "tg", n_tokens=199, depth=6000)
    assert expected is not None and plan.speed is not None
    assert (speed.answer.predicted, speed.answer.low) == (expected.tok_s, expected.low)
    assert expected.tok_s < plan.speed.tg_tok_s, "it lies deeper than the plan's own"
    assert speed.answer.measured == course.mean_tok_s


def test_the_engines_own_figures_take_the_place_of_those_seen_here() -> None:
    course, at = Course(), moment(gpu_plan(), BOARD)
    now_s = answering(course, n_tokens=301, tok_s=36.0)
    before = seen(at, course, now_s).speed
    assert before.ttft_seen and before.ttft_s == pytest.approx(0.5)
    ended(course, energy(watts=118, seconds=8.0))
    after = seen(at, course, 130.0).speed
    assert (after.ttft_s, after.ttft_seen) == (0.31, False)
    assert after.answer.measured == 300 / 8.0
    assert after.prompt is not None
    assert (after.prompt.n_cached, after.prompt.speed.measured) == (512, 512 / 0.25)
    assert after.now_tok_s is None


def test_watts_stand_beside_the_estimate_of_what_is_being_done() -> None:
    plan, course = gpu_plan(), reading(Course(), n_done=512, n_total=2048)
    assert plan.power is not None
    reads = seen(moment(plan, BOARD), course, 100.6).power
    assert reads.watts.predicted == plan.power.prefill_board_w
    assert reads.watts.low is None, "a plan states no range of it"
    now_s = answering(course, n_tokens=50, tok_s=36.0, watts=118.0)
    decodes = seen(moment(plan, BOARD), course, now_s).power
    assert (decodes.watts.measured, decodes.watts.predicted) == (118.4, plan.power.board_w)
    assert (decodes.watts.low, decodes.watts.high) == (
        plan.power.board_low_w,
        plan.power.board_high_w,
    )


def test_joules_so_far_are_the_watts_seen_over_the_speed_and_rough() -> None:
    plan, course = gpu_plan(), Course()
    now_s = answering(course, n_tokens=200, tok_s=36.0, watts=118.0)
    so_far = seen(moment(plan, replace(BOARD, watts=None)), course, now_s).power.so_far
    assert so_far is not None and so_far.rough
    assert so_far.measured == pytest.approx((course.mean_w or 0.0) / (course.mean_tok_s or 1.0))
    assert so_far.low is not None and so_far.high is not None


def test_an_answers_own_account_takes_their_place() -> None:
    plan, course = gpu_plan(), Course()
    answering(course, n_tokens=301, tok_s=36.0, watts=118.0)
    ended(course, energy(watts=118, seconds=8.0))
    power = seen(moment(plan, AT_REST), course, 130.0).power
    assert power.so_far is None and power.last is not None
    assert power.last.beside.measured == pytest.approx(118 * 8.0 / 300)
    expected = expected_energy(plan, n_prompt=0, n_gen=300, depth=1024)
    assert expected is not None and power.last.beside.predicted == expected.j_per_token
    net = power.last.net
    assert not isinstance(net, Unmeasured)
    assert net.j_per_token == pytest.approx((118 - 12) * 8.0 / 300)


def test_an_answer_that_was_not_metered_says_why() -> None:
    course = Course()
    answering(course, n_tokens=301, tok_s=36.0)
    ended(course, Unmeasured(reason="the machine slept in it"))
    power = seen(moment(gpu_plan(), AT_REST), course, 130.0).power
    assert power.last is not None and power.last.beside.measured is None
    assert power.last.gross == Unmeasured(reason="the machine slept in it")


def test_a_meter_at_rest_is_none_that_is_missing() -> None:
    power = seen(moment(gpu_plan(), AT_REST), Course(), 100.0).power
    assert (power.watts.measured, power.watts.unmeasured) == (None, RESTING)
    assert (power.scope, power.sources) == ("GPU board", ("NVML energy counter",))


def test_without_a_meter_there_is_the_reason_what_would_mend_it_and_the_estimate() -> None:
    plan = cpu_plan()
    power = seen(moment(plan, NO_METER), Course(), 100.0).power
    assert power.watts.measured is None
    assert power.watts.unmeasured == "no permission to read RAPL"
    assert power.fix is not None and power.fix.startswith("sudo chmod")
    assert plan.power is not None
    assert (power.watts.predicted, power.expected_scope) == (plan.power.board_w, "CPU package")
    assert power.expected_joules.predicted == pytest.approx(plan.power.j_per_token, rel=0.05)
    assert power.history is None


def test_the_estimate_is_of_what_is_metered() -> None:
    """A plan of the board and the processors, of which only the board has a meter."""
    plan = cpu_plan()
    live = replace(BOARD, scope="whole laptop")
    power = seen(moment(plan, live), Course(), 100.0).power
    assert power.watts.predicted is None, "nobody estimates a whole laptop"


def test_memory_is_planned_allocated_and_in_use() -> None:
    plan = gpu_plan()
    memory = seen(
        moment(plan, BOARD, more_bytes=90 * MiB, used_bytes=9 * GiB, resident_bytes=2 * GiB),
        Course(),
        100.0,
    ).memory
    board, ram = memory.places
    row, host = plan.devices
    assert (board.name, ram.name, ram.is_host) == ("CUDA0", "RAM", True)
    assert board.used_bytes == 9 * GiB and ram.used_bytes == 2 * GiB
    assert board.expected_bytes == (row.total_bytes or 0) - (row.free_bytes or 0) + row.needed_bytes
    assert ram.expected_bytes == host.needed_bytes + host.cached_bytes
    assert board.allocated is not None and board.allocated.predicted is not None
    assert board.allocated.measured == board.allocated.predicted + 90 * MiB


def test_use_that_is_not_told_is_none() -> None:
    board, ram = seen(moment(gpu_plan(), BOARD), Course(), 100.0).memory.places
    assert (board.used_bytes, board.used_unknown) == (None, NOT_TOLD)
    assert (ram.used_bytes, ram.used_unknown) == (None, NOT_TOLD)


def test_the_whole_cards_use_is_none_of_a_slices() -> None:
    plan = gpu_plan()
    devices = tuple(replace(device, mig="1g.10gb") for device in plan.hardware.devices)
    sliced = replace(plan, hardware=replace(plan.hardware, devices=devices))
    board, _ = seen(moment(sliced, BOARD, used_bytes=9 * GiB), Course(), 100.0).memory.places
    assert board.used_bytes is None


@pytest.mark.parametrize(
    ("shift", "can_shift", "at_end"),
    [
        (False, True, "stops"),
        (True, True, "shifts"),
        (True, False, "cannot shift"),
    ],
)
def test_what_happens_at_the_end_of_the_context(shift: bool, can_shift: bool, at_end: str) -> None:
    at = moment(gpu_plan(), BOARD)
    at = replace(at, loaded=replace(at.loaded, can_shift=can_shift))
    assert seen(at, Course(), 100.0, context_shift=shift).context.at_end == at_end


def test_the_context_fills_with_prompt_and_answer() -> None:
    at, course = moment(gpu_plan(), BOARD), Course()
    assert seen(at, course, 100.0).context.n_used is None
    reading(course, n_done=512, n_total=2048)
    assert seen(at, course, 100.6).context.n_used == 512
    now_s = answering(course, n_tokens=100, tok_s=36.0, n_prompt=1000)
    assert seen(at, course, now_s).context.n_used == 1100
    ended(course, energy(watts=118, seconds=8.0))
    assert seen(at, course, now_s).context.n_used == 1024 + 301


def test_a_context_that_has_shifted_is_not_counted() -> None:
    course = Course()
    now_s = answering(course, n_tokens=400, tok_s=36.0, n_prompt=8000)
    context = seen(moment(gpu_plan(), BOARD), course, now_s, context_shift=True).context
    assert (context.n_used, context.shifted) == (None, True)


def test_heat_is_told_or_a_reason_and_silence_is_not_ok() -> None:
    heat = seen(moment(gpu_plan(), HELD_BACK), Course(), 100.0).heat
    assert (heat.temperature_c, heat.throttle) == (83.0, ("power cap", "thermal"))
    silent = seen(moment(gpu_plan(), replace(BOARD, throttle_told=False)), Course(), 100.0).heat
    assert (silent.throttle_told, silent.unknown) == (False, None)


def test_what_nobody_reads_between_answers_is_said_to_be_past() -> None:
    course, at = Course(), moment(gpu_plan(), replace(BOARD, watts=55.0), used_bytes=8 * GiB)
    now_s = answering(course, n_tokens=301, tok_s=36.0)
    at = replace(at, healths=tuple(replace(health, t_s=now_s) for health in at.healths))
    during = seen(at, course, now_s)
    assert (during.heat.is_past, during.power.is_past) == (False, False)
    assert during.power.watts.measured == 55.0
    ended(course, energy(watts=118, seconds=8.0))
    after = seen(at, course, now_s + 60)
    assert (after.heat.is_past, after.power.is_past) == (True, True)
    assert after.power.watts.measured == pytest.approx(118), "what decoding drew, and no rest of it"


def test_a_run_without_any_sensor_says_so_once_it_has_been_looked_for() -> None:
    at, course = moment(cpu_plan(), Live()), Course()
    assert seen(at, course, 100.0).heat.unknown == NOT_YET
    now_s = answering(course, n_tokens=301, tok_s=36.0)
    assert seen(at, course, now_s).heat.unknown == NO_HEALTH
    ended(course, Unmeasured(reason="there is no power meter"))
    assert seen(at, course, now_s).heat.unknown == NO_HEALTH
