"""What is remembered of a run between two looks at it: tokens, watts, the last answer.

Fed by whoever holds the stream of events; nothing is read or drawn here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from localllm.core.generation import Event, Finished, PromptProgress, RunStats, TextDelta
from localllm.core.prediction import Prediction, Predictor
from localllm.tui.chat.side.history import LENGTHS_S, History, means, rates

if TYPE_CHECKING:
    from localllm.core.joules import AnswerEnergy
    from localllm.core.metered.live import Live
    from localllm.core.plan import Plan
    from localllm.talking.turn import Answer

Phase = Literal["idle", "asked", "prompt", "answering"]
"""``asked``: nothing came yet; ``prompt``: it is being read."""

NOW_S = 2.0
"""Over so long the speed of this moment is taken."""
_STALLED_S = 1.0
"""Without a token for so long, the waiting counts."""
_APART_S = 0.1
"""Tokens closer together are one point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What one answer took, as the engine and the meters told it."""

    stats: RunStats
    energy: AnswerEnergy | None
    """None where no meter was looked at."""


@dataclass(frozen=True, slots=True)
class _Point:
    """So many tokens after so long."""

    came_s: float
    tg_s: float
    n_tokens: int


class Course:
    """One model's answers as they came. For one thread.

    For every answer: ``asked`` when the request goes out, ``take`` of each event, ``ended`` when it
    is over, whatever its end. ``forget`` with another conversation; another model is another
    ``Course``.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.phase: Phase = "idle"
        self.prompt: PromptProgress | None = None
        self.n_gen = 0
        self.tg_s = 0.0
        self.stats: RunStats | None = None
        """Of an answer that the engine ended itself; None while it is being made."""
        self.last: Took | None = None
        """Of the last answer that is over, this one or the one before."""
        self.waited_s: float | None = None
        """From the request to the first token as it was seen here: later than it was drawn."""
        self._asked_s = 0.0
        self._prompt_began: tuple[float, int] | None = None
        self._prompt_came_s = 0.0
        self._points: deque[_Point] = deque(maxlen=round(1.1 * LENGTHS_S[-1] / _APART_S))
        self._mean_w: tuple[float, int] = 0.0, 0
        self._watts: deque[tuple[float, float]] = deque(maxlen=8 * round(LENGTHS_S[-1]))
        self._predictor: Predictor | None = None
        self._prompt_estimate: tuple[tuple[int, int], Prediction | None] | None = None

    # -- what happens ----------------------------------------------------------------------------

    def asked(self, now_s: float) -> None:
        """A request goes out at ``now_s``, by ``time.monotonic`` as everywhere."""
        self._begin()
        self.phase, self._asked_s = "asked", now_s

    def take(self, event: Event, now_s: float) -> None:
        """An event came."""
        if isinstance(event, TextDelta):
            if self.waited_s is None:
                self.waited_s = now_s - self._asked_s
            self.phase, self.n_gen, self.tg_s = "answering", event.n_tokens, event.tg_s
            if not self._points or event.tg_s - self._points[-1].tg_s >= _APART_S:
                self._point(event.n_tokens, event.tg_s, now_s)
        elif isinstance(event, PromptProgress):
            if self._prompt_began is None:
                self._prompt_began = now_s, event.n_done
            self.phase, self.prompt, self._prompt_came_s = "prompt", event, now_s
        elif isinstance(event, Finished):
            self.stats = event.stats
            self._point(event.stats.n_gen, event.stats.tg_s, now_s)

    def ended(self, answer: Answer | None = None) -> None:
        """The answer is over; ``answer`` brings what it took, once its turn has ended."""
        self.phase = "idle"
        if answer is not None:
            self.stats = answer.stats
        if self.stats is not None:
            self.last = Took(stats=self.stats, energy=None if answer is None else answer.energy)

    def forget(self) -> None:
        """Another conversation: the last answer is none of it."""
        self._begin()
        self.phase, self.last = "idle", None

    def seen(self, live: Live, now_s: float) -> None:
        """The meters were looked at."""
        if live.watts is not None:
            self._watts.append((now_s, live.watts))
            if self.phase == "answering":
                mean, n = self._mean_w
                self._mean_w = mean + (live.watts - mean) / (n + 1), n + 1

    def _point(self, n_tokens: int, tg_s: float, now_s: float) -> None:
        if not self._points or tg_s > self._points[-1].tg_s:
            self._points.append(_Point(came_s=now_s, tg_s=tg_s, n_tokens=n_tokens))

    def _begin(self) -> None:
        self.prompt = self.stats = self.waited_s = self._prompt_began = None
        self._mean_w = 0.0, 0
        self.n_gen, self.tg_s = 0, 0.0
        self._points.clear()

    # -- what it comes to ------------------------------------------------------------------------

    @property
    def n_prompt(self) -> int | None:
        """Tokens of the prompt; None while that is not known."""
        if self.stats is not None:
            return self.stats.n_prompt
        return None if self.prompt is None else self.prompt.n_total

    def waiting_s(self, now_s: float) -> float | None:
        """Return the seconds since the request, while nothing has come."""
        return now_s - self._asked_s if self.phase == "asked" else None

    @property
    def mean_tok_s(self) -> float | None:
        """Tokens per second of the whole answer, the first left out: it falls out of the prompt."""
        if self.stats is not None:
            return self.stats.tg_tok_s
        return (self.n_gen - 1) / self.tg_s if self.n_gen > 1 and self.tg_s > 0 else None

    def tok_s(self, now_s: float) -> float | None:
        """Tokens per second of the last ``NOW_S``; None while no answer comes."""
        if self.phase != "answering" or len(self._points) < 2:
            return None
        last, first = self._points[-1], self._points[-2]
        for point in reversed(self._points):
            if last.tg_s - point.tg_s > NOW_S:
                break
            first = point if point is not last else first
        silent_s = now_s - last.came_s
        seconds = last.tg_s - first.tg_s + (silent_s if silent_s > _STALLED_S else 0.0)
        return (last.n_tokens - first.n_tokens) / seconds

    def pp_tok_s(self) -> float | None:
        """Tokens of the prompt per second, as far as it is read; None where nothing was."""
        if self.stats is not None:
            return self.stats.pp_tok_s
        if self._prompt_began is None or self.prompt is None:
            return None
        began_s, n_before = self._prompt_began
        n_done, seconds = self.prompt.n_done - n_before, self._prompt_came_s - began_s
        return n_done / seconds if n_done > 0 and seconds > 0 else None

    def speeds(self) -> History | None:
        """Return tokens per second of the answer, or of its last minute; None before it has two."""
        return rates([(point.tg_s, float(point.n_tokens)) for point in self._points])

    def watts(self, now_s: float) -> History | None:
        """Return the watts of the last minute as they were seen; None where there were none."""
        return means(tuple(self._watts), now_s=now_s)

    @property
    def mean_w(self) -> float | None:
        """The mean of the watts seen since this answer's first token; None where none were."""
        mean, n = self._mean_w
        return mean if n else None

    # -- what was expected -----------------------------------------------------------------------

    def depth(self, plan: Plan) -> int:
        """Return the tokens before the answer's; without one, those of the plan's estimate."""
        if self.n_prompt is not None:
            return self.n_prompt
        return 0 if plan.speed is None else plan.speed.at_depth

    def predictor(self, plan: Plan) -> Predictor:
        """Return what predicts runs of a plan, the same for the same plan."""
        if self._predictor is None or self._predictor.plan is not plan:
            self._predictor, self._prompt_estimate = Predictor(plan), None
        return self._predictor

    def prompt_estimate(self, plan: Plan, *, n_tokens: int, n_cached: int) -> Prediction | None:
        """Return the estimate of a prompt's speed; asked again only for another prompt."""
        predictor, asked = self.predictor(plan), (n_tokens, n_cached)
        if self._prompt_estimate is None or self._prompt_estimate[0] != asked:
            found = predictor.predicted("pp", n_tokens=n_tokens, depth=n_cached)
            self._prompt_estimate = asked, found
        return self._prompt_estimate[1]
