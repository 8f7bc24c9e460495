"""What a choice is ranked by: a total order for each preference, in plain sentences.

``balanced`` (the default), in one sentence: *localllm takes the quantisation and KV cache with the
least loss that still decode at 10 tokens/s at the context you ask for, counting losses too small to
notice as equal so that the faster wins; where nothing is that fast, it takes the fastest whose loss
is not large.*

- ``quality``: what decodes at all (1 token/s) first, then the least loss, then the faster.
- ``balanced``: what loses little enough and is usable first, by least loss, then speed; then what
  loses little enough, by speed; what loses much comes last, usable first, by least loss.
- ``speed``: the fastest of what does not lose much; what does comes after, by least loss.
- ``context``: the longest context of what reads along and does not lose much, then as ``balanced``.

Before any of that comes whether it fits, whether it meets the person's wishes (``min_tok_s``,
``max_j_per_token``), and whether it holds the context asked for. A wish for speed also says what
is usable. The batch is no part of the order: ``batches.py`` chooses it after, for the prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.core.policy import Policy
from localllm.core.quality import GRADES
from localllm.core.settings import DEFAULT_N_CTX, wanted_n_ctx

if TYPE_CHECKING:
    from localllm.core.choice import Option

USABLE_TOK_S = 10.0
"""An answer comes about twice as fast as it is read, so that skimming and thinking aloud do not
wait."""

READING_TOK_S = 5.5
"""Silent reading of English: 250 words a minute, 1.33 tokens a word."""

RUNS_TOK_S = 1.0
"""Slower than this nobody waits for an answer: 300 tokens take five minutes."""

UNNOTICED_KLD = next(least for least, word in GRADES if word == "slight")
"""Nats. What ``quality.py`` calls indistinguishable: Q6_K and Q8_0 of most models."""

LARGE_KLD = next(least for least, word in GRADES if word == "large")
"""Nats. Two bits of most models: from there on a smaller model in more bits answers better."""


def rank(option: Option, policy: Policy) -> tuple[float, ...]:
    """Return the place of an option in the order of the policy's preference; larger is better.

    What does not fit is ranked by how little is missing.
    """
    if not option.fits or option.speed is None:
        return (False, -missing_bytes(option))
    head = (True, meets_wishes(option, policy), holds_context(option, policy))
    if policy.prefer == "quality":
        return (*head, *_by_quality(option, policy))
    if policy.prefer == "speed":
        return (*head, *_by_speed(option))
    if policy.prefer == "context":
        reads = reads_along(option)
        n_ctx = option.solution.settings.shape.n_ctx if reads else 0
        return (*head, reads, n_ctx, *_balanced(option, policy))
    return (*head, *_balanced(option, policy))


def usable_tok_s(policy: Policy) -> float:
    """Decode speed from which on quality counts: the person's own wish, else ours."""
    return USABLE_TOK_S if policy.min_tok_s is None else policy.min_tok_s


def meets_wishes(option: Option, policy: Policy) -> bool:
    """Whether the estimates reach what was asked for; an unknown energy does not."""
    if policy.min_tok_s is not None and tok_s(option) < policy.min_tok_s:
        return False
    if policy.max_j_per_token is None:
        return True
    return option.power is not None and option.power.j_per_token <= policy.max_j_per_token


def holds_context(option: Option, policy: Policy) -> bool:
    """Whether the context is no smaller than asked; with ``max``, than the default one."""
    model = option.model
    wanted = wanted_n_ctx(model, policy)
    if wanted is None:
        wanted = min(DEFAULT_N_CTX, model.n_ctx_train or DEFAULT_N_CTX)
    return option.solution.settings.shape.n_ctx >= wanted


def reads_along(option: Option) -> bool:
    """Whether speed and loss are bearable: as fast as a person reads, and not losing much."""
    return bearable(option) and tok_s(option) >= READING_TOK_S


def bearable(option: Option) -> bool:
    """Whether the loss is not large."""
    return option.loss.kld < LARGE_KLD


def tok_s(option: Option) -> float:
    """Estimated decode speed; 0 where it does not fit."""
    return 0.0 if option.speed is None else option.speed.tg_tok_s


def missing_bytes(option: Option) -> int:
    """Bytes that the devices and the host are short of, all together."""
    spares = (row.spare_bytes for row in option.solution.rows)
    return sum(-spare for spare in spares if spare is not None and spare < 0)


def _balanced(option: Option, policy: Policy) -> tuple[float, ...]:
    loss, speed = option.loss.kld, tok_s(option)
    usable = speed >= usable_tok_s(policy)
    n_ctx = option.solution.settings.shape.n_ctx
    if bearable(option) and usable:
        return (2, -max(loss, UNNOTICED_KLD), speed, -loss, n_ctx)
    if bearable(option):
        return (1, speed, -loss, n_ctx)
    return (0, usable, -loss, speed, n_ctx)


def _by_quality(option: Option, policy: Policy) -> tuple[float, ...]:
    speed, n_ctx = tok_s(option), option.solution.settings.shape.n_ctx
    runs = speed >= (RUNS_TOK_S if policy.min_tok_s is None else policy.min_tok_s)
    return (runs, -option.loss.kld, speed, n_ctx)


def _by_speed(option: Option) -> tuple[float, ...]:
    loss, speed = option.loss.kld, tok_s(option)
    n_ctx = option.solution.settings.shape.n_ctx
    if bearable(option):
        return (True, speed, -loss, n_ctx)
    return (False, -loss, speed, n_ctx)
