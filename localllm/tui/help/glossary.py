"""The words on the screens, each in a sentence."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("est.", "an estimate: worked out from the model and the hardware, not measured"),
    ("measured", "read while it ran, on this machine"),
    ("exact", "memory as llama.cpp's own allocator gave it for this plan"),
    ("formula", "memory worked out by our formulas; exact follows in the background"),
    ("range", "where four of five such runs are expected to lie"),
    ("SIMULATED", "about another machine, from its profile: nothing runs there"),
    ("—", "not known; the reason stands beside it"),
    ("layers on GPU", "n_gpu_layers: how many of the model's layers lie on GPUs, the output too"),
    ("ctx", "context: how many tokens the model sees at once, yours and its own"),
    ("KV", "the cache of keys and values that the context is kept in; f16 is the usual type"),
    ("quantisation", "how the weights are rounded: Q4_K_M is small, Q8_0 close to the original"),
    ("experts", "parts of a mixture model of which each token uses a few; they may lie in RAM"),
    ("compute", "working memory of a step; it grows with the batch"),
    ("headroom", "memory left free on purpose, for what nobody can foresee"),
    ("cliff", "how much memory is left until the plan must change"),
    ("pp", "prompt processing: tokens of the prompt read in a second"),
    ("tg", "text generation: tokens written in a second"),
    ("TTFT", "time to the first token"),
    ("J/token", "energy of one token: watts divided by tokens a second"),
    ("scope", "what watts are of: a GPU board, a CPU package, a whole laptop"),
    ("power cap", "the board reached its power limit and holds its clock down"),
)
