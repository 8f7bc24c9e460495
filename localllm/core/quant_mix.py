"""Which type each tensor of a file gets: the mixtures of ``llama-quantize``.

A "Q4_K_M" file is no file of q4_K: some tensors get more bits, and small ones stay as they are
(``quant_mix_kept.py``). These are the rules of ``llama_tensor_get_type`` (``src/llama-quant.cpp``,
llama.cpp as llama-cpp-python 0.3.36 vendors it); a test compares them with that library, tensor by
tensor.

They hold for files made with llama.cpp's own recipe, which most are. Uploaders deviate: "UD-"
(dynamic) files and those with "_L" or "_XL" in their name choose types tensor by tensor, and what
these weigh is known from their own headers only. An importance matrix changes few types
(``Mixture.has_imatrix``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.quant_mix_kept import fitting_type, quantisable, unquantised_type

DEFAULT_TYPES = {
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
    "Q8_0": "q8_0",
    "Q6_K": "q6_K",
    "Q5_K_M": "q5_K",
    "Q5_K_S": "q5_K",
    "Q5_1": "q5_1",
    "Q5_0": "q5_0",
    "Q4_K_M": "q4_K",
    "Q4_K_S": "q4_K",
    "Q4_1": "q4_1",
    "IQ4_NL": "iq4_nl",
    "Q4_0": "q4_0",
    "IQ4_XS": "iq4_xs",
    "MXFP4": "mxfp4",
    "Q3_K_L": "q3_K",
    "Q3_K_M": "q3_K",
    "IQ3_M": "iq3_s",
    "IQ3_S": "iq3_s",
    "Q3_K_S": "q3_K",
    "IQ3_XS": "iq3_s",
    "IQ3_XXS": "iq3_xxs",
    "Q2_K": "q2_K",
    "IQ2_M": "iq2_s",
    "Q2_K_S": "q2_K",
    "IQ2_S": "iq2_xs",
    "IQ2_XS": "iq2_xs",
    "IQ2_XXS": "iq2_xxs",
    "TQ2_0": "tq2_0",
    "IQ1_M": "iq1_m",
    "TQ1_0": "tq1_0",
    "IQ1_S": "iq1_s",
}
"""The quantisations, as people name them, and the type that most tensors get
(``llama_ftype_get_default_type``). ``MXFP4`` is llama.cpp's ``MXFP4_MOE``."""

NEEDS_IMATRIX = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"}
)
"""``llama-quantize`` refuses to make these without an importance matrix: so they had one."""

_LOW_BITS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_EIGHT_EXPERTS_OUTPUT = frozenset({"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M"}) | {
    *("IQ3_XS", "IQ3_XXS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS")
}
"""Where the output of attention gets q5_K in a mixture of eight experts."""
_LAYER = re.compile(r"blk\.(\d+)\.")

Named = tuple[str, tuple[int, ...]]
"""A tensor's name and its shape in ggml's order: the row's length first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What the rules look at besides a tensor's name and shape."""

    quant: str
    """One of ``DEFAULT_TYPES``."""
    arch: str
    n_layer: int
    """``block_count``, MTP blocks included."""
    n_gqa: int
    """Query heads per KV head of the first block; 0 where it has no KV heads."""
    n_expert: int = 0
    is_70b: bool = False
    """llama.cpp's own word for some models of 80 blocks (``LLM_TYPE_70B``); see ``is_70b``."""
    has_imatrix: bool = False
    source_type: str = "bf16"
    """Type of the matrices in the file that was quantised: what is never quantised keeps it."""


def is_70b(arch: str, n_layer: int, *, n_head: int, n_head_kv: int) -> bool:
    """Whether llama.cpp takes a model for a "70B", which gets better V matrices."""
    if arch == "llama":
        return n_layer == 80 and n_head != n_head_kv
    return (arch in ("deci", "olmo", "qwen2") and n_layer == 80) or (
        arch == "jais2" and n_layer == 68
    )


