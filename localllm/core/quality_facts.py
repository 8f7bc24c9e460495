"""Measured quality of quantisations: the public figures that ``quants.py`` reads.

Bits and losses of one reference model (Llama 3 8B, as its perplexity and KL divergence were
measured for every format of that day), and how far each ggml type misses a value. Nothing is
decided here.
"""

from __future__ import annotations

BASE_PPL = 6.231636
"""Perplexity of Llama 3 8B in F16 on Wikitext-2, 512 tokens: what the rows below are more than."""

SCOREBOARD_SOURCE = 'llama.cpp tools/perplexity/README.md, "LLaMA 3 8b Scoreboard", f364eb6f'

SCOREBOARD: dict[str, tuple[float, float, bool]] = {
    "Q8_0": (6.234284, 0.001355, False),
    "Q6_K": (6.253382, 0.005452, False),
    "Q5_K_M": (6.288607, 0.010762, False),
    "Q5_K_S": (6.336598, 0.016595, False),
    "Q5_1": (6.337857, 0.018045, False),
    "Q5_0": (6.363224, 0.022239, False),
    "Q4_K_M": (6.382937, 0.028152, True),
    "Q4_K_S": (6.409697, 0.031951, True),
    "IQ4_NL": (6.455593, 0.035742, True),
    "IQ4_XS": (6.459705, 0.036334, True),
    "Q4_1": (6.682737, 0.071683, False),
    "Q4_0": (6.700147, 0.071940, False),
    "Q3_K_L": (6.671223, 0.073077, True),
    "Q3_K_M": (6.734255, 0.084358, True),
    "IQ3_M": (6.898327, 0.102534, True),
    "IQ3_S": (6.965501, 0.111278, True),
    "IQ3_XS": (7.163043, 0.138693, True),
    "IQ3_XXS": (7.458436, 0.183625, True),
    "Q3_K_S": (7.602878, 0.199821, True),
    "IQ2_M": (8.600799, 0.325989, True),
    "Q2_K": (8.647825, 0.332223, True),
    "Q2_K_S": (9.323778, 0.403360, True),
    "IQ2_S": (9.650781, 0.439197, True),
    "IQ2_XS": (10.761424, 0.546290, True),
    "IQ2_XXS": (14.091782, 0.812022, True),
    "IQ1_M": (25.493722, 1.393084, True),
    "IQ1_S": (60.694593, 2.254554, True),
}
"""Perplexity, mean KL divergence from F16 in nats, and whether an importance matrix was used.

With the matrix of 10 million tokens where there is such a row: publishers use one below five bits.
The F16 logits that they are compared with were stored in 16 bits, which alone reads as 0.00055.
"""

F16_OF_BF16 = (1.000404, 0.00002515)
"""Perplexity ratio and KL divergence of an F16 file of a BF16 model: the README's "BF16 vs. FP16"
table."""

BITS_SOURCE = "llama.cpp tools/quantize/README.md, Llama-3.1-8B"

BITS = {
    "Q8_0": 8.5008,
    "Q6_K": 6.5633,
    "Q5_K_M": 5.7036,
    "Q5_K_S": 5.5704,
    "Q4_K_M": 4.8944,
    "Q4_K_S": 4.6672,
    "IQ4_NL": 4.6818,
    "IQ4_XS": 4.4597,
    "Q3_K_L": 4.2979,
    "Q3_K_M": 3.9960,
    "IQ3_M": 3.7628,
    "IQ3_S": 3.6606,
    "Q3_K_S": 3.6429,
    "IQ3_XS": 3.4977,
    "IQ3_XXS": 3.2548,
    "Q2_K": 3.1593,
    "Q2_K_S": 2.9697,
    "IQ2_M": 2.9294,
    "IQ2_S": 2.7403,
    "IQ2_XS": 2.5882,
    "IQ2_XXS": 2.3824,
    "IQ1_M": 2.1460,
    "IQ1_S": 2.0042,
}
"""Bits per weight of whole files."""

BITS_BY_RECIPE = {
    "F32": 32.0,
    "F16": 16.0005,
    "BF16": 16.0005,
    "Q5_1": 6.0377,
    "Q5_0": 5.5704,
    "Q4_1": 5.1031,
    "Q4_0": 4.6358,
    "TQ2_0": 2.5173,
    "TQ1_0": 2.1914,
    "NVFP4": 4.68,
    "MXFP4": 4.63,
    "Q2_0": 2.45,
    "Q1_0": 1.40,
}
"""Those that the README has no row for: ``requantise.py`` on the same model, which agrees with the
README's rows in all digits. MXFP4 is gpt-oss-20b as published (only experts are in it), and the
last two and NVFP4 are the type with the matrices at both ends in q6_K or q4_K."""

GAUSSIAN_ERROR = {
    "f32": 0.0,
    "f16": 0.0,
    "bf16": 0.0,
    "q8_0": 2.87e-5,
    "q5_1": 1.43e-3,
    "q5_0": 1.83e-3,
    "iq4_nl": 5.79e-3,
    "q4_1": 6.12e-3,
    "q4_0": 7.40e-3,
    "nvfp4": 9.06e-3,
    "mxfp4": 1.327e-2,
    "q1_0": 0.3605,
    "q2_0": 0.5163,
    "tq1_0": 0.6549,
    "tq2_0": 0.6549,
}
"""Mean squared error of normally distributed values of variance 1, stored as a ggml type.

Ours: ``ggml_quantize_chunk`` and back on 262,144 values, llama.cpp as llama-cpp-python 0.3.36
vendors it. The three wide types are called exact: their error is under 3e-6.
"""
