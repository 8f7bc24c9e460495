"""THE decode loop: the prompt in chunks, then one token after the other.

Per token there is one call to sample (which waits for the graph and accepts the token itself),
one to decode, one for the token's bytes, and one write of an event. Where everything is on GPUs
``llama_decode`` returns before its work is done, so text is sent *after* the next decode was
submitted and costs nothing; on a CPU it returns when the work is done, so text is sent before, or
every token would appear one token late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from localllm.core.generation import (
    Channel,
    Finished,
    FinishReason,
    PromptProgress,
    RunStats,
    Sampling,
    Timeline,
)
from localllm.engine.drawing import Drawing
from localllm.engine.llama import C
from localllm.engine.memory import ABORTED, DECODED, ContextMemory
from localllm.engine.reasoning import Segment, Separator
from localllm.engine.refusals import PromptTooLong, undecoded
from localllm.engine.sampling import seed_of
from localllm.engine.text import StopStrings, Utf8
from localllm.engine.vocab import Known, Vocab
from localllm.engine.wire import Wire
from localllm.errors import UsageError


@dataclass(slots=True, kw_only=True)
class Engine:
    """A loaded model, as the loop needs it."""

    context: int
    vocab: Vocab
    memory: ContextMemory
    chunk_at: Callable[[int], int]
    """Prompt tokens of the decode at a position."""
    on_gpu_only: bool
    drawing: Drawing


@dataclass(slots=True, kw_only=True)
class Task:
    """One answer to be generated."""

    prompt: list[int]
    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    separator: Separator
    began_s: float
    """``time.monotonic`` when the request arrived."""
    n_keep: Callable[[], int] | None = None
    """How many tokens survive a context shift; None: do not shift."""


class _Interrupted(Exception):
    """The request was cancelled inside a decode."""


def generate(engine: Engine, task: Task, wire: Wire) -> Finished:
    """Evaluate the prompt, stream the answer, and return how it ended.

    The prompt must have passed ``check_prompt``. Raises ``EngineError`` when llama.cpp gives up.
    """
    seed = seed_of(task.sampling)
    answer, drawing = Answer(engine, task, wire), engine.drawing
    drawing.begin(task.sampling, seed=seed, prompt=task.prompt)
    try:
        answer.read_prompt()
        reason = answer.write()
    except _Interrupted:
        reason = "cancelled"
    finally:
        drawing.end()
    answer.flush()
    if answer.stops.hit is not None:
        reason = "stop_string"
    return Finished(
        reason=reason,
        stats=answer.stats(seed),
        stop_string=answer.stops.hit,
        timeline=answer.timeline(),
        sampled_on=drawing.sampled_on,
        sampled_why=drawing.why,
    )


def check_prompt(prompt: list[int], n_ctx: int) -> None:
    """Refuse a prompt that llama.cpp could not take. Raises ``UsageError``."""
    if not prompt:
        raise UsageError("The prompt is empty.", hint="Write something to continue from.")
    if len(prompt) > n_ctx:
        raise PromptTooLong(
            f"The prompt has {len(prompt):,} tokens, but the context holds {n_ctx:,}.",
            hint="Shorten it or start a new conversation, or load the model with a larger --ctx.",
        )


class Answer:
    """An answer in the making: what was read, drawn and sent so far."""

    def __init__(self, engine: Engine, task: Task, wire: Wire) -> None:
        """Nothing is done yet."""
        self._engine, self._task, self._wire = engine, task, wire
        self._utf8 = Utf8()
        self.stops = StopStrings(task.stop)
        self._passes = False
        self._n_cached = 0
        self._n_gen = 0
        self._prompt_s = self._tg_s = 0.0
        self._prompt_began_s = self._prompt_ended_s = task.began_s
        self._first_token_s = 0.0

    def read_prompt(self) -> None:
        """Decode what the cache does not hold yet, in chunks, so that a cancel is heard."""
        memory, prompt, wire = self._engine.memory, self._task.prompt, self._wire
        n_done = self._n_cached = memory.keep_common_prefix(prompt)
        self._prompt_began_s = time.monotonic()
        try:
            while n_done < len(prompt):
                progress = PromptProgress(
                    n_done=n_done, n_total=len(prompt), n_cached=self._n_cached
                )
                wire.emit(progress)
                if wire.cancelled:
                    raise _Interrupted
                chunk = prompt[n_done : n_done + self._engine.chunk_at(n_done)]
                n_done += len(chunk)
                self._expect(memory.decode(chunk, logits=n_done == len(prompt)))
            C.llama_synchronize(self._engine.context)
        finally:
            self._prompt_ended_s = time.monotonic()
        self._prompt_s = self._prompt_ended_s - self._prompt_began_s
        wire.emit(PromptProgress(n_done=n_done, n_total=n_done, n_cached=self._n_cached))

    def write(self) -> FinishReason:
        """Generate tokens until something ends the answer.

        Between two decodes the processor's caches hold weights, so what counts here is how much
        code and data a token touches, and a call of a Python function touches much.
        """
        engine, wire, stops = self._engine, self._wire, self.stops
        context, memory, drawing = engine.context, engine.memory, engine.drawing
        limit = 2**62 if self._task.max_tokens is None else self._task.max_tokens
        sample, known, monotonic = C.llama_sampler_sample, engine.vocab.known, time.monotonic
        sends_late, n_ctx = engine.on_gpu_only, memory.n_ctx
        first_s = 0.0
        if limit <= 0:
            return "length"
        while True:
            token = sample(drawing.chain, context, -1)
            now = monotonic()
            if self._n_gen == 0:
                first_s = self._first_token_s = now
            drawn = known[token]
            if drawn.ends:
                return "stop"
            self._n_gen += 1
            self._tg_s = now - first_s
            if not sends_late:
                self.send(drawn)
                if stops.hit is not None:
                    return "stop_string"
            reason: FinishReason | None = None
            if self._n_gen >= limit:
                reason = "length"
            elif len(memory.tokens) >= n_ctx:
                reason = self._make_room()
            if wire.cancelled and reason is None:
                reason = "cancelled"
            if drawing.watched:
                drawing.watch(now)
            if reason is None and (code := memory.append(token)) != DECODED:
                self._expect(code)
            if sends_late:
                self.send(drawn)
                if stops.hit is not None:
                    return "stop_string"
            if reason is not None:
                return reason

    def _make_room(self) -> FinishReason | None:
        """Shift the full context where that is wanted and can be; else say how the answer ends."""
        memory = self._engine.memory
        if self._task.n_keep is None or not memory.shift(self._task.n_keep()):
            return "context_full"
        return None

    def _expect(self, code: int) -> None:
        if code == DECODED:
            return
        if code == ABORTED:
            raise _Interrupted
        raise undecoded(code)

    def send(self, token: Known) -> None:
        """Send a token's text as far as it is certain."""
        utf8 = self._utf8
        text = token.text if utf8.between else None
        if text is None:
            text = utf8.feed(token.piece)
        if not text:
            return
        if self._passes or self._now_passes():
            self._wire.emit_text(text, "answer", self._n_gen, self._tg_s)
        else:
            self._pass_on(self._task.separator.feed(text))

    def _now_passes(self) -> bool:
        """Whether text needs no looking at any more: no stop strings, all of it the answer."""
        self._passes = not self._task.stop and self._task.separator.is_done
        return self._passes

    def _pass_on(self, segments: list[Segment]) -> None:
        for channel, text in segments:
            if channel == "answer":
                text = self.stops.feed(text)
            if text:
                self._emit(channel, text)

    def _emit(self, channel: Channel, text: str) -> None:
        self._wire.emit_text(text, channel, self._n_gen, self._tg_s)

    def flush(self) -> None:
        """Send what was held back: an unfinished character, half a tag, half a stop string."""
        rest = self._utf8.finish()
        self._pass_on(self._task.separator.feed(rest) if rest else [])
        self._pass_on(self._task.separator.finish())
        held = self.stops.finish()
        if held:
            self._emit("answer", held)

    def stats(self, seed: int) -> RunStats:
        """Return what the answer took."""
        return RunStats(
            n_prompt=len(self._task.prompt),
            n_cached=self._n_cached,
            n_gen=self._n_gen,
            prompt_s=self._prompt_s,
            tg_s=self._tg_s,
            ttft_s=max(0.0, self._first_token_s - self._task.began_s),
            n_ctx=self._engine.memory.n_ctx,
            n_ctx_used=len(self._engine.memory.tokens),
            seed=seed,
        )

    def timeline(self) -> Timeline:
        """Return when the phases were."""
        first_s = self._first_token_s or self._prompt_ended_s
        return Timeline(
            prompt_began_s=self._prompt_began_s,
            prompt_ended_s=self._prompt_ended_s,
            first_token_s=first_s,
            last_token_s=first_s + self._tg_s,
        )
