"""The sampler chains of a request, in llama.cpp's usual order, for the host and for a device."""

from __future__ import annotations

import os
from collections.abc import Sequence

from localllm.core.generation import Sampling
from localllm.engine.llama import C
from localllm.errors import UsageError

_MAX_SEED = 2**32 - 2
"""2^32 - 1 is ``LLAMA_DEFAULT_SEED``, which means any."""


def check(sampling: Sampling) -> None:
    """Refuse values that llama.cpp would take and misunderstand. Raises ``UsageError``."""
    for ok, message in (
        (0 <= sampling.temperature <= 100, "The temperature must be between 0 and 100."),
        (0 <= sampling.top_k < 2**31, "top-k must be 0 (off) or more."),
        (0 <= sampling.top_p <= 1, "top-p must be between 0 and 1."),
        (0 <= sampling.min_p <= 1, "min-p must be between 0 and 1."),
        (0 < sampling.repeat_penalty <= 100, "The repeat penalty must be more than 0; 1 is off."),
        (0 <= sampling.repeat_last_n < 2**20, "repeat-last-n must be 0 or more."),
        (
            sampling.seed is None or 0 <= sampling.seed <= _MAX_SEED,
            f"The seed must be between 0 and {_MAX_SEED}.",
        ),
    ):
        if not ok:
            raise UsageError(message)


def seed_of(sampling: Sampling) -> int:
    """Return the seed that was asked for, or a fresh one."""
    return _fresh_seed() if sampling.seed is None else sampling.seed


def _fresh_seed() -> int:
    """Draw a seed; ``secrets`` would do, and takes 8 ms to import."""
    return int.from_bytes(os.urandom(8)) % (_MAX_SEED + 1)


def host_chain(sampling: Sampling, *, seed: int, n_vocab: int, prompt: Sequence[int]) -> int:
    """Return a new chain that draws from logits on the CPU. Free it.

    The repeat penalty also sees the end of the prompt.
    """
    chain = _chain_of(sampling, n_vocab)
    if sampling.temperature == 0:
        add(chain, C.llama_sampler_init_greedy())
    else:
        _add_draw(chain, sampling, seed)
    if penalises(sampling):
        for token in prompt[-sampling.repeat_last_n :]:
            C.llama_sampler_accept(chain, token)
    return chain


def device_chain(sampling: Sampling, *, n_vocab: int) -> int:
    """Return a new chain for ``llama_set_sampler``, its state to be carried over. Free it.

    llama.cpp's greedy sampler copies all logits to the host from a device as well; a draw among
    the best one token copies that one.
    """
    chain = _chain_of(sampling, n_vocab)
    if sampling.temperature == 0:
        add(chain, C.llama_sampler_init_top_k(1))
        add(chain, C.llama_sampler_init_dist(0))
    else:
        _add_draw(chain, sampling, 0)
    return chain


def carry_state(sampling: Sampling, source: int, target: int) -> None:
    """Give a chain what another has come to: tokens to penalise, the generator's position."""
    if penalises(sampling):
        C.llama_sampler_copy(
            C.llama_sampler_chain_get(source, 0), C.llama_sampler_chain_get(target, 0)
        )
    if sampling.temperature != 0:
        last = C.llama_sampler_chain_n(source) - 1
        C.llama_sampler_copy(
            C.llama_sampler_chain_get(source, last), C.llama_sampler_chain_get(target, last)
        )


def penalises(sampling: Sampling) -> bool:
    """Whether repeated tokens are penalised."""
    return sampling.repeat_penalty != 1 and sampling.repeat_last_n > 0


def _chain_of(sampling: Sampling, n_vocab: int) -> int:
    chain: int = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    if penalises(sampling):
        add(
            chain,
            C.llama_sampler_init_penalties(
                n_vocab, sampling.repeat_last_n, sampling.repeat_penalty, 0.0, 0.0
            ),
        )
    return chain


def _add_draw(chain: int, sampling: Sampling, seed: int) -> None:
    if sampling.top_k > 0:
        add(chain, C.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        add(chain, C.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        add(chain, C.llama_sampler_init_min_p(sampling.min_p, 1))
    add(chain, C.llama_sampler_init_temp(sampling.temperature))
    add(chain, C.llama_sampler_init_dist(seed))


def add(chain: int, sampler: int) -> None:
    """Append a sampler. A chain with a NULL in it crashes the process when it is used."""
    if not sampler:
        raise RuntimeError("llama.cpp returned no sampler")
    C.llama_sampler_chain_add(chain, sampler)
