"""Why a choice was made, in a sentence, and what of a wish nothing reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from localllm.core.policy import Policy
from localllm.core.preferences import (
    RUNS_TOK_S,
    UNNOTICED_KLD,
    bearable,
    meets_wishes,
    missing_bytes,
    reads_along,
    tok_s,
    usable_tok_s,
)
from localllm.core.quality import grade
from localllm.units import format_bytes

if TYPE_CHECKING:
    from localllm.core.choice import Option


def label(option: Option) -> str:
    """Name a choice: its quantisation, and its cache where that is not the usual one."""
    type_k, type_v = option.policy.type_k, option.policy.type_v
    if type_k == type_v == "f16":
        return option.model.quant
    kv = type_k if type_k == type_v else f"{type_k}/{type_v}"
    return f"{option.model.quant} with a {kv} KV cache"


def reason(best: Option, policy: Policy, *, better: Option | None) -> str:
    """Return one sentence: why this one. ``better`` is the next quantisation of less loss."""
    if not best.fits:
        missing = format_bytes(missing_bytes(best))
        return f"Nothing on offer fits: {label(best)} comes nearest, {missing} short."
    words = f"{label(best)}: {_merit(best, policy)}{_contrast(best, policy, better)}"
    if best.policy.n_gpu_layers == 0 and policy.n_gpu_layers is None:
        words += "; without the GPUs, with which it would decode slower"
    return f"{words}."


def _merit(best: Option, policy: Policy) -> str:
    if policy.prefer == "quality":
        least = RUNS_TOK_S if policy.min_tok_s is None else policy.min_tok_s
        if tok_s(best) >= least:
            return f"the least loss that decodes at {least:g} tok/s or more here"
        return f"the least loss that fits here, though below {least:g} tok/s"
    if policy.prefer == "context" and reads_along(best):
        return (
            f"the longest context, {best.n_ctx:,} tokens, at reading speed and without a large loss"
        )
    if not bearable(best):
        return f"nothing that loses less {_falls_short(policy)}, so expect a large loss"
    if policy.prefer == "speed":
        return "the fastest here whose loss is not large"
    usable = usable_tok_s(policy)
    if tok_s(best) < usable:
        return f"the fastest whose loss is not large, as none of those decodes at {usable:g} tok/s"
    if best.loss.kld <= UNNOTICED_KLD:
        return "the fastest of those whose loss is too small to notice"
    return f"the best quality that decodes at {usable:g} tok/s or more here"


def _falls_short(policy: Policy) -> str:
    wished = policy.min_tok_s is not None or policy.max_j_per_token is not None
    return "fits and reaches what was asked for" if wished else "fits"


def _contrast(best: Option, policy: Policy, better: Option | None) -> str:
    """What the next better quantisation would do, where that is why it was not taken."""
    if better is None:
        return ""
    if not better.fits:
        return f"; {label(better)} does not fit"
    by_speed = policy.prefer == "balanced" and best.loss.kld > UNNOTICED_KLD
    if by_speed or policy.prefer == "quality":
        return f"; {label(better)} would do {tok_s(better):.3g}"
    return ""


def unmet(options: Sequence[Option], policy: Policy) -> str:
    """Return which wish nothing here reaches, and what comes nearest."""
    words: list[str] = []
    wish, fastest = policy.min_tok_s, max(options, key=tok_s)
    if wish is not None and tok_s(fastest) < wish:
        words.append(
            f"Nothing here decodes at {wish:g} tok/s: {label(fastest)} comes nearest with "
            f"{tok_s(fastest):.3g}{_at_what_loss(fastest)}."
        )
    most = policy.max_j_per_token
    known = [(o.power.j_per_token, o) for o in options if o.power is not None]
    if most is not None and not known:
        words.append(
            f"Whether anything here does with {most:g} J per token is not known: no figure for "
            f"its power."
        )
    elif most is not None and (least := min(known, key=lambda pair: pair[0]))[0] > most:
        words.append(
            f"Nothing here does with {most:g} J per token: {label(least[1])} comes nearest with "
            f"{least[0]:.3g}{_at_what_loss(least[1])}."
        )
    if not words and not any(meets_wishes(option, policy) for option in options):
        words.append(
            f"Nothing here both decodes at {wish:g} tok/s and does with {most:g} J per token."
        )
    return " ".join(words)


def _at_what_loss(option: Option) -> str:
    return "" if bearable(option) else f", at a {grade(option.loss.kld)} loss"
