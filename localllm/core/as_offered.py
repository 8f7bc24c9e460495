"""A model as a publisher offers it, before the header of that file has been read.

The listing says the quantisation and the size; llama.cpp's recipe says the types. Where the two
differ (a publisher's own mixture, ``UD-Q4_K_XL``), every quantised tensor is taken to differ alike.
An estimate for a choice: what is chosen is planned from its own header.
"""

from __future__ import annotations

from dataclasses import replace

from localllm.core.model import ModelSpec
from localllm.core.quant_mix import DEFAULT_TYPES
from localllm.core.quant_mix_kept import quantisable
from localllm.core.quants import quant_named
from localllm.core.requantise import requantised


def as_offered(model: ModelSpec, quant: str, n_bytes: int) -> ModelSpec:
    """Return a model in a publisher's quantisation, a file of ``n_bytes``.

    ``quant`` is the publisher's name for it, and the model's from then on.
    """
    recipe = quant_named(quant)
    known = recipe is not None and recipe.name in DEFAULT_TYPES
    near = requantised(model, recipe.name) if recipe is not None and known else model
    changes = {t.name for t in near.tensors if quantisable(t.name, t.shape)}
    changing = sum(t.n_bytes for t in near.tensors if t.name in changes)
    rest = sum(t.n_bytes for t in near.tensors) - changing
    header = max(model.file_bytes - sum(t.n_bytes for t in model.tensors), 0)
    wanted = n_bytes - header - rest
    factor = wanted / changing if changing and wanted > 0 else 1.0
    tensors = tuple(
        replace(t, n_bytes=round(t.n_bytes * factor)) if t.name in changes else t
        for t in near.tensors
    )
    return replace(near, quant=quant, tensors=tensors, file_bytes=n_bytes)
