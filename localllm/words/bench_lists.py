"""Lists and ranges as llama-bench takes them: ``512,1024``, ``1-8``, ``0-32+8``, ``1-64*2``.

Each function raises ValueError with the sentence that follows the value in the error message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from localllm.core.bench.sweep import LoadMode, SplitMode
from localllm.core.policy import FlashAttn
from localllm.words.parse import (
    parse_count,
    parse_flash_attn,
    parse_kv_type,
    parse_n_gpu_layers,
    parse_pair,
    parse_whole,
)

MOST_VALUES = 1000

_RANGE = re.compile(r"(\d{1,9}k?)-(\d{1,9}k?)(?:([+*])(\d{1,9}))?", re.IGNORECASE)
_ON, _OFF = ("1", "on", "true", "enabled"), ("0", "off", "false", "disabled")

T = TypeVar("T")


def parse_counts(text: str) -> tuple[int, ...]:
    """Read numbers above 0."""
    return _numbers(text, parse_count, "512,2048 or 1-8 or 1-64*2")


def parse_wholes(text: str) -> tuple[int, ...]:
    """Read numbers from 0."""
    return _numbers(text, parse_whole, "512,2048 or 0-8192+1024")


def parse_layers(text: str) -> tuple[int | None, ...]:
    """Read numbers of GPU layers; ``auto`` (-1) is None, ``all`` more than any model has."""
    return _numbers(text, parse_n_gpu_layers, "0,16,all or 0-32+8")


def parse_kv_types(text: str) -> tuple[str, ...]:
    """Read types of the KV cache."""
    return _each(text, parse_kv_type)


def parse_flash_attns(text: str) -> tuple[FlashAttn, ...]:
    """Read on, off and auto."""
    return _each(text, parse_flash_attn)


def parse_tests(text: str) -> tuple[tuple[int, int], ...]:
    """Read one test of a prompt and generated tokens: ``512,128``."""
    return (parse_pair(text),)


def parse_splits(text: str) -> tuple[tuple[float, ...] | None, ...]:
    """Read splits as llama-bench writes them: ``3/1,1/1`` are two; ``0`` leaves it to the plan."""
    return _each(text, _split)


def parse_split_modes(text: str) -> tuple[SplitMode, ...]:
    """Read ways to use several GPUs: one of them, or each for some layers."""
    return _each(text, _split_mode)


def parse_load_modes(text: str) -> tuple[LoadMode, ...]:
    """Read ways to read the file."""
    return _each(text, _load_mode)


def parse_mmaps(text: str) -> tuple[LoadMode, ...]:
    """Read 0 and 1, the older way to say how the file is read."""
    return _each(text, _mmap)


def _split(text: str) -> tuple[float, ...] | None:
    try:
        shares = tuple(float(part) for part in re.split(r"[/;]+", text.strip()))
    except ValueError:
        shares = (-1.0,)
    if any(not 0 <= share < float("inf") for share in shares):
        raise ValueError("is not a list of splits: join the shares of one with /, as in 3/1,1/1")
    return shares if any(shares) else None


def _split_mode(text: str) -> SplitMode:
    word = text.strip().lower()
    if word == "none":
        return "none"
    if word == "layer":
        return "layer"
    if word in ("row", "tensor"):
        raise ValueError(
            f"asks for split mode {word}, which localllm does not plan: it gives whole layers to "
            "GPUs (layer), or takes one GPU (none)"
        )
    raise ValueError("is neither none nor layer")


def _load_mode(text: str) -> LoadMode:
    word = text.strip().lower()
    if word == "auto":
        return "auto"
    if word == "none":
        return "none"
    if word == "mmap":
        return "mmap"
    if word in ("mlock", "mmap+mlock", "dio"):
        raise ValueError(
            f"asks for load mode {word}, which localllm does not plan: it maps the file (mmap) or "
            "reads it (none)"
        )
    raise ValueError("is none of auto, mmap or none")


def _mmap(text: str) -> LoadMode:
    word = text.strip().lower()
    if word in _ON:
        return "mmap"
    if word in _OFF:
        return "none"
    raise ValueError("is neither 0 nor 1")


def _each(text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    return tuple(parse(part) for part in text.split(","))


def _numbers(text: str, parse: Callable[[str], T], example: str) -> tuple[T, ...]:
    try:
        return _listed(text, parse)
    except ValueError as error:
        words = str(error) if str(error).startswith("has") else f"is not a list, such as {example}"
        raise ValueError(words) from None


def _listed(text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    """Read values between commas; a range of numbers stands for all its values."""
    values: list[T] = []
    for part in text.split(","):
        span = _RANGE.fullmatch(part.strip())
        values += map(parse, _spelled_out(span)) if span else [parse(part)]
    return tuple(values)


def _spelled_out(span: re.Match[str]) -> Iterator[str]:
    """Yield the numbers of ``first-last``, ``first-last+step`` or ``first-last*factor``."""
    first, last = parse_whole(span[1]), parse_whole(span[2])
    step = int(span[4] or 1)
    if last < first:
        raise ValueError("has a range that ends before it begins")
    value = first
    for _ in range(MOST_VALUES):
        if value > last:
            return
        yield str(value)
        following = value * step if span[3] == "*" else value + step
        if following <= value:
            raise ValueError("has a range that never ends")
        value = following
    raise ValueError(f"has a range of more than {MOST_VALUES:,} values")
