"""Keeps a model's reasoning apart from its answer, while both stream. Pure.

Two families of markup. *Tags*: the answer opens with ``<think>`` or a relative of it, or the
prompt itself ended with one (then the answer starts inside). *Harmony* (gpt-oss): the answer is a
series of messages, each with a channel:
``<|channel|>analysis<|message|>...<|end|><|start|>assistant...``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from localllm.core.generation import Channel
from localllm.engine.text import held_back

Segment = tuple[Channel, str]


@dataclass(frozen=True, slots=True)
class TagPair:
    """Markup around a block of reasoning."""

    opening: str
    closing: str


TAGS = (
    TagPair("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3 and many more
    TagPair("[THINK]", "[/THINK]"),  # Magistral
    TagPair("<seed:think>", "</seed:think>"),  # Seed-OSS
    TagPair("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    TagPair("<thought>", "</thought>"),  # EXAONE Deep
    TagPair("◁think▷", "◁/think▷"),  # Kimi-VL thinking
    TagPair("<mm:think>", "</mm:think>"),  # MiniMax-M3
    TagPair("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    TagPair("<think:opensource>", "</think:opensource>"),  # Hy3
    TagPair("<|channel>thought", "<channel|>"),  # Gemma 4
)
TAG_MARKERS = (*(marker for pair in TAGS for marker in (pair.opening, pair.closing)), "<|channel>")
"""Tokens that must be printed although they may be control tokens; Gemma 4's tag has two tokens."""
HARMONY_MARKERS = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")


class Separator(Protocol):
    """Splits a stream of text into channels."""

    @property
    def is_done(self) -> bool:
        """Whether all text from here on is the answer, as it stands."""

    def feed(self, text: str) -> list[Segment]:
        """Return the text that is certain, by channel."""

    def finish(self) -> list[Segment]:
        """Return what was held back."""


def separator_for(markup: str, prompt: str) -> Separator:
    """Return the separator for a model.

    ``markup``: its chat template and the texts of its marker tokens; ``prompt``: as rendered.
    """
    if is_harmony(markup):
        return HarmonySeparator(prompt)
    pairs = [pair for pair in TAGS if pair is TAGS[0] or pair.opening in markup]
    return TagSeparator(pairs, prompt)


def is_harmony(markup: str) -> bool:
    """Return whether a model writes messages with channels."""
    return "<|channel|>" in markup and "<|message|>" in markup


class Plain:
    """No markup at all: everything is the answer."""

    is_done: ClassVar[bool] = True

    def feed(self, text: str) -> list[Segment]:
        """Return the text."""
        return [("answer", text)] if text else []

    def finish(self) -> list[Segment]:
        """Return nothing."""
        return []


class TagSeparator:
    """``<think>`` at the very start, up to its closing tag; everything after that is the answer."""

    def __init__(self, pairs: Sequence[TagPair], prompt: str) -> None:
        """Know the tags; a prompt that ends with an opening tag starts inside the reasoning."""
        self._pairs = tuple(pairs)
        self._buffer = ""
        self._closing: str | None = None
        self._has_ended = False
        self._state: Callable[[], list[Segment] | None] = self._at_start
        end = prompt.rstrip()
        for pair in self._pairs:
            if end.endswith(pair.opening):
                self._closing = pair.closing
                self._state = self._inside

    @property
    def is_done(self) -> bool:
        """Whether the answer has begun."""
        return self._has_ended and not self._buffer

    def feed(self, text: str) -> list[Segment]:
        """Return the text that is certain, by channel."""
        self._buffer += text
        segments: list[Segment] = []
        while (found := self._state()) is not None:
            segments += found
        return segments

    def finish(self) -> list[Segment]:
        """Return what was held back."""
        text, self._buffer = self._buffer, ""
        channel: Channel = "reasoning" if self._state == self._inside else "answer"
        return [(channel, text)] if text else []

    def _take(self, length: int) -> str:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        return text

    # Each state returns segments when it moved on, and None when it needs more text.

    def _at_start(self) -> list[Segment] | None:
        text = self._buffer.lstrip()
        for pair in self._pairs:
            if text.startswith(pair.opening):
                self._buffer = text[len(pair.opening) :]
                self._closing = pair.closing
                self._state = self._inside
                return []
        if not text or any(pair.opening.startswith(text) for pair in self._pairs):
            return None
        if self._buffer.startswith(" ") and not self._buffer[1].isspace():
            self._take(1)  # SentencePiece starts every text with a space
        self._state = self._outside
        return []

    def _inside(self) -> list[Segment] | None:
        assert self._closing is not None
        at = self._buffer.find(self._closing)
        if at < 0:
            text = self._take(len(self._buffer) - held_back(self._buffer, (self._closing,)))
            return [("reasoning", text)] if text else None
        text = self._take(at)
        self._take(len(self._closing))
        self._state = self._after
        return [("reasoning", text)] if text else []

    def _after(self) -> list[Segment] | None:
        """Drop the blank lines between the reasoning and the answer."""
        self._buffer = self._buffer.lstrip("\n")
        if not self._buffer:
            return None
        self._state = self._outside
        return []

    def _outside(self) -> list[Segment] | None:
        self._has_ended = True
        text = self._take(len(self._buffer))
        return [("answer", text)] if text else None


class HarmonySeparator:
    """gpt-oss: ``final`` answers, ``analysis`` and tool calls are reasoning, headers go."""

    is_done: ClassVar[bool] = False

    def __init__(self, prompt: str) -> None:
        """Start where the prompt left off: after ``<|start|>assistant``, or inside a message."""
        self._buffer = ""
        self._header = ""
        self._channel: Channel | None = None
        """Of the message that is open; None between messages and inside headers."""
        opened = prompt.rfind("<|message|>")
        if opened > max(prompt.rfind(marker) for marker in ("<|start|>", "<|end|>")):
            header = prompt[prompt.rfind("<|channel|>", 0, opened) :][: len(prompt)]
            self._channel = _harmony_channel(header)

    def feed(self, text: str) -> list[Segment]:
        """Return the text that is certain, by channel."""
        self._buffer += text
        segments: list[Segment] = []
        while True:
            at, marker = _first_marker(self._buffer)
            if marker is None:
                certain = len(self._buffer) - held_back(self._buffer, HARMONY_MARKERS)
                segments += self._text(certain)
                return segments
            segments += self._text(at)
            self._buffer = self._buffer[len(marker) :]
            self._pass(marker)

    def finish(self) -> list[Segment]:
        """Return what was held back."""
        return self._text(len(self._buffer))

    def _text(self, length: int) -> list[Segment]:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        if self._channel is None:
            self._header += text
            return []
        return [(self._channel, text)] if text else []

    def _pass(self, marker: str) -> None:
        if marker == "<|message|>":
            self._channel = _harmony_channel(self._header)
        elif marker == "<|channel|>" and self._channel is None:
            self._header += marker
        else:
            self._channel, self._header = None, ""


def _harmony_channel(header: str) -> Channel:
    """``assistant<|channel|>final`` -> answer; so is a ``commentary`` without a recipient."""
    name = header.rpartition("<|channel|>")[2].strip()
    if name.startswith("analysis") or " to=" in f" {header}":
        return "reasoning"
    return "answer"


def _first_marker(text: str) -> tuple[int, str | None]:
    hits = [(text.find(marker), marker) for marker in HARMONY_MARKERS if marker in text]
    return min(hits) if hits else (-1, None)
