"""How many prompt tokens go to llama.cpp at once, so that a cancel is heard in time. Pure.

On GPUs a micro-batch is quick, and larger is faster. On a CPU the abort callback is asked between
two operations of the graph, and one matrix product over 512 tokens of an 8B model takes a second
on two cores. Prompt speed hardly depends on the chunk there from 64 tokens on. The size follows
from the model and the position alone, never from the clock: another size sums in another order,
and the same seed has to give the same answer.
"""

from __future__ import annotations

_LONGEST_OPERATION_S = 0.12
_FLOPS_PER_THREAD = 60e9
"""What a modest AVX2 core does in ggml's quantised products; AVX-512 does three times as much."""
_ATTENTION_SLOWDOWN = 2.5
"""How much slower attention over an F16 cache is, per operation."""
_STEP = 32
_LEAST = 64
"""8B on one AVX-512 core reads 13.2 tokens/s in chunks of 32, 16.3 in 64s, 17.4 in 128s."""
_LEAST_DEEP = 32


def prompt_chunk(
    position: int, *, n_max: int, n_embd: int, n_ff: int, n_threads: int | None
) -> int:
    """Return the tokens of the next chunk, at most ``n_max`` (llama.cpp's micro-batch).

    ``position`` counts the tokens before it, ``n_ff`` is the width of the widest product per token
    (of a mixture: of all experts in use together), ``n_threads`` is None where GPUs compute.
    """
    if n_threads is None:
        return n_max
    budget = _LONGEST_OPERATION_S * _FLOPS_PER_THREAD * n_threads
    product = 2 * n_embd * n_ff
    attention = 4 * n_embd * (position + 1) * _ATTENTION_SLOWDOWN
    n_fitting = int(budget / max(product, attention, 1))
    least = _LEAST if product >= attention else _LEAST_DEEP
    return min(n_max, max(least, n_fitting // _STEP * _STEP))
