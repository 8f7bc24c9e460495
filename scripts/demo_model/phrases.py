"""Decides how a text with choices becomes one sentence, and how people vary what they type.

The texts themselves stand in the TOML files beside this one.
"""

from __future__ import annotations

import random
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\$([A-Z]+)")
_DROPPED = frozenset(
    ("the", "a", "an", "my", "do", "I", "to", "is", "of", "for", "me", "on", "in", "that", "this")
) | {"it"}


@cache
def read(name: str) -> dict[str, Any]:
    """One of the TOML files beside this module."""
    return tomllib.loads((HERE / name).read_text("utf-8"))


def expand(rng: random.Random, text: str) -> str:
    """One sentence out of a text with {a|b} choices and $SLOTS."""
    while "{" in text:
        text = _CHOICE.sub(lambda m: rng.choice(m[1].split("|")), text)
    if "$" in text:
        slots = read("frames.toml")["slots"]
        text = _SLOT.sub(lambda m: rng.choice(slots[m[1]]), text)
    return " ".join(text.split())


def fill(rng: random.Random, frame: str, letter: str, content: str, word: str = "") -> str:
    """Put `content` where the frame has the lone capital `letter`, and `word` where it has W."""
    out = re.sub(rf"\b{letter}\b", lambda _: content, expand(rng, frame), count=1)
    return re.sub(r"\ba (?=[aeiou])", "an ", re.sub(r"\bW\b", lambda _: word, out))


def vary(rng: random.Random, text: str) -> str:
    """Swap some words for their synonyms and now and then drop a small one."""
    synonyms = read("frames.toml")["synonyms"]
    words = text.split(" ")
    for i, word in enumerate(words):
        bare = word.rstrip("?.,!")
        if bare in synonyms and rng.random() < 0.2:
            words[i] = rng.choice(synonyms[bare]) + word[len(bare) :]
    if len(words) > 4 and rng.random() < 0.06:
        small = [i for i, w in enumerate(words) if w in _DROPPED]
        if small:
            del words[rng.choice(small)]
    return " ".join(words)


def mangle(rng: random.Random, text: str) -> str:
    """What a person might really type: words around it, other case, no mark, a typing error."""
    around = read("frames.toml")["around"]
    if rng.random() < 0.12:
        text = rng.choice(around["before"]) + text
    if rng.random() < 0.12:
        body, mark = (text[:-1], text[-1]) if text[-1:] in "?.!" else (text, "")
        text = body + rng.choice(around["after"]).rstrip("?") + mark
    roll = rng.random()
    if roll < 0.45:
        text = text[:1].upper() + text[1:]
    elif roll < 0.65:
        text = text.lower()
    if text[-1:] in "?.!" and rng.random() < 0.25:
        text = text[:-1]
    elif text[-1:] not in "?.!" and rng.random() < 0.2:
        text += rng.choice("?.!")
    if rng.random() < 0.07:
        text = _misspell(rng, text)
    return text


def _misspell(rng: random.Random, text: str) -> str:
    """Lose, swap or double one letter of one longer word."""
    words = text.split(" ")
    long = [i for i, w in enumerate(words) if len(w) > 4 and w.isalpha()]
    if not long:
        return text
    at = rng.choice(long)
    word, i = words[at], rng.randrange(1, len(words[at]) - 1)
    lost = word[:i] + word[i + 1 :]
    swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    doubled = word[:i] + word[i] + word[i:]
    words[at] = rng.choice((lost, swapped, doubled))
    return " ".join(words)
