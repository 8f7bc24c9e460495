"""What a choice is ranked by: a total order for each preference, in plain sentences.

``balanced`` (the default), in one sentence: *localllm takes the quantisation and KV cache with the
least loss that still decode at 10 tokens/s at the context you ask for, or else as fast as a person
reads (5.5), counting losses too small to notice as equal so that the faster wins; where nothing is
that fast, it takes the fastest whose loss is not large.*

- ``quality``: what decodes at all (1 token/s) first, then the least loss, then the faster.
- ``balanced``: what loses little enough and is usable first, by least loss, then speed; then what
  reads along, in the same way; then what loses little enough, by speed; what loses much comes last,
  usable first, by least loss.
- ``speed``: the fastest of what does not lose much; what does comes after, by least loss.
- ``context``: the longest context of what reads along and does not lose much, then as ``balanced``.

Before any of that comes whether it fits, whether it meets the person's wishes (``min_tok_s``,
``max_j_per_token``), and whether it holds the context asked for. A wish for speed also says what
is usable. Speeds are compared in steps of 2 %, within which less loss decides: no estimate is
better than that, and a denser cache must not win by a hair. The batch is no part of the order:
``batches.py`` chooses it after, for the prompt.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from localllm.core.memory import padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.policy import Policy
from localllm.core.quality import GRADES
from localllm.core.settings import DEFAULT_N_CTX, wanted_n_ctx

if TYPE_CHECKING:
    from localllm.core.option import Option

USABLE_TOK_S = 10.0
"""An answer comes about twice as fast as it is read, so that skimming and longer thinking before
it do not feel like waiting."""

READING_TOK_S = 5.5
"""Silent reading of English: 250 words a minute, 1.33 tokens a word."""

RUNS_TOK_S = 1.0
"""Slower than this nobody waits for an answer: 300 tokens take five minutes."""

SPEED_STEP = math.log(1.02)
"""Speeds whose logarithms share a step count as equal."""

UNNOTICED_KLD = next(least for least, word in GRADES if word == "slight")
"""Nats. What ``quality.py`` calls indistinguishable: Q6_K and Q8_0 of most models."""

LARGE_KLD = next(least for least, word in GRADES if word == "large")
"""Nats. Two bits of most models: from there on a smaller model in more bits answers better."""

Rank = tuple[float, ...]


class Merits(NamedTuple):
    """What of an option is compared."""

    fits: bool
    missing_bytes: int
    """Where it does not fit: what devices and host are short of, all together."""
    kld: float
    tok_s: float
    """0 where it does not fit."""
    n_ctx: int
    wanted_n_ctx: int
    j_per_token: float | None = None
    """None where it is not known."""

    @property
    def bearable(self) -> bool:
        """Whether the loss is not large."""
        return self.kld < LARGE_KLD

    @property
    def reads_along(self) -> bool:
        """Whether speed and loss are bearable: as fast as a person reads, and not losing much."""
        return self.bearable and self.tok_s >= READING_TOK_S

    @property
    def speed_step(self) -> float:
        """Decode speed as it is compared: in steps of 2 %."""
        if not 0 < self.tok_s < math.inf:
            return self.tok_s or -math.inf
        return math.floor(math.log(self.tok_s) / SPEED_STEP)

    def meets(self, policy: Policy) -> bool:
        """Whether the estimates reach what was asked for; an unknown energy does not."""
        if policy.min_tok_s is not None and self.tok_s < policy.min_tok_s:
            return False
        most = policy.max_j_per_token
        return most is None or (self.j_per_token is not None and self.j_per_token <= most)

    def beaten_by(self, other: Merits) -> bool:
        """Whether another is as good in quality, speed and context at once."""
        as_fast = other.speed_step >= self.speed_step
        return other.kld <= self.kld and as_fast and other.n_ctx >= self.n_ctx


def merits(option: Option, policy: Policy) -> Merits:
    """Return what of an option is compared."""
    spares = [row.spare_bytes for row in option.solution.rows if row.spare_bytes is not None]
    return Merits(
        fits=option.fits and option.speed is not None,
        missing_bytes=sum(-spare for spare in spares if spare < 0),
        kld=option.loss.kld,
        tok_s=option.speed.tg_tok_s if option.speed else 0.0,
        n_ctx=option.n_ctx,
        wanted_n_ctx=least_n_ctx(option.model, policy),
        j_per_token=option.power.j_per_token if option.power else None,
    )


def rank(option: Option, policy: Policy) -> Rank:
    """Return the place of an option in the order of the policy's preference; larger is better."""
    return order(merits(option, policy), policy)


def order(it: Merits, policy: Policy) -> Rank:
    """Return the place of some merits in the order of the policy's preference; larger is better.

    What does not fit is ranked by how little is missing.
    """
    if not it.fits:
        return (False, -it.missing_bytes)
    head = (True, it.meets(policy), it.n_ctx >= it.wanted_n_ctx)
    if policy.prefer == "quality":
        return (*head, *_by_quality(it, policy))
    if policy.prefer == "speed":
        return (*head, *_by_speed(it))
    if policy.prefer == "context":
        if not it.reads_along:
            it = it._replace(n_ctx=0)  # a longer one is no use to it
        return (*head, it.reads_along, it.n_ctx, *_balanced(it, policy))
    return (*head, *_balanced(it, policy))


def usable_tok_s(policy: Policy) -> float:
    """Decode speed from which on quality counts: the person's own wish, else ours."""
    return USABLE_TOK_S if policy.min_tok_s is None else policy.min_tok_s


def running_tok_s(policy: Policy) -> float:
    """Decode speed from which on a model counts as running at all."""
    return RUNS_TOK_S if policy.min_tok_s is None else policy.min_tok_s


def least_n_ctx(model: ModelSpec, policy: Policy) -> int:
    """The context that an option must hold: what was asked for; with ``max``, the default one."""
    wanted = wanted_n_ctx(model, policy)
    if wanted is None:
        wanted = min(DEFAULT_N_CTX, model.n_ctx_train or DEFAULT_N_CTX)
    return padded_n_ctx(wanted, n_seq=policy.n_seq)


def _balanced(it: Merits, policy: Policy) -> Rank:
    usable = it.tok_s >= usable_tok_s(policy)
    if it.bearable and (usable or it.reads_along):
        tier = 3 if usable else 2
        return (tier, -max(it.kld, UNNOTICED_KLD), it.speed_step, -it.kld, *_last(it))
    if it.bearable:
        return (1, it.speed_step, -it.kld, *_last(it))
    return (0, usable, -it.kld, it.speed_step, *_last(it))


def _by_quality(it: Merits, policy: Policy) -> Rank:
    return (it.tok_s >= running_tok_s(policy), -it.kld, it.speed_step, *_last(it))


def _by_speed(it: Merits) -> Rank:
    if it.bearable:
        return (True, it.speed_step, -it.kld, *_last(it))
    return (False, -it.kld, it.speed_step, *_last(it))


def _last(it: Merits) -> Rank:
    """What decides between equals: the longer context, then the last hair of speed."""
    return it.n_ctx, it.tok_s
