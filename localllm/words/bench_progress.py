"""What a bench run is doing, in one line."""

from __future__ import annotations

from localllm.core.bench.activity import (
    Answering,
    CoolingDown,
    Loading,
    Planning,
    Progress,
    Repeating,
    Trying,
    WarmingUp,
    Where,
)
from localllm.units import format_duration


def progress_line(progress: Progress) -> str:
    """Return ``bench 2/3: tg128, 4/5, 13.01 t/s, about 20 s left``."""
    left = "" if progress.left_s is None else f", about {time_left(progress.left_s)} left"
    where = "bench" if progress.where is None else f"bench {where_words(progress.where)}"
    match progress.step:
        case Planning(model=model, settings=settings):
            return f"planning {model} {settings}"
        case Loading(model=model, fraction=fraction):
            return f"loading {model}: {fraction:.0%}"
        case WarmingUp(worked_s=worked_s):
            return f"warming up, {worked_s:.0f} s{left}"
        case CoolingDown(pause_left_s=pause_left_s):
            return f"cooling down, {pause_left_s:.0f} s{left}"
        case Trying():
            return f"{where}, one repetition to see how long it takes"
        case Repeating(tok_s=None):
            return f"{where}, warmed up{left}"
        case Repeating(repetition=repetition, n_repetitions=n_repetitions, tok_s=tok_s):
            return f"{where}, {repetition}/{n_repetitions}, {tok_s:,.2f} t/s{left}"
        case Answering(number=number, n_answers=n_answers, n_tokens=n_tokens):
            return f"sampled answer {number}/{n_answers}, {n_tokens} tokens"


def where_words(where: Where) -> str:
    """Return ``2/3: tg128``, with what tells the configuration from others."""
    settings = f", {where.settings}" if where.settings else ""
    return f"{where.number}/{where.n_tests}: {where.test.label}{settings}"


def time_left(seconds: float) -> str:
    """Return ``3 min 05 s``, or ``7 s``."""
    return format_duration(seconds) if seconds >= 10 else f"{seconds:.0f} s"
