"""What one step of a model touches: weights by type, cache at a depth, operations. Counted once.

Bytes are those of the file's tensors; which of a mixture's experts a batch touches is expected,
not known. The formulas that turn this into time are in ``speed.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from localllm.core.ggml import row_bytes
from localllm.core.memory import RunShape
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import copies_embedding, is_expert, owner
from localllm.core.recurrent import n_embd_r, n_embd_s


class Weights(NamedTuple):
    """Weights of one ggml type."""

    n_bytes: float
    n_elements: float


ByType = Mapping[str, Weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTraffic:
    """One block, or the output layer: what a token that passes through it needs."""

    dense: ByType
    """Read for every batch, whatever its size."""
    experts: ByType
    """All routed experts together."""
    n_matrices: int
    """Multiplications with weights for one batch, each at least one kernel."""
    n_expert: int = 0
    n_expert_used: int = 0
    k_width: int = 0
    v_width: int = 0
    """Elements of K and of V that one cached token takes; V is 0 where K holds both."""
    n_swa: int = 0
    """The window; 0: the block attends to everything."""
    compress_ratio: int = 0
    n_head: int = 0
    """Heads that attend; each makes one score for every cached token."""
    attention_flops: float = 0.0
    """Operations of one token with one cached token."""
    state_bytes: int = 0
    """Recurrent state, read and written once for every batch."""
    is_output: bool = False
    """The output layer, which computes for the last token of a prompt only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """All layers of a model; equal ones are kept once."""

    kinds: tuple[LayerTraffic, ...]
    kind_of: tuple[int, ...]
    """Per block: which kind it is. MTP blocks, which no token passes through, are None's: -1."""
    output: LayerTraffic

    def layers(self, blocks: Iterable[int]) -> list[tuple[LayerTraffic, int]]:
        """Return the kinds among some blocks, the output layer being the last, and how many."""
        n_layer = len(self.kind_of)
        counts = Counter(len(self.kinds) if i == n_layer else self.kind_of[i] for i in blocks)
        counts.pop(-1, None)
        all_kinds = (*self.kinds, self.output)
        return [(all_kinds[kind], count) for kind, count in counts.items()]


def traffic_of(model: ModelSpec) -> Traffic:
    """Sum a model's tensors by layer and type."""
    by_layer: dict[int, list[TensorInfo]] = {}
    output: list[TensorInfo] = []
    for tensor in model.tensors:
        whose = owner(model, tensor)
        if whose.kind == "block":
            by_layer.setdefault(whose.layer, []).append(tensor)
        elif whose.kind == "output" or (
            tensor.name == "token_embd.weight" and copies_embedding(model)
        ):
            output.append(tensor)
    kinds: dict[object, int] = {}
    layers: list[LayerTraffic] = []
    kind_of: list[int] = []
    for index in range(model.n_layer):
        if index >= model.n_layer_main:
            kind_of.append(-1)
            continue
        tensors = by_layer.get(index, [])
        key = (model.layers[index], tuple((t.type, t.shape) for t in tensors))
        if key not in kinds:
            kinds[key] = len(layers)
            layers.append(_layer(model, index, tensors))
        kind_of.append(kinds[key])
    return Traffic(
        kinds=tuple(layers),
        kind_of=tuple(kind_of),
        output=LayerTraffic(
            dense=_by_type(output),
            experts={},
            n_matrices=sum(len(tensor.shape) > 1 for tensor in output),
            is_output=True,
        ),
    )


def experts_touched(layer: LayerTraffic, n_tokens: int) -> float:
    """Share of a layer's routed experts that a batch reads, if each token chooses on its own.

    ``1 - (1 - used / n)^tokens``: used/n for one token, nearly all of them from some dozens on.
    """
    if not layer.n_expert:
        return 0.0
    missed = 1.0 - layer.n_expert_used / layer.n_expert
    return 1.0 - float(missed**n_tokens)


def cells_read(layer: LayerTraffic, depth: int) -> float:
    """Cached tokens that one token attends to at a depth."""
    cells = float(min(depth, layer.n_swa) if layer.n_swa else depth)
    return cells / layer.compress_ratio if layer.compress_ratio else cells


def kv_row_bytes(layer: LayerTraffic, shape: RunShape) -> int:
    """Bytes of one cached token in one block."""
    total = row_bytes(shape.type_k, layer.k_width) if layer.k_width else 0
    return total + (row_bytes(shape.type_v, layer.v_width) if layer.v_width else 0)


def _layer(model: ModelSpec, index: int, tensors: list[TensorInfo]) -> LayerTraffic:
    block = model.layers[index]
    experts = [t for t in tensors if is_expert(t)]
    n_used = (block.n_expert_used or model.n_expert_used) if experts else 0
    latent = model.is_mla or model.arch == "deepseek4"
    k_width = model.n_embd_k_gqa(index) if block.has_kv else 0
    v_width = model.n_embd_v_gqa(index) if block.has_kv and not latent else 0
    if block.has_indexer:
        k_width += model.indexer_head_size
    head_k = (model.n_embd_head_k_swa if block.is_swa else 0) or model.n_embd_head_k
    head_v = (model.n_embd_head_v_swa if block.is_swa else 0) or model.n_embd_head_v
    recurrent = block.is_recurrent
    attends = not recurrent or block.has_kv
    return LayerTraffic(
        dense=_by_type(t for t in tensors if not is_expert(t)),
        experts=_by_type(experts),
        n_matrices=sum(len(t.shape) > 1 and t.shape[-1] > 1 for t in tensors),
        n_expert=model.n_expert if experts else 0,
        n_expert_used=n_used,
        k_width=k_width,
        v_width=v_width,
        n_swa=model.n_swa if block.is_swa else 0,
        compress_ratio=block.compress_ratio,
        n_head=block.n_head if attends else 0,
        attention_flops=2.0 * block.n_head * (head_k + head_v) if attends else 0.0,
        state_bytes=2 * 4 * (n_embd_r(model) + n_embd_s(model)) if recurrent else 0,
    )


def _by_type(tensors: Iterable[TensorInfo]) -> dict[str, Weights]:
    sums: dict[str, Weights] = {}
    for tensor in tensors:
        n_bytes, n_elements = sums.get(tensor.type, (0.0, 0.0))
        sums[tensor.type] = Weights(n_bytes + tensor.n_bytes, n_elements + tensor.n_elements)
    return sums