def tensor_types(tensors: Sequence[Named], mixture: Mixture) -> list[str]:
    """Return the ggml type of each tensor, in the order given.

    Raises KeyError for a quantisation that is not in ``DEFAULT_TYPES``.
    """
    rules = _Rules(mixture, tied=all(name != "output.weight" for name, _ in tensors))
    rules.n_attention_v = sum(_category(name) in _ATTENTION_V for name, _ in tensors)
    # llama.cpp counts as it goes, block by block and by name within a block
    order = sorted(range(len(tensors)), key=lambda i: (_layer(tensors[i][0]), tensors[i][0]))
    types = [""] * len(tensors)
    for i in order:
        types[i] = rules.type_of(*tensors[i])
    return types


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


_ATTENTION_V = frozenset({"attn_v", "attn_qkv", "attn_kv_b"})
_CATEGORIES = (
    ("attn_qkv.weight", "attn_qkv"),
    ("attn_kv_b.weight", "attn_kv_b"),
    ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"),
    ("attn_q.weight", "attn_q"),
    ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"),
    ("ffn_gate", "ffn_gate"),
    ("ffn_down", "ffn_down"),
)


def _category(name: str) -> str:
    """What kind of tensor the rules take a name for (``tensor_get_category``)."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((category for part, category in _CATEGORIES if part in name), "other")


def _more_bits(i: int, n: int) -> bool:
    """Whether a block is one of those that get more bits: the first and last eighth, every third
    between (``use_more_bits``)."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


