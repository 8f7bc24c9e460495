"""The watchdog's judgement, without waiting for it."""

from __future__ import annotations

import pytest

from localllm.core.generation import TextDelta
from localllm.engine.protocol import Beat
from localllm.engine.watch import Watch

DELTA = TextDelta(text="a", channel="answer", n_tokens=1, tg_s=0.0)


def watch(*, loads: bool = False) -> Watch:
    return Watch(silence_s=30, stall_s=60, cancel_grace_s=2, loads=loads)


def wait(judge: Watch, event: object, seconds: float, *, cancelled: bool = False) -> str | None:
    """Let the same thing happen at every slice for some time; return the first verdict."""
    for _ in range(round(seconds / judge.slice_s)):
        reason = judge.judge(event, judge.slice_s, cancelled=cancelled)
        if reason is not None:
            return reason
    return None


def test_silence_ends_a_child() -> None:
    judge = watch()
    assert wait(judge, None, 29) is None
    assert "no sign of life" in str(wait(judge, None, 2))


def test_a_sign_of_life_starts_the_silence_anew() -> None:
    judge = watch()
    for _ in range(5):
        assert wait(judge, None, 9) is None
        assert judge.judge(Beat(progress=1), 0.1, cancelled=False) is None


def test_beats_without_work_end_a_child_later_than_silence() -> None:
    judge = watch()
    assert wait(judge, Beat(progress=7), 59) is None
    assert "no progress" in str(wait(judge, Beat(progress=7), 2))


def test_work_keeps_a_child_alive_for_ever() -> None:
    judge = watch()
    for progress in range(100):
        assert wait(judge, Beat(progress=progress), 10) is None
    for _ in range(100):
        assert judge.judge(DELTA, 5, cancelled=False) is None


def test_a_load_may_stand_still_for_longer() -> None:
    assert wait(watch(loads=True), Beat(progress=7), 200) is None


def test_a_parent_that_was_stopped_has_not_waited() -> None:
    judge = watch()
    for _ in range(10):
        assert judge.judge(None, 3600, cancelled=False) is None


@pytest.mark.parametrize(
    ("event", "loads", "seconds"),
    [(None, False, 2), (Beat(progress=1), False, 15), (DELTA, True, 2)],
)
def test_a_cancellation_is_obeyed_in_time_or_enforced(
    event: object, loads: bool, seconds: float
) -> None:
    judge = watch(loads=loads)
    assert wait(judge, event, seconds - 0.5, cancelled=True) is None
    assert "ignored a cancellation" in str(wait(judge, event, 1, cancelled=True))
