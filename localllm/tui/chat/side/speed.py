"""Speed as rows of text: the answer's, its prompt's, each beside its estimate.

The rows stay from phase to phase, so that nothing below them jumps while an answer comes.
"""

from __future__ import annotations

from textual.content import Content

from localllm.core.reconcile import Reconciled
from localllm.tui.chat.side.figures import PromptFigures, SpeedFigures
from localllm.tui.chat.side.pieces import (
    MUTED,
    NONE,
    Detail,
    Rows,
    beside,
    estimate,
    muted,
    off,
    picture,
    speed,
    strong,
)
from localllm.tui.widgets.blocks import flowed, gauge, span
from localllm.units import format_duration, format_rate
from localllm.words.figures import rate, short_duration


def speed_rows(figures: SpeedFigures, width: int, detail: Detail) -> Rows:
    """Return how fast the answer comes, and how fast its prompt was read."""
    answer, going = figures.answer, going_pieces(figures)
    if detail == 1:
        return flowed([*going, estimate(answer), off(answer)], width=width)
    rows = [flowed(going, width=width)[0], beside(answer, width, unit=True, ends=detail == 2)]
    if detail == 3:
        rows.append(_range(answer, width))
    if figures.phase == "prompt" and figures.prompt is not None:
        rows += _progress(figures.prompt, width, 3 if detail == 3 else 1)
    else:
        rows += speed_picture(figures, width=width, height=detail - 1)
    return rows + _prompt_rows(figures, width, detail)


def speed_picture(figures: SpeedFigures, *, width: int, height: int) -> Rows:
    """Return how the answer's speed went, its axis reaching the estimate."""
    top = max(figures.answer.predicted or 0.0, figures.answer.measured or 0.0)
    return picture(figures.history, width=width, height=height, top=top, style="$text-primary")


def _progress(prompt: PromptFigures, width: int, n_rows: int) -> Rows:
    """How far the prompt is read, and how long the rest takes at this speed."""
    share = prompt.n_done / prompt.n_total if prompt.n_total else None
    bar = gauge(share, width=width - 5, style="$text-primary")
    rows = [Content.assemble(bar, f"{share or 0.0:>5.0%}")]
    tok_s, n_left = prompt.speed.measured, prompt.n_total - prompt.n_done
    left = f"about {format_duration(n_left / tok_s)} left" if tok_s and n_left else ""
    return [*rows, muted(left), Content("")][:n_rows]


def going_pieces(figures: SpeedFigures) -> Rows:
    """Return what goes on, and the speed of it."""
    mean = figures.answer.measured
    if figures.phase == "asked":
        waited = "" if figures.waiting_s is None else f" {figures.waiting_s:.0f} s"
        return [strong(f"waiting{waited}"), muted("nothing came yet")]
    if figures.phase == "prompt" and figures.prompt is not None:
        prompt = figures.prompt
        return [strong(f"reading the prompt {prompt.n_done:,}/{prompt.n_total:,}")]
    if figures.phase == "answering":
        now = Content.assemble(speed(figures.now_tok_s), " now")
        return [now, Content(f"mean {NONE if mean is None else rate(mean)}")]
    if mean is None:
        return [speed(None), muted("no answer yet")]
    return [speed(mean), muted(f"last answer, {figures.n_gen:,} tokens")]


def _range(figure: Reconciled, width: int) -> Content:
    """The estimate's range as a line, and where the measurement lies."""
    if figure.low is None or figure.high is None or figure.predicted is None:
        return Content("")
    low, high = (format_rate(end, digits=2) for end in (figure.low, figure.high))
    line = span(
        figure.low,
        figure.high,
        middle=figure.predicted,
        value=figure.measured,
        width=width - len(low) - len(high) - 2,
        style=MUTED,
    )
    return Content.assemble((f"{low} ", MUTED), line, (f" {high}", MUTED))


def _prompt_rows(figures: SpeedFigures, width: int, detail: Detail) -> Rows:
    prompt, first = figures.prompt, _first_token(figures)
    if prompt is None:
        rows = [muted(f"prompt {NONE}")]
        return [*rows, Content(""), first] if detail == 3 else rows
    head = Content(f"prompt {prompt.n_total:,} tokens")
    read = flowed([head, speed(prompt.speed.measured)], width=width)[0]
    if detail == 2:
        return [read]
    n_cached = muted(f"{prompt.n_cached:,} cached" if prompt.n_cached else "")
    pieces = [estimate(prompt.speed, ends=False), off(prompt.speed), n_cached]
    return [read, Content.assemble("  ", flowed(pieces, width=width - 2)[0]), first]


def pace_pieces(prompt: PromptFigures) -> Rows:
    """Return how fast the prompt was read, beside its estimate."""
    return [speed(prompt.speed.measured), estimate(prompt.speed, ends=False), off(prompt.speed)]


def _first_token(figures: SpeedFigures) -> Content:
    if figures.ttft_s is None:
        return muted(f"first token {NONE}")
    about = "~" if figures.ttft_seen else ""
    return Content(f"first token after {about}{short_duration(figures.ttft_s)}")