class _Rules:
    """One pass over a model's tensors: the rules count some of them as they go."""

    def __init__(self, mixture: Mixture, *, tied: bool) -> None:
        self.mix = mixture
        self.default = DEFAULT_TYPES[mixture.quant]
        self.tied = tied
        self.n_attention_v = 0
        self._i_attention_v = 0
        self._i_down = 0
        self._n_seen = {"ffn_gate": 0, "ffn_up": 0}
        self._falcon = mixture.arch == "falcon"

    def type_of(self, name: str, shape: tuple[int, ...]) -> str:
        if not quantisable(name, shape):
            return unquantised_type(name, shape, self.mix.source_type)
        if not TYPES_BY_NAME[self.default].quantised:
            return self.default
        return fitting_type(self._mixed(name, shape), shape[0])

    def _mixed(self, name: str, shape: tuple[int, ...]) -> str:
        """``llama_tensor_get_type_impl``."""
        quant, category = self.mix.quant, _category(name)
        if category == "output" or (self.tied and category == "token_embd"):
            return self._output(shape)
        if quant == "MXFP4":
            return "mxfp4" if len(shape) > 2 and shape[2] > 1 else "q8_0"
        if category == "token_embd":
            return self._token_embd()
        if quant in _LOW_BITS:
            return self._low_bits(category)
        if category in _ATTENTION_V:
            return self._attention_v()
        if category in ("attn_k", "attn_q"):
            if category == "attn_k" and self.mix.n_expert == 8:
                return "q8_0"
            return {"IQ3_XS": "iq3_xxs", "IQ3_XXS": "iq2_s"}.get(quant, self.default)
        if category == "ffn_down":
            return self._feed_forward_down(name)
        if category == "attn_output":
            return self._attention_output()
        if category in ("ffn_gate", "ffn_up") and quant == "IQ3_XS":
            return self._feed_forward_iq3_xs(name, category)
        return self.default

    def _output(self, shape: tuple[int, ...]) -> str:
        if (
            self.mix.quant == "MXFP4"
            or self._falcon
            or shape[0] % TYPES_BY_NAME[self.default].block
        ):
            return "q8_0"
        if self.mix.quant in _LOW_BITS or self.mix.quant == "IQ3_XXS":
            return "q5_K"
        return "q8_0" if self.default == "q8_0" else "q6_K"

    def _token_embd(self) -> str:
        quant = self.mix.quant
        if quant in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
            return "q2_K"
        if quant in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "iq3_s"
        return "q4_K" if quant in ("TQ1_0", "TQ2_0") else self.default

    def _low_bits(self, category: str) -> str:
        n_expert, better = self.mix.n_expert, self.mix.quant in ("IQ2_S", "IQ2_M")
        if category in _ATTENTION_V:
            if self.mix.n_gqa >= 4 or n_expert >= 4:
                return "q4_K"
            return "iq3_s" if better else "q2_K"
        if category == "attn_k" and n_expert == 8:
            return "q4_K"
        if category == "ffn_down":
            self._i_down += 1
            if self._i_down - 1 < self.mix.n_layer // 8:
                return "iq3_s" if better else "q2_K"
        if category == "attn_output":
            if n_expert == 8:
                return "q5_K"
            if self.mix.quant in ("IQ1_S", "IQ1_M"):
                return "iq2_xxs"
            return "iq3_s" if better else self.default
        return self.default

    def _attention_v(self) -> str:
        quant, grouped = self.mix.quant, self.mix.n_gqa >= 4
        i, self._i_attention_v = self._i_attention_v, self._i_attention_v + 1
        chosen = self.default
        if quant == "Q2_K":
            chosen = "q4_K" if grouped else "q3_K"
        elif quant in ("Q2_K_S", "IQ3_XS", "IQ3_S") and grouped:
            chosen = "q4_K"
        elif quant == "IQ3_XXS":
            chosen = "q4_K" if grouped else "iq3_xxs" if self.mix.has_imatrix else "iq3_s"
        elif quant == "IQ3_M":
            chosen = "q4_K"
        elif quant == "Q3_K_M":
            chosen = "q5_K" if i < 2 else "q4_K"
        elif quant == "Q3_K_L" or (quant in ("IQ4_NL", "IQ4_XS") and grouped):
            chosen = "q5_K"
        elif quant in ("Q4_K_M", "Q5_K_M") and _more_bits(i, self.n_attention_v):
            chosen = "q6_K"
        elif quant == "Q4_K_S" and i < 4:
            chosen = "q5_K"
        if self.mix.is_70b and chosen in ("q3_K", "q4_K"):
            chosen = "q5_K"
        return "q8_0" if self.mix.n_expert == 8 else chosen

    def _place(self, name: str, counted: int) -> int:
        """A tensor's block: by its name in a mixture of experts, else how many came before it."""
        return _layer(name) if self.mix.n_expert > 1 else counted

    def _feed_forward_down(self, name: str) -> str:
        quant, n = self.mix.quant, self.mix.n_layer
        i = self._place(name, self._i_down)
        self._i_down += 1
        early, imatrix = i < n // 8, self.mix.has_imatrix
        if quant == "Q2_K":
            return "q3_K"
        if quant == "Q2_K_S" and early:
            return "q4_K"
        if quant == "IQ3_XXS" and not imatrix:
            return "q4_K" if early else "q3_K"
        if quant == "Q3_K_M":
            if i < n // 16:
                return "q5_K"
            return "q4_K" if not self._falcon or _more_bits(i, n) else "q3_K"
        if quant == "IQ3_M" and (early or (self.mix.n_expert == 8 and _more_bits(i, n))):
            return "q4_K"
        if quant == "Q3_K_L":
            return "q4_K" if self._falcon else "q5_K"
        if quant == "Q4_K_M":
            if self._falcon:
                return "q6_K" if i < n // 16 else "q5_K" if _more_bits(i, n) else "q4_K"
            return "q6_K" if _more_bits(i, n) else self.default
        if quant in ("IQ4_NL", "IQ4_XS") and early and not imatrix:
            return "q5_K"
        if quant == "Q5_K_M" and _more_bits(i, n):
            return "q6_K"
        if quant == "Q4_K_S" and early and not self._falcon:
            return "q5_K"
        if quant in ("Q4_0", "Q5_0") and early and imatrix:
            return "q4_1" if quant == "Q4_0" else "q5_1"
        return self.default

    def _attention_output(self) -> str:
        quant = self.mix.quant
        if self._falcon:
            return "q4_K" if quant == "Q3_K_L" else self.default
        if self.mix.n_expert == 8:
            return "q5_K" if quant in _EIGHT_EXPERTS_OUTPUT else self.default
        better = {"Q2_K": "q3_K", "IQ3_XXS": "iq3_s", "Q3_K_M": "q4_K"}
        return (better | {"Q3_K_L": "q5_K", "IQ3_M": "q4_K"}).get(quant, self.default)

    def _feed_forward_iq3_xs(self, name: str, category: str) -> str:
        n, i = self.mix.n_layer, self._place(name, self._n_seen[category])
        self._n_seen[category] += 1
        return "iq3_xxs" if n // 8 <= i < 7 * n // 8 else self.default
