"""What a person may write for a value: one function per kind of text.

Each raises ValueError with the sentence that follows the value in the error message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from localllm.core.policy import KV_TYPES, FlashAttn, Preference
from localllm.units import parse_bytes

ALL_LAYERS = 9999
"""``all``: more layers than any model has; the planner takes what there is, as llama.cpp does."""

PREFERENCES: tuple[Preference, ...] = ("quality", "balanced", "speed", "context")

_QUANT = re.compile(r"[A-Z][A-Z0-9_]{1,15}")
_COUNT = re.compile(r"(\d{1,15})(k?)", re.IGNORECASE)
_TRUE, _FALSE = ("on", "enabled", "true", "1"), ("off", "disabled", "false", "0")


def parse_count(text: str) -> int:
    """Read a positive number: ``8192``, or ``8k`` for 8 x 1,024."""
    match = _COUNT.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError("is not a whole number above 0")
    return int(match[1]) * (1024 if match[2] else 1)


def parse_whole(text: str) -> int:
    """Read a number from 0: ``0``, ``4096``, ``4k``."""
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a whole number from 0 up")
    return int(match[1]) * (1024 if match[2] else 1)


def parse_pair(text: str) -> tuple[int, int]:
    """Read two numbers above 0: ``512,128``."""
    try:
        first, second = (parse_count(part) for part in text.split(","))
    except ValueError:
        raise ValueError("is not a pair of numbers, such as 512,128") from None
    return first, second


def parse_n_ctx(text: str) -> int | Literal["max"]:
    """Read a context size: tokens, ``32k``, or ``max``."""
    if text.strip().lower() == "max":
        return "max"
    try:
        return parse_count(text)
    except ValueError:
        raise ValueError("is not a context: give tokens (8192, 32k) or max") from None


def parse_n_gpu_layers(text: str) -> int | None:
    """Read a number of layers, ``all``, or ``auto`` (also -1, as in llama.cpp): None."""
    word = text.strip().lower()
    if word in ("auto", "-1"):
        return None
    if word in ("all", "-2"):
        return ALL_LAYERS
    if not word.isdecimal():
        raise ValueError("is not a number of layers: give 0 or more, auto, or all")
    return int(word)


def parse_kv_type(text: str) -> str:
    """Read the type of a KV cache; ``auto`` leaves the choice to the planner."""
    word = text.strip().lower()
    if word not in (*KV_TYPES, "auto"):
        raise ValueError(f"is not a KV cache type: choose {_listed((*KV_TYPES, 'auto'))}")
    return word


def parse_flash_attn(text: str) -> FlashAttn:
    """Read on, off or auto, and llama.cpp's other words for them."""
    word = text.strip().lower()
    if word in ("auto", "-1"):
        return "auto"
    if word in _TRUE:
        return "on"
    if word in _FALSE:
        return "off"
    raise ValueError("is none of on, off or auto")


def parse_tensor_split(text: str) -> tuple[float, ...]:
    """Read one share per GPU: ``3,1`` or ``3/1``."""
    try:
        shares = tuple(float(part) for part in re.split(r"[,/]+", text.strip()))
    except ValueError:
        shares = ()
    if not shares or any(not 0 <= share < float("inf") for share in shares) or not sum(shares):
        raise ValueError("is not a list of shares: give one per GPU, such as 3,1")
    return shares


def parse_quant(text: str) -> str:
    """Read a quantisation's name, in any case; whether it is one is known where it is used."""
    word = text.strip().upper().replace("-", "_")
    if not _QUANT.fullmatch(word):
        raise ValueError("is no quantisation: give a name such as Q4_K_M")
    return word


def parse_preference(text: str) -> Preference:
    """Read what a choice is for."""
    word = text.strip().lower()
    for preference in PREFERENCES:
        if word == preference:
            return preference
    raise ValueError(f"is no preference: choose {_listed(PREFERENCES)}")


def parse_size(text: str) -> int:
    """Read an amount of memory above 0, in bytes: ``20GiB``, ``512M``."""
    try:
        n_bytes = parse_bytes(text)
    except ValueError:
        n_bytes = 0
    if n_bytes <= 0:
        raise ValueError("is not an amount of memory: write 20GiB, 512MiB or bytes")
    return n_bytes


def parse_headroom(text: str) -> int | float:
    """Read what stays free on a GPU: bytes as ``int``, or a share of its memory as ``float``."""
    word = text.strip().lower()
    if word in ("none", "0"):
        return 0
    if word.endswith("%"):
        try:
            share = float(word[:-1]) / 100
        except ValueError:
            share = -1.0
        if 0 <= share < 1:
            return share
        raise ValueError("is not a share: write 5%, at least 0% and below 100%")
    try:
        return parse_bytes(word)
    except ValueError:
        raise ValueError("is neither memory nor a share: write 1GiB, 5% or none") from None


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
