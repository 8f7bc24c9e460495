"""How an answer appears: rendered and repainted on a terminal, or as plain text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TextIO

from rich.text import Text

from localllm.cli.chat.live import LiveRegion
from localllm.cli.chat.markdown import MAX_PROSE_WIDTH, MarkdownStream
from localllm.cli.chat.status import status_row
from localllm.cli.chat.styled import Row, row, wrap
from localllm.core.generation import Event, Finished, PromptProgress, TextDelta
from localllm.core.metered.live import Live
from localllm.core.text import safe
from localllm.talking.settings import ReasoningDisplay
from localllm.units import format_duration
from localllm.words.answers import thought_words
from localllm.words.figures import rate
from localllm.words.status import Status, with_live

PAINT_S = 1 / 12
_MAX_PAINT_SHARE = 0.1
"""Of the time; a long open block, which takes longer to paint, is painted less often."""
_CLOCK_S = 0.25
"""Between two looks at the clock and at the power meters: four a second."""
_REASONING_ROWS = 5
_EMPTY = Row()


class View(Protocol):
    """Shows one answer while it comes."""

    def show(self, event: Event) -> None:
        """Take an event of the engine."""

    def tick(self) -> None:
        """Take notice that a moment has passed."""

    def start_below(self) -> None:
        """Go on below what others have written on the terminal meanwhile."""

    def end(self) -> None:
        """Leave the terminal as an answer should: its last row complete, nothing live."""


class PlainView:
    """Text as it comes, for a terminal that is dumb or wants no colours."""

    def __init__(self, stream: TextIO, reasoning: ReasoningDisplay) -> None:
        """Write to a stream."""
        self._stream, self._reasoning = stream, reasoning
        self._thinking = False
        self._column_open = False
        self._started = False

    def show(self, event: Event) -> None:
        """Write new text at once."""
        if not isinstance(event, TextDelta):
            return
        if event.channel == "reasoning":
            if not self._thinking:
                self._thinking = True
                self._write("(thinking)\n" if self._reasoning != "hide" else "(thinking ...)\n")
            if self._reasoning != "hide":
                self._write(event.text)
            return
        if self._thinking:
            self._thinking = False
            self._break()
            self._write("(end of thinking)\n\n" if self._reasoning != "hide" else "")
        text = event.text if self._started else event.text.lstrip("\n")
        self._started = self._started or bool(text)
        self._write(text)

    def tick(self) -> None:
        """Nothing moves."""

    def start_below(self) -> None:
        """Nothing is repainted, so nothing can be overwritten."""

    def end(self) -> None:
        """End the last line."""
        self._break()

    def _break(self) -> None:
        if self._column_open:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(safe(text))
            self._stream.flush()
            self._column_open = not text.endswith("\n")


class RichView:
    """Markdown that is final as early as possible, above a status line that lives."""

    def __init__(
        self,
        stream: TextIO,
        status: Status,
        reasoning: ReasoningDisplay,
        clock: Callable[[], float] = time.monotonic,
        live: Callable[[], Live] | None = None,
    ) -> None:
        """Write to a terminal; ``status`` is where the figures start, ``live`` tells the watts."""
        self._region = LiveRegion(stream)
        self._status, self._reasoning, self._clock = status, reasoning, clock
        self._live = live
        self._looked_s = float("-inf")
        self._answer = MarkdownStream()
        self._thought = _Thought()
        self._began_s = self._painted_s = clock()
        self._paint_every_s = PAINT_S
        self._dirty = True
        self._n_prompt = 0
        self._answering = False

    def show(self, event: Event) -> None:
        """Take new text or progress; paint when the last painting is long enough ago."""
        now_s = self._clock()
        if isinstance(event, TextDelta):
            if event.channel == "reasoning":
                self._thought.add(event, now_s)
            else:
                text = safe(event.text)
                self._answer.feed(text)
                self._answering = self._answering or bool(text.strip())
            tok_s = (event.n_tokens - 1) / event.tg_s if event.n_tokens > 1 and event.tg_s else None
            self._status = replace(
                self._status,
                phase=None,
                tok_s=tok_s,
                n_ctx_used=self._n_prompt + event.n_tokens,
            )
        elif isinstance(event, PromptProgress):
            self._n_prompt = event.n_total
            self._status = replace(
                self._status,
                phase=f"reading the prompt {event.n_done:,}/{event.n_total:,}",
                n_ctx_used=event.n_done,
            )
        elif isinstance(event, Finished):
            self._status = replace(
                self._status,
                phase=None,
                tok_s=event.stats.tg_tok_s,
                n_ctx_used=event.stats.n_ctx_used,
            )
        self._dirty = True
        if now_s - self._painted_s >= self._paint_every_s:
            self._paint(now_s)

    def tick(self) -> None:
        """Paint what is due, and the clock while nothing comes."""
        now_s = self._clock()
        idle_s = _CLOCK_S if self._live is not None or not self._answering else float("inf")
        due_s = self._paint_every_s if self._dirty else idle_s
        if now_s - self._painted_s >= due_s:
            self._paint(now_s)

    def start_below(self) -> None:
        """Paint the open rows again below what others have written."""
        self._region.start_below()
        self._dirty = True

    def end(self) -> None:
        """Make everything permanent and take the status line away."""
        self._answer.finish()
        final = self._folded_thought()
        self._region.paint([*final, *self._answer.final_rows(self._region.width, finished=True)])

    def _paint(self, now_s: float) -> None:
        if self._live is not None and now_s - self._looked_s >= _CLOCK_S:
            self._status, self._looked_s = with_live(self._status, self._live()), now_s
        width = self._region.width
        final = self._folded_thought() if self._answering else []
        final += self._answer.final_rows(width)
        live = self._answer.open_rows(width)
        status = self._status
        if not self._answering:
            waited_s = format_duration(now_s - self._began_s)
            if self._thought.n_tokens:
                live = self._thought.rows(width, self._reasoning)
                status = replace(status, phase=f"thinking {waited_s} · {_speed(status)}")
            else:
                status = replace(status, phase=f"{status.phase or 'starting'} · {waited_s}")
        self._region.paint(
            final,
            live,
            [_EMPTY, status_row(status, width)] if live else [status_row(status, width)],
        )
        self._painted_s, self._dirty = self._clock(), False
        self._paint_every_s = max(PAINT_S, (self._painted_s - now_s) / _MAX_PAINT_SHARE)

    def _folded_thought(self) -> list[Row]:
        """Return the reasoning as it stays on the screen, once."""
        thought, self._thought = self._thought, _Thought()
        if not thought.n_tokens:
            return []
        rows = thought.all_rows(self._region.width) if self._reasoning == "show" else []
        words = thought_words(thought.duration_s, thought.n_tokens)
        rows.append(row((f"▸ thought for {words}", "dim italic")))
        return [*rows, _EMPTY] if self._answering else rows


class _Thought:
    """Reasoning text: its last rows while it comes."""

    def __init__(self) -> None:
        self._text = ""
        self._first_s = self._last_s = 0.0
        self._before = 0
        self.n_tokens = 0

    @property
    def duration_s(self) -> float:
        return self._last_s - self._first_s

    def add(self, event: TextDelta, now_s: float) -> None:
        if not self.n_tokens:
            self._first_s = now_s
            self._before = event.n_tokens - 1
        self._last_s = now_s
        self.n_tokens = event.n_tokens - self._before
        self._text += safe(event.text)

    def rows(self, width: int, reasoning: ReasoningDisplay) -> list[Row]:
        """Return the last rows, from a bounded piece of the text."""
        if reasoning == "hide":
            return []
        tail = self._text[-width * _REASONING_ROWS :]
        return _dim_rows(tail, width)[-_REASONING_ROWS:]

    def all_rows(self, width: int) -> list[Row]:
        return _dim_rows(self._text.strip("\n"), width)


def _dim_rows(text: str, width: int) -> list[Row]:
    return wrap(Text(text.strip("\n"), "dim"), min(width, MAX_PROSE_WIDTH), bar="┆ ")


def _speed(status: Status) -> str:
    return f"{rate(status.tok_s)} tok/s"


def stdout_view(
    status: Status,
    reasoning: ReasoningDisplay,
    *,
    rich: bool,
    live: Callable[[], Live] | None = None,
) -> View:
    """Return the view for standard output."""
    if rich:
        return RichView(sys.stdout, status, reasoning, live=live)
    return PlainView(sys.stdout, reasoning)
