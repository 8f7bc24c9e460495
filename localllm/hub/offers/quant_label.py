"""The quantisation in a file's name: where it stands, how it is spelt, which recipe it means.

Publishers write it before the ending, after a dash or a dot, in either case, with words of their
own around it: ``UD-`` (Unsloth's dynamic mixtures), ``i1-`` (mradermacher's, with an importance
matrix), ``_L`` and ``_XL`` (more bits for some tensors), ``-2.69bpw`` (byteshape's). A model's own
name may hold such a word too: ``gemma-3-4b-it-qat-q4_0-Q4_K_M``, ``X-f16-imat-Q5_K_S``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localllm.core.quants import QUANTS

UNKNOWN_QUANT = "?"
"""Of a file whose name does not say."""

_K = r"Q[2-8][_-]K(?:[_-](?:XXL|XL|XS|L|M|S|P))?(?:_R[48])?"
_I = r"IQ[1-6]_(?:XXS|XS|NL|KSS|KS|KT|KL|K|S|M)(?:_[48]_[48]|_R[48]|_XL|_L)?"
_OLD = r"Q[1-8]_[01](?:_[48]_[48]|_R[48]|_XL|_L)?"
_FOUR_BIT_FLOAT = r"MXFP4(?:_MOE)?(?:_(?:BF16|F16|Q8(?:_0)?))?|NVFP4"
_TERNARY = r"TQ[12]_0|I2_S|TL[12]"
_FULL = rf"{_K}|{_I}|{_OLD}|{_FOUR_BIT_FLOAT}|{_TERNARY}"
_LABEL = re.compile(
    rf"(?<![A-Z0-9])(?P<prefix>(?:I1-)?(?:UD-)?)"
    rf"(?:(?P<full>{_FULL})(?P<bpw>-[0-9]\.[0-9]{{1,2}}BPW)?"
    rf"|(?P<float>BF16|FP?16|FP?32)|(?P<bare>Q[2-8]))(?![A-Z0-9])"
)
_SIXTEEN_AND_MORE = {"FP16": "F16", "FP32": "F32"}
_SPELT_OTHERWISE = {
    "FP16": "F16",
    "FP32": "F32",
    "MXFP4_MOE": "MXFP4",
    "Q3_K": "Q3_K_M",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
}
"""``llama-quantize``'s own second names, and the plain ones of the floats."""

_OF_IK_LLAMA = re.compile(r"IQ[1-6]_(?:KSS|KS|KT|KL|K)(?:_R[48])?|.*_R[48]")
_OF_BITNET = re.compile(r"I2_S|TL[12]")
_REMOVED = re.compile(r".*_[48]_[48]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A file's name taken apart."""

    quant: str
    """In capitals; ``?`` where the name has none."""
    stem: str
    """The name without it: what the model is called."""


def read_label(stem: str) -> Labelled:
    """Return the quantisation that a name without its ending holds.

    One at the very end is meant, unless it only adds to another. Else the last of those that say
    most: ``Q5_K_S`` before ``q4`` before ``f16``.
    """
    upper = stem.upper()
    if len(upper) != len(stem):  # a sign that grows in capitals would shift every place
        upper = "".join(c.upper() if c.isascii() else c for c in stem)
    found = list(_LABEL.finditer(upper))
    if not found:
        return Labelled(quant=UNKNOWN_QUANT, stem=stem)
    best = max(found, key=lambda match: (_weight(match, len(stem)), match.start()))
    rest = f"{stem[: best.start()]}{stem[best.end() :]}"
    return Labelled(quant=_quant(best), stem=rest.strip("-._ "))


def canonical_quant(label: str) -> str | None:
    """Return llama.cpp's recipe that a label is: ``Q4_K_M`` of ``i1-Q4_K_M``.

    None for publishers' own mixtures (``UD-``, ``_L``, ``_XL``), whose types only the file's header
    knows, and for what is no label.
    """
    plain = _plain(label)
    plain = _SPELT_OTHERWISE.get(plain, plain)
    return plain if plain in QUANTS else None


def why_unreadable(label: str) -> str | None:
    """Say why llama.cpp does not read files of a label; None for all others."""
    plain = _plain(label)
    if _OF_IK_LLAMA.fullmatch(plain):
        return "is read by ik_llama.cpp, a fork, and not by llama.cpp"
    if _OF_BITNET.fullmatch(plain):
        return "is read by bitnet.cpp, a fork, and not by llama.cpp"
    if _REMOVED.fullmatch(plain):
        return f"is read by llama.cpp no more: it repacks {plain[:-4]} itself as it loads"
    return None


def spelling(label: str) -> str:
    """Return a label as it is compared: in capitals, underscores between its parts."""
    return re.sub(r"[-_. ]+", "_", label.strip().upper()).strip("_")


def _plain(label: str) -> str:
    return spelling(label).removeprefix("I1_")


def _quant(match: re.Match[str]) -> str:
    if match["full"]:
        return match["prefix"] + match["full"].replace("-", "_") + (match["bpw"] or "")
    plain = match["float"] or match["bare"]
    return match["prefix"] + _SIXTEEN_AND_MORE.get(plain, plain)


def _weight(match: re.Match[str], n_stem: int) -> int:
    """How much a label in a name tells: at the end more, floats less than what they hold."""
    at_end = match.end() == n_stem
    if match["full"]:
        return 4 if at_end else 2
    if match["float"]:
        return 3 if at_end else 0
    return 1
