"""The weights of a model by place: how many bytes lie in which buffer, exact.

The rules are llama.cpp's (``load_tensors``, ``src/llama-model.cpp:1500``, in the tree of
llama-cpp-python 0.3.36): the input stays on the host, the output counts as one layer after the
last, each tensor is padded to its buffer's alignment. Whose a tensor is, is in ``ownership.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.hardware import Host
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import (
    EXPERT_PATTERN,
    copies_embedding,
    is_expert,
    is_multiplied,
    owner,
    rotates,
    shares_embedding,
    stays_in_ram,
)
from localllm.core.traits import Rules

__all__ = [
    "EXPERT_PATTERN",
    "HOST_ALIGNMENT_BYTES",
    "HostWeights",
    "LayerWeights",
    "WeightTable",
    "allocated_bytes",
    "device_tensor_bytes",
    "device_weight_bytes",
    "host_weight_bytes",
    "left_in_ram_bytes",
    "padded",
    "repacks",
    "weight_table",
]

HOST_ALIGNMENT_BYTES = 32
"""``TENSOR_ALIGNMENT`` of ggml's CPU buffers, pinned and repacked ones included."""


def padded(n_bytes: int, alignment_bytes: int) -> int:
    """Round up to a multiple of the alignment."""
    return -(-n_bytes // alignment_bytes) * alignment_bytes


def allocated_bytes(
    type_name: str, row_length: int, n_bytes: int, *, alignment_bytes: int, row_padding: int
) -> int:
    """Size that a tensor of ``n_bytes`` takes in a buffer.

    CUDA pads rows of quantised tensors to 512 elements, once per tensor, so that the last row can
    be read in whole steps (``ggml-cuda.cu:903``); every buffer aligns. ``row_padding`` 1: no such
    rows.
    """
    remainder = row_length % row_padding if TYPES_BY_NAME[type_name].quantised else 0
    if remainder:
        n_bytes += row_bytes(type_name, row_padding - remainder)
    return padded(n_bytes, alignment_bytes)


def device_tensor_bytes(tensor: TensorInfo, *, alignment_bytes: int, row_padding: int) -> int:
    """Size that a tensor takes in a device's buffer; see ``allocated_bytes``."""
    return allocated_bytes(
        tensor.type,
        tensor.shape[0],
        tensor.n_bytes,
        alignment_bytes=alignment_bytes,
        row_padding=row_padding,
    )


def repacks(tensor: TensorInfo, host: Host) -> bool:
    """Whether the CPU backend rearranges a tensor into anonymous memory (CPU_REPACK).

    A matrix that is multiplied, or three-dimensional experts
    (``ggml_repack_get_optimal_repack_type``, ``ggml-cpu/repack.cpp:4974``); other arrangements that
    some builds know (AMX, KleidiAI) are not counted.
    """
    n_dims = 3 if is_expert(tensor) else 2
    shape = tensor.shape + (1,) * (3 - len(tensor.shape))
    if _n_dims(tensor.shape) != n_dims or not is_multiplied(tensor):
        return False
    isa = set(host.isa)
    n_rows = shape[1]
    if "avx2" in isa:
        wide = {"q4_0", "q4_K", "iq4_nl", "mxfp4"} | ({"q2_K"} if "avx512f" in isa else set())
        return tensor.type in wide and n_rows % 8 == 0
    if isa & {"dotprod", "i8mm"}:
        if tensor.type in {"q4_K", "q5_K", "q6_K"}:
            return n_rows % 8 == 0
        return tensor.type in {"q4_0", "iq4_nl", "mxfp4", "q8_0", "q1_0"} and n_rows % 4 == 0
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """Bytes of one repeating layer in one kind of buffer."""

    dense_bytes: int = 0
    expert_bytes: int = 0
    largest_bytes: int = 0
    """The largest single tensor, experts included: what a prompt batch streams at once."""
    repacked_dense_bytes: int = 0
    repacked_expert_bytes: int = 0
    """The parts of ``dense_bytes`` and ``expert_bytes`` that a CPU rearranges."""
    left_in_ram_bytes: int = 0
    """Tensors of the block that this kind of device cannot use; in no other figure here."""
    rotates: bool = False
    """The block uses the rotary factors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTable:
    """All weights of a model, summed for one kind of buffer."""

    layers: tuple[LayerWeights, ...]
    input_bytes: int
    output_bytes: int
    """Output matrix, norm and heads. With tied embeddings the matrix is a copy of the input's."""
    tied_bytes: int
    """The part of ``output_bytes`` that is that copy."""
    rotary_bytes: int
    """Rotary factors: one copy in each buffer with a block that rotates."""
    repacked_output_bytes: int
    """The part of ``output_bytes`` that a CPU rearranges, ``tied_bytes`` included."""
    repacked_tied_bytes: int
    shares_tied: bool
    """RAM holds a tied matrix once when input and output are both there as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWeights:
    """Weights in RAM: all of them, and the part that lies rearranged in anonymous memory."""

    model_bytes: int
    repacked_bytes: int


def weight_table(
    model: ModelSpec,
    *,
    alignment_bytes: int = HOST_ALIGNMENT_BYTES,
    row_padding: int = 1,
    rules: Rules = "plain",
    host: Host | None = None,
) -> WeightTable:
    """Sum the tensors of a model by layer, as one kind of buffer would hold them.

    ``rules``: whose operations decide which tensors a device leaves in RAM. With ``host`` the parts
    that its CPU rearranges are summed too; without, they are 0.
    """
    by_layer: dict[int, list[TensorInfo]] = {}
    by_kind: dict[str, list[TensorInfo]] = {}
    for tensor in model.tensors:
        whose = owner(model, tensor)
        if whose.kind == "block":
            by_layer.setdefault(whose.layer, []).append(tensor)
        else:
            by_kind.setdefault(whose.kind, []).append(tensor)
    tied = [t for t in model.tensors if t.name == "token_embd.weight" and copies_embedding(model)]
    output = by_kind.get("output", [])

    def size(tensors: Iterable[TensorInfo]) -> int:
        return sum(
            device_tensor_bytes(tensor, alignment_bytes=alignment_bytes, row_padding=row_padding)
            for tensor in tensors
        )

    def repacked(tensors: Iterable[TensorInfo]) -> int:
        return 0 if host is None else size(tensor for tensor in tensors if repacks(tensor, host))

    def layer_weights(layer: int) -> LayerWeights:
        whole = by_layer.get(layer, ())
        left = [tensor for tensor in whole if stays_in_ram(model, tensor, rules)]
        tensors = [tensor for tensor in whole if tensor not in left] if left else whole
        experts = [tensor for tensor in tensors if is_expert(tensor)]
        dense = [tensor for tensor in tensors if not is_expert(tensor)]
        return LayerWeights(
            dense_bytes=size(dense),
            expert_bytes=size(experts),
            largest_bytes=max((size((tensor,)) for tensor in tensors), default=0),
            repacked_dense_bytes=repacked(dense),
            repacked_expert_bytes=repacked(experts),
            left_in_ram_bytes=sum(padded(tensor.n_bytes, HOST_ALIGNMENT_BYTES) for tensor in left),
            rotates=bool(tensors) and rotates(model, layer),
        )

    return WeightTable(
        layers=tuple(layer_weights(i) for i in range(model.n_layer)),
        input_bytes=size(by_kind.get("input", ())),
        output_bytes=size(output) + size(tied),
        tied_bytes=size(tied),
        rotary_bytes=size(by_kind.get("rotary", ())),
        repacked_output_bytes=repacked(output) + repacked(tied),
        repacked_tied_bytes=repacked(tied),
        shares_tied=shares_embedding(model),
    )


def device_weight_bytes(
    table: WeightTable,
    blocks: Iterable[int],
    *,
    host_experts: Collection[int] = (),
    holds_output: bool = False,
) -> int:
    """Weights of one device that holds these blocks, less the experts that stay in RAM."""
    layers = [(i, table.layers[i]) for i in blocks]
    total = sum(layer.dense_bytes for _, layer in layers)
    total += sum(layer.expert_bytes for i, layer in layers if i not in host_experts)
    if any(layer.rotates for _, layer in layers):
        total += table.rotary_bytes
    return total + (table.output_bytes if holds_output else 0)


def left_in_ram_bytes(table: WeightTable, blocks: Iterable[int]) -> int:
    """Weights of a device's blocks that stay in RAM because the device cannot use them."""
    return sum(table.layers[i].left_in_ram_bytes for i in blocks)


def host_weight_bytes(
    table: WeightTable,
    blocks: Collection[int],
    *,
    host_experts: Collection[int] = (),
    holds_output: bool = False,
    repack: bool = True,
) -> HostWeights:
    """Weights in RAM: the input, these blocks, and the experts of others that stay there.

    What devices leave in RAM (``left_in_ram_bytes``) comes on top.


    A tied output matrix is the input's own tensor here, unless it is rearranged: then it is a copy.
    ``table`` must have been summed for the host.
    """
    layers = [table.layers[i] for i in blocks]
    experts = [table.layers[i] for i in host_experts if i not in blocks]
    total = table.input_bytes + sum(layer.dense_bytes + layer.expert_bytes for layer in layers)
    total += sum(layer.expert_bytes for layer in experts)
    repacked = sum(layer.repacked_dense_bytes + layer.repacked_expert_bytes for layer in layers)
    repacked += sum(layer.repacked_expert_bytes for layer in experts)
    if any(layer.rotates for layer in layers):
        total += table.rotary_bytes
    if holds_output:
        total += table.output_bytes
        repacked += table.repacked_output_bytes
        if table.shares_tied and not (repack and table.repacked_tied_bytes):
            total -= table.tied_bytes
    return HostWeights(model_bytes=total, repacked_bytes=repacked if repack else 0)


def _n_dims(shape: tuple[int, ...]) -> int:
    """Dimensions up to the last that is more than 1 (``ggml_n_dims``)."""
    n_dims = len(shape)
    while n_dims > 1 and shape[n_dims - 1] == 1:
        n_dims -= 1
    return n_dims
