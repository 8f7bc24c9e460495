"""Sampled answers, streamed as a chat streams them: what the tests leave out, measured apart.

The tests neither sample nor make text. Here the same model answers with the default sampling and
fixed seeds, through the path that ``chat`` takes; one without a chat template, or with one that
fails, continues a plain text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localllm.benching.loaded import Running, checked
from localllm.benching.rules import CHAT_PROMPT, Rules
from localllm.benching.stopping import Stop
from localllm.core.bench.activity import Answering, OnProgress, Progress
from localllm.core.bench.energy import BenchEnergy, Window
from localllm.core.generation import (
    ChatRequest,
    CompletionRequest,
    Event,
    Failed,
    Finished,
    Message,
    Sampling,
    TextDelta,
)
from localllm.core.metered.readings import Unmeasured

if TYPE_CHECKING:
    from localllm.session import Session


@dataclass(slots=True)
class Answers:
    """The answers so far."""

    n_prompt: int = 0
    n_gen: int = 0
    """Tokens of the prompt, and of the longest answer."""
    measured: list[tuple[int, float]] = field(default_factory=list)
    """Tokens after the first of each answer, and the seconds that they took."""
    windows: list[Window] = field(default_factory=list)
    unmeasured: Unmeasured | None = None

    @property
    def energy(self) -> BenchEnergy | Unmeasured:
        """Of the generated tokens of all answers, or why it is not known."""
        if self.unmeasured is not None or not self.windows:
            return self.unmeasured or Unmeasured(reason="no answer said when its tokens came")
        return BenchEnergy(windows=tuple(self.windows))


def measure_answers(
    answers: Answers, running: Running, rules: Rules, *, on_progress: OnProgress, stop: Stop
) -> None:
    """Add answers, each with its own seed, so that a model that ends one early tells in another.

    One with fewer than two tokens has no speed and is left out. Raises Stopped.
    """
    has_template = running.session.loaded is not None and running.session.loaded.template != "none"
    for seed in range(1, rules.chat_answers + 1):
        running.check_still_loaded()
        for event in checked(_answer(running.session, seed, rules, chats=has_template), stop):
            if isinstance(event, TextDelta):
                step = Answering(number=seed, n_answers=rules.chat_answers, n_tokens=event.n_tokens)
                on_progress(Progress(step=step))
            elif isinstance(event, Finished):
                _add(answers, event, running)


def _answer(session: Session, seed: int, rules: Rules, *, chats: bool) -> Iterator[Event]:
    sampling = Sampling(seed=seed)
    if chats:
        request = ChatRequest(
            messages=(Message(role="user", content=CHAT_PROMPT),),
            sampling=sampling,
            max_tokens=rules.chat_tokens,
        )
        for event in session.chat(request):
            if isinstance(event, Failed) and event.code == "template":
                break
            yield event
        else:
            return
    yield from session.complete(
        CompletionRequest(prompt=CHAT_PROMPT, sampling=sampling, max_tokens=rules.chat_tokens)
    )


def _add(answers: Answers, finished: Finished, running: Running) -> None:
    stats = finished.stats
    if stats.tg_tok_s is None:
        return
    answers.n_prompt, answers.n_gen = stats.n_prompt, max(answers.n_gen, stats.n_gen)
    answers.measured.append((stats.n_gen - 1, stats.tg_s))
    when = finished.timeline
    if when is None:
        return
    energy = running.energy_between(when.first_token_s, when.last_token_s)
    if isinstance(energy, Unmeasured):
        answers.unmeasured = energy
    else:
        answers.windows.append(Window(n_tokens=stats.n_gen - 1, parts=(energy,)))
