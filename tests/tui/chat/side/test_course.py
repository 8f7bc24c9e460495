"""What is remembered of an answer while it comes: counts, speeds, watts, and the answer before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.generation import TextDelta
from localllm.core.metered.live import Live
from localllm.tui.chat.side.course import Course
from tests.tui.chat.side.support import BOARD, answering, asked, ended, energy, gpu_plan, reading


def token(n: int, tg_s: float) -> TextDelta:
    return TextDelta(text="a", channel="answer", n_tokens=n, tg_s=tg_s)


def test_the_phases_of_an_answer() -> None:
    course = Course()
    assert course.phase == "idle"
    asked(course, 100.0)
    assert (course.phase, course.waiting_s(103.5)) == ("asked", 3.5)
    reading(course, n_done=512, n_total=2048)
    assert (course.phase, course.waiting_s(104.0)) == ("prompt", None)
    course.take(token(1, 0.0), 104.0)
    assert (course.phase, course.waited_s) == ("answering", 4.0)
    course.ended()
    assert course.phase == "idle"


def test_the_prompt_is_timed_from_its_first_batch_without_what_was_cached() -> None:
    course = reading(Course(), n_done=768, n_total=1024, n_cached=256)
    assert course.pp_tok_s() == pytest.approx(512 / 0.5)
    assert course.n_prompt == 1024


def test_the_mean_leaves_out_the_first_token_and_now_is_of_two_seconds() -> None:
    course = asked(Course())
    for n in range(1, 11):  # ten a second, then
        course.take(token(n, (n - 1) / 10), 100.0 + n / 10)
    for n in range(11, 41):  # twice as fast for a second and a half, then
        course.take(token(n, 0.9 + (n - 10) / 20), 101.0 + n / 20)
    assert course.mean_tok_s == pytest.approx(39 / 2.4)
    for n in range(41, 101):
        course.take(token(n, 2.4 + (n - 40) / 20), 103.0 + n / 20)
    assert course.tok_s(108.0) == pytest.approx(20.0, rel=0.01)


def test_a_stall_is_seen_before_it_is_over() -> None:
    course = Course()
    last_s = answering(course, n_tokens=601, tok_s=50.0)
    assert course.tok_s(last_s + 0.5) == pytest.approx(50.0, rel=0.1)
    assert (course.tok_s(last_s + 30.0) or 0.0) < 5.0


def test_one_token_has_no_speed() -> None:
    course = asked(Course())
    course.take(token(1, 0.0), 101.0)
    assert (course.tok_s(101.0), course.mean_tok_s, course.speeds()) == (None, None, None)


def test_an_hour_of_tokens_takes_the_memory_of_a_minute() -> None:
    course = asked(Course())
    for n in range(1, 40_001):
        course.take(token(n, n * 0.09), 100.0 + n * 0.09)
        course.seen(BOARD, 100.0 + n * 0.09)
    assert len(course._points) < 700 and len(course._watts) < 500
    history = course.speeds()
    assert history is not None and history.seconds == 60.0


def test_watts_count_from_the_first_token_on() -> None:
    course = reading(Course(), n_done=10, n_total=10)
    course.seen(replace(BOARD, watts=300.0), 100.2)
    assert course.mean_w is None
    course.take(token(1, 0.0), 101.0)
    for i, watts in enumerate((100.0, 120.0, 140.0)):
        course.seen(replace(BOARD, watts=watts), 101.0 + i / 4)
    course.seen(Live(missing="no reading yet"), 102.0)
    assert course.mean_w == pytest.approx(120.0)


def test_the_answer_before_is_kept_until_another_conversation() -> None:
    course = Course()
    answering(course, n_tokens=20, tok_s=50.0)
    ended(course, energy(watts=118, seconds=8.0))
    first = course.last
    assert first is not None and first.stats.n_gen == 301
    answering(course, n_tokens=20, tok_s=50.0)
    assert course.last is first and course.stats is None
    course.ended()  # stopped before the engine told its statistics
    assert course.last is first
    course.forget()
    forgotten = [course.last, course.n_gen, course.n_prompt]
    assert forgotten == [None, 0, None]


def test_estimates_of_one_plan_come_from_one_predictor() -> None:
    course, plan = Course(), gpu_plan()
    predictor = course.predictor(plan)
    assert course.predictor(plan) is predictor
    first = course.prompt_estimate(plan, n_tokens=512, n_cached=0)
    assert first == predictor.predicted("pp", n_tokens=512, depth=0)
    assert course.prompt_estimate(plan, n_tokens=512, n_cached=0) is first
    assert course.prompt_estimate(plan, n_tokens=512, n_cached=4096) != first
    other = replace(plan, n_ctx=4096)
    assert course.predictor(other) is not predictor
