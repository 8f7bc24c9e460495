"""The same model in another quantisation: what a plan would be for a file that is not at hand.

Types by llama.cpp's own recipe (``quant_mix.py``), so an estimate of what a publisher offers.
"""

from __future__ import annotations

from dataclasses import replace

from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.quant_mix import (
    DEFAULT_TYPES,
    NEEDS_IMATRIX,
    Mixture,
    is_70b,
    tensor_types,
)
from localllm.core.quant_mix_kept import quantisable

COMMON_QUANTS = (
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q4_K_M",
    "IQ4_XS",
    "Q3_K_M",
    "IQ3_XXS",
    "Q2_K",
    "IQ2_XXS",
)
"""What most publishers offer, the largest first."""

UNDER_THREE_BITS = frozenset({"Q2_K", "IQ2_XXS"})
"""Those of them that lose much."""


def smaller_quants(model: ModelSpec) -> dict[str, int]:
    """Return the common quantisations smaller than the model's own, and about what each weighs.

    Bytes of the tensors as if all had the type that most of them get: within some 10 %, and quick.
    """
    n_elements = sum(tensor.n_elements for tensor in model.tensors)
    own = sum(tensor.n_bytes for tensor in model.tensors)
    sizes = {
        quant: n_elements * (type_ := TYPES_BY_NAME[DEFAULT_TYPES[quant]]).n_bytes // type_.block
        for quant in COMMON_QUANTS
    }
    known = COMMON_QUANTS.index(model.quant) if model.quant in COMMON_QUANTS else -1
    return {
        quant: size
        for index, (quant, size) in enumerate(sizes.items())
        if index > known and size < own
    }


def requantised(model: ModelSpec, quant: str) -> ModelSpec:
    """Return a model with the tensor types of another quantisation.

    Sizes are those of the tensors; the header's own size is taken over. Raises KeyError for a
    quantisation that llama.cpp does not make.
    """
    first = model.layers[0]
    mixture = Mixture(
        quant=quant,
        arch=model.arch,
        n_layer=model.n_layer,
        n_gqa=first.n_head // first.n_head_kv if first.n_head_kv else 0,
        n_expert=model.n_expert,
        is_70b=is_70b(model.arch, model.n_layer, n_head=first.n_head, n_head_kv=first.n_head_kv),
        has_imatrix=quant in NEEDS_IMATRIX,
    )
    types = tensor_types([(t.name, t.shape) for t in model.tensors], mixture)
    tensors = tuple(
        _retyped(tensor, kind) if quantisable(tensor.name, tensor.shape) else tensor
        for tensor, kind in zip(model.tensors, types, strict=True)
    )
    grown = sum(t.n_bytes for t in tensors) - sum(t.n_bytes for t in model.tensors)
    return replace(model, quant=quant, tensors=tensors, file_bytes=max(model.file_bytes + grown, 0))


def _retyped(tensor: TensorInfo, kind: str) -> TensorInfo:
    n_rows = tensor.n_elements // tensor.shape[0]
    return replace(tensor, type=kind, n_bytes=row_bytes(kind, tensor.shape[0]) * n_rows)
