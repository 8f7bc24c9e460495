"""Why a choice was made, in a sentence, and what of a wish nothing reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localllm.core.option import Option
from localllm.core.policy import Policy, kv_label
from localllm.core.preferences import (
    UNNOTICED_KLD,
    Merits,
    merits,
    running_tok_s,
    usable_tok_s,
)
from localllm.core.quality import grade
from localllm.units import format_bytes, format_rate, format_stated


class Other(NamedTuple):
    """Something that was not taken; its merits are a bound where it does not fit."""

    policy: Policy
    merits: Merits


def label(policy: Policy) -> str:
    """Name a definite choice: its quantisation, and its cache where that is not the usual one."""
    type_k, type_v = policy.type_k, policy.type_v
    if type_k == type_v == "f16":
        return str(policy.quant)
    return f"{policy.quant} with a {kv_label(type_k, type_v)} KV cache"


def reason(best: Option, policy: Policy, *, better: Other | None, only_quant: bool = False) -> str:
    """Return one sentence: why this one.

    ``better`` is the next quantisation of less loss; ``only_quant``: there was one quantisation.
    """
    it = merits(best, policy)
    if not it.fits:
        missing = format_bytes(it.missing_bytes)
        return f"Nothing on offer fits: {label(best.policy)} comes nearest, {missing} short."
    if only_quant:
        words = _why_this_cache(best, policy)
    else:
        words = f"{label(best.policy)}: {_merit(it, policy)}{_contrast(it, policy, better)}"
    if best.solution.outpaces_gpus:
        words += "; without the GPUs, with which it would decode slower"
    return f"{words}."


def taken(best: Option, other: Option) -> str:
    """Return one line: what was taken, and what comes next to it, by the estimates."""
    return f"{_with_figures(best)} is taken; next best is {_with_figures(other)}."


def _with_figures(option: Option) -> str:
    size = format_bytes(option.model.file_bytes)
    if not option.fits:
        return f"{label(option.policy)} ({size}, does not fit)"
    return f"{label(option.policy)} ({size}, {format_rate(option.tok_s)} tok/s est.)"


def _why_this_cache(best: Option, policy: Policy) -> str:
    """The sentence where the quantisation is given and only the cache could be chosen."""
    quant, type_k, type_v = best.model.quant, best.policy.type_k, best.policy.type_v
    if "auto" not in (policy.type_k, policy.type_v) and (policy.type_k or policy.type_v):
        return f"{quant}, with the KV cache that was asked for"
    if type_k == type_v == "f16":
        return (
            f"{quant} with an f16 KV cache: by --prefer {policy.prefer} a denser one gains nothing"
        )
    return f"{label(best.policy)}: the best cache for it by --prefer {policy.prefer}"


def _merit(it: Merits, policy: Policy) -> str:
    if policy.prefer == "quality":
        least = running_tok_s(policy)
        if it.tok_s >= least:
            return f"the least loss that decodes at {format_stated(least)} tok/s or more here"
        return f"the least loss that fits here, though below {format_stated(least)} tok/s"
    if policy.prefer == "context" and it.reads_along:
        return (
            f"the longest context, {it.n_ctx:,} tokens, at reading speed and without a large loss"
        )
    if not it.bearable:
        wished = policy.min_tok_s is not None or policy.max_j_per_token is not None
        short = "fits and reaches what was asked for" if wished else "fits"
        return f"nothing that loses less {short}, so expect a large loss"
    if policy.prefer == "speed":
        return "the fastest here whose loss is not large"
    usable = usable_tok_s(policy)
    if it.tok_s < usable:
        asked = format_stated(usable)
        if it.reads_along:
            return (
                f"the best quality that decodes at reading speed, as none without a large loss "
                f"reaches {asked} tok/s"
            )
        return f"the fastest whose loss is not large, as none of those decodes at {asked} tok/s"
    if it.kld <= UNNOTICED_KLD:
        return "the fastest of those whose loss is too small to notice"
    return f"the best quality that decodes at {format_stated(usable)} tok/s or more here"


def _contrast(it: Merits, policy: Policy, better: Other | None) -> str:
    """What the next better quantisation would do, where that is why it was not taken."""
    if better is None:
        return ""
    if not better.merits.fits:
        return f"; {label(better.policy)} does not fit"
    by_speed = policy.prefer == "balanced" and it.kld > UNNOTICED_KLD
    if by_speed or policy.prefer == "quality":
        return f"; {label(better.policy)} would {_would(better.merits, policy)}"
    return ""


def _would(other: Merits, policy: Policy) -> str:
    """The figure that a better quantisation fails by: its energy where that is above the wish."""
    slow = policy.min_tok_s is not None and other.tok_s < policy.min_tok_s
    most = policy.max_j_per_token
    if most is not None and not slow:
        if other.j_per_token is None:
            return f"decode at {format_rate(other.tok_s)} tok/s, for how many joules is not known"
        if other.j_per_token > most:
            return f"take {format_rate(other.j_per_token)} J per token"
    return f"decode at {format_rate(other.tok_s)} tok/s"


def unmet(options: Sequence[Option], policy: Policy) -> str:
    """Return which wish nothing here reaches, and what comes nearest."""
    words: list[str] = []
    wish, fastest = policy.min_tok_s, max(options, key=lambda option: option.tok_s)
    if wish is not None and fastest.tok_s < wish:
        words.append(
            f"Nothing here decodes at {format_stated(wish)} tok/s: {label(fastest.policy)} "
            f"comes nearest with {format_rate(fastest.tok_s)} tok/s{_at_what_loss(fastest)}."
        )
    most = policy.max_j_per_token
    known = [(o.power.j_per_token, o) for o in options if o.power is not None]
    if most is not None and not known:
        words.append(
            f"Whether anything here does with {format_stated(most)} J per token is not known: "
            f"nobody says what this hardware draws."
        )
    elif most is not None:
        least, thriftiest = min(known, key=lambda pair: pair[0])
        if least > most:
            words.append(
                f"Nothing here does with {format_stated(most)} J per token: "
                f"{label(thriftiest.policy)} comes nearest with {format_rate(least)} J"
                f"{_at_what_loss(thriftiest)}."
            )
    if not words and wish is not None and most is not None:
        words.append(
            f"Nothing here both decodes at {format_stated(wish)} tok/s and takes "
            f"{format_stated(most)} J per token."
        )
    return " ".join(words)


def _at_what_loss(option: Option) -> str:
    word = grade(option.loss.kld)
    return f", at a {word} loss" if word == "large" else ""
