"""What the free text of a public row says: numbers, test names, quantisations, command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["tg", "pp"]

_MOST = 1e12
"""More than anything that a row counts: NaN and infinity are no less."""

_TEST = re.compile(
    r"(?P<phase>tg|pp)[_ ]?(?P<n>\d+(?:\.\d+)?k?)?\s*(?:@\s*d?(?P<depth>\d+(?:\.\d+)?k?))?",
    re.IGNORECASE,
)
_SAME_AS_TG = frozenset(("tg_decode", "tg_code", "tg_narrative", "decode", "tg_avg", "tg_tok_s"))
"""Decode rates under another name."""
_LOWER = frozenset(("e2e_tps", "tg_avg_e2e", "tg_e2e"))
"""Tokens over the whole time, prompt included: a lower bound of decode."""
_QUANT = re.compile(
    r"(?<![A-Z0-9])(IQ[1-4]_(?:XXS|XS|NL|S|M)|Q[2-8]_K(?:_(?:XL|[SMLP]))?|Q[458]_[01]|TQ[12]_0"
    r"|MXFP4|BF16|FP?16|FP?32)(?![A-Z0-9_])"
)
_PLAIN_QUANT = re.compile(r"(?<![A-Z0-9])Q([234568])(?![A-Z0-9_]|\.\d)")
_PLAIN = {"2": "Q2_K", "3": "Q3_K_M", "5": "Q5_K_M", "6": "Q6_K", "8": "Q8_0"}
"""What is meant by a bare Q5; a bare Q4 of a model trained for it (QAT) is Q4_0."""
_OTHER_QUANT = re.compile(
    r"NVFP4|AWQ|GPTQ|FP8|EXL[23]|INT[48]|W4A16|IQ\d_K[A-Z]*|I?Q\d\w*_R[48]|\d(?:\.\d+)? ?BPW MIX"
)
_NEAREST = {
    **{"Q2_K_XL": "Q2_K", "Q2_K_L": "Q2_K", "Q2_K_M": "Q2_K", "Q3_K": "Q3_K_M", "Q3_K_P": "Q3_K_M"},
    **{"Q3_K_XL": "Q3_K_M", "Q4_K": "Q4_K_M", "Q4_K_L": "Q4_K_M", "Q4_K_XL": "Q4_K_M"},
    **{"Q4_K_P": "Q4_K_M", "Q5_K": "Q5_K_M", "Q5_K_L": "Q5_K_M", "Q5_K_XL": "Q5_K_M"},
    **{"Q5_K_P": "Q5_K_M", "Q6_K_L": "Q6_K", "Q6_K_XL": "Q6_K", "Q6_K_M": "Q6_K"},
    **{"Q6_K_P": "Q6_K", "Q8_K_XL": "Q8_0", "Q8_K_P": "Q8_0", "Q8_K": "Q8_0"},
    **{"FP16": "F16", "FP32": "F32"},
}
"""Publishers' own mixtures, by llama.cpp's that is nearest in size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One figure of a row."""

    phase: Phase
    n_tokens: int | None
    depth: int | None
    tok_s: float
    lower: bool = False
    """It is a lower bound."""


def text(row: Mapping[str, Any], *keys: str) -> str:
    """Return the texts of some keys, joined; a missing one is empty."""
    return " ".join(str(row[key]) for key in keys if row.get(key) not in (None, "", [], {}))


def number(value: object) -> float | None:
    """Read a number: ``12``, ``"512"``, ``"8k"``, ``"672.05 B"``; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < _MOST else None
    found = re.match(r"\s*(-?\d+(?:[.,]\d+)?)\s*(k(?![a-z]))?", str(value), re.IGNORECASE)
    if found is None:
        return None
    read = float(found[1].replace(",", ".")) * (1024 if found[2] else 1)
    return read if abs(read) < _MOST else None


def whole(value: object) -> int | None:
    """As ``number``, rounded."""
    read = number(value)
    return None if read is None else round(read)


def read_test(name: str, value: object) -> Test | None:
    """Return what a key of ``tests`` measures: ``tg128``, ``pp2048 @ d32768``, ``tg512@2k``."""
    tok_s = number(value)
    if tok_s is None or tok_s <= 0:
        return None
    key = name.strip().lower()
    if key in _LOWER:
        return Test(phase="tg", n_tokens=None, depth=None, tok_s=tok_s, lower=True)
    if key in _SAME_AS_TG:
        return Test(phase="tg", n_tokens=None, depth=None, tok_s=tok_s)
    found = _TEST.fullmatch(key)
    if found is None:
        return None
    return Test(
        phase="tg" if found["phase"] == "tg" else "pp",
        n_tokens=whole(found["n"]),
        depth=whole(found["depth"]),
        tok_s=tok_s,
    )


def quant_of(*texts: str) -> tuple[str, str] | None:
    """Return llama.cpp's name of the first quantisation that is named, and the word for it.

    A publisher's own mixture (``UD-Q4_K_XL``) becomes the nearest of llama.cpp's.
    """
    for each in texts:
        upper = re.sub(r"\s*-\s*(SMALL|MEDIUM|LARGE)", lambda m: f"_{m[1][0]}", each.upper())
        found = _QUANT.search(upper)
        if found is not None:
            return _NEAREST.get(found[1], found[1]), found[1]
        plain = _PLAIN_QUANT.search(upper)
        if plain is not None:
            four = "Q4_0" if any("QAT" in t.upper() for t in texts) else "Q4_K_M"
            return _PLAIN.get(plain[1], four), f"Q{plain[1]}"
    return None


def foreign_quant(*texts: str) -> str | None:
    """Return a quantisation that llama.cpp does not make, if one is named."""
    found = next((m for each in texts if (m := _OTHER_QUANT.search(each.upper()))), None)
    return None if found is None else found[0]


@dataclass(frozen=True, slots=True)
class Command:
    """A command line: its words."""

    words: tuple[str, ...]

    def value(self, *flags: str) -> str | None:
        """Return what stands behind the first of the flags, ``""`` where nothing does."""
        for index, word in enumerate(self.words):
            name, equals, rest = word.partition("=")
            if name in flags:
                if equals:
                    return rest
                following = self.words[index + 1] if index + 1 < len(self.words) else ""
                is_flag = re.match(r"--?[a-z]", following) is not None
                return "" if is_flag else following
        return None

    def values(self, *flags: str) -> list[str]:
        """Return what stands behind each of the flags."""
        return [
            self.words[index + 1] for index, word in enumerate(self.words[:-1]) if word in flags
        ]

    def has(self, *flags: str) -> bool:
        """Whether a flag is there, with a value or not."""
        return any(word.partition("=")[0] in flags for word in self.words)


def read_command(line: str) -> Command:
    """Split a command line as a shell would; a broken one by its blanks."""
    plain = line.replace("\\\n", " ").replace("\n", " ")
    try:
        return Command(tuple(shlex.split(plain, comments=False)))
    except ValueError:
        return Command(tuple(plain.split()))


def any_of(words: Sequence[str], where: str) -> str | None:
    """Return the first of some patterns that is found in a text, as it stands there."""
    for word in words:
        found = re.search(word, where, re.IGNORECASE)
        if found is not None:
            return found[0]
    return None
