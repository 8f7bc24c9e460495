"""The sampler chain of a request, in llama.cpp's usual order."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
    return secrets.randbelow(_MAX_SEED + 1) if sampling.seed is None else sampling.seed


@contextmanager
def sampler_chain(
    sampling: Sampling, *, seed: int, n_vocab: int, prompt: Sequence[int]
) -> Iterator[int]:
    """Build the chain, and free it at the end. The penalty also sees the end of the prompt."""
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    try:
        penalises = sampling.repeat_penalty != 1 and sampling.repeat_last_n > 0
        if penalises:
            add(
                chain,
                C.llama_sampler_init_penalties(
                    n_vocab, sampling.repeat_last_n, sampling.repeat_penalty, 0.0, 0.0
                ),
            )
        if sampling.temperature == 0:
            add(chain, C.llama_sampler_init_greedy())
        else:
            if sampling.top_k > 0:
                add(chain, C.llama_sampler_init_top_k(sampling.top_k))
            if sampling.top_p < 1:
                add(chain, C.llama_sampler_init_top_p(sampling.top_p, 1))
            if sampling.min_p > 0:
                add(chain, C.llama_sampler_init_min_p(sampling.min_p, 1))
            add(chain, C.llama_sampler_init_temp(sampling.temperature))
            add(chain, C.llama_sampler_init_dist(seed))
        if penalises:
            for token in prompt[-sampling.repeat_last_n :]:
                C.llama_sampler_accept(chain, token)
        yield chain
    finally:
        C.llama_sampler_free(chain)


def add(chain: int, sampler: int) -> None:
    """Append a sampler. A chain with a NULL in it crashes the process when it is used."""
    if not sampler:
        raise RuntimeError("llama.cpp returned no sampler")
    C.llama_sampler_chain_add(chain, sampler)
