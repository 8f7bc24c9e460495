"""The weights of a model by place: input, output, layer and expert tensors, and their bytes.

The rules are llama.cpp's (``src/llama-model.cpp``, ``load_tensors``, in the tree of
llama-cpp-python 0.3.36): the input embedding stays on the host, the output matrix counts as one
layer after the last, and rotary factors, which every block uses, are copied to each buffer that
holds a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.hardware import Host
from localllm.core.model import ModelSpec, TensorInfo

CUDA_ROW_PADDING = 512
"""Elements that rows of quantised CUDA tensors are padded to (``ggml-cuda.cu``)."""

HOST_ALIGNMENT_BYTES = 32
"""``TENSOR_ALIGNMENT`` of ggml's CPU buffers."""

EXPERT_PATTERN = r"ffn_(up|down|gate_up|gate)_(ch|)exps"
"""Expert tensors, as llama.cpp's ``--n-cpu-moe`` matches them."""

_EXPERT = re.compile(EXPERT_PATTERN)
_INPUT_NAMES = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")
_SHARED_NAMES = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")


_Size = Callable[[TensorInfo], int]


def is_expert(tensor: TensorInfo) -> bool:
    """Whether a tensor holds the routed experts of one block."""
    return _EXPERT.search(tensor.name) is not None


def is_input(tensor: TensorInfo) -> bool:
    """Whether a tensor belongs to the input layer, which llama.cpp always keeps on the host."""
    return tensor.name.startswith(_INPUT_NAMES)


def is_shared(tensor: TensorInfo) -> bool:
    """Whether every block uses the one tensor (rotary factors): one copy per buffer with blocks."""
    return tensor.name.startswith(_SHARED_NAMES)


def padded(n_bytes: int, alignment_bytes: int) -> int:
    """Round up to a multiple of the alignment."""
    return -(-n_bytes // alignment_bytes) * alignment_bytes


def device_tensor_bytes(tensor: TensorInfo, *, alignment_bytes: int, row_padding: int) -> int:
    """Size that a tensor takes in a device buffer.

    CUDA pads rows of quantised tensors to 512 elements once per tensor; every buffer aligns.
    ``row_padding`` 1 switches the former off.
    """
    type_ = TYPES_BY_NAME[tensor.type]
    size = tensor.n_bytes
    remainder = tensor.shape[0] % row_padding if type_.quantised else 0
    if remainder:
        size += (row_padding - remainder) // type_.block * type_.n_bytes
    return padded(size, alignment_bytes)


def repacks(tensor: TensorInfo, host: Host) -> bool:
    """Whether the CPU backend rearranges a matrix into anonymous memory (CPU_REPACK).

    Types and row counts: ``ggml-cpu/repack.cpp``, ``ggml_repack_get_optimal_repack_type``. Input
    embeddings are only looked up, never multiplied, and stay as they are.
    """
    if len(tensor.shape) < 2 or tensor.shape[1] < 2 or is_input(tensor):
        return False
    isa = set(host.isa)
    n_rows = tensor.shape[1]
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

    dense_bytes: int
    expert_bytes: int
    largest_bytes: int
    """The largest single tensor, experts included: what a prompt batch streams at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTable:
    """All weights of a model, summed for one kind of buffer."""

    layers: tuple[LayerWeights, ...]
    input_bytes: int
    output_bytes: int
    """Output matrix and norm. With tied embeddings the matrix is a copy of the input's."""
    tied_bytes: int
    """The part of ``output_bytes`` that is that copy."""
    shared_bytes: int


def weight_table(
    model: ModelSpec, *, alignment_bytes: int = HOST_ALIGNMENT_BYTES, row_padding: int = 1
) -> WeightTable:
    """Sum the tensors of a model by layer, as one kind of buffer would hold them."""

    def size(tensor: TensorInfo) -> int:
        return device_tensor_bytes(tensor, alignment_bytes=alignment_bytes, row_padding=row_padding)

    by_layer: dict[int, list[TensorInfo]] = {}
    rest: list[TensorInfo] = []
    for tensor in model.tensors:
        layer = tensor.layer
        if layer is None:
            rest.append(tensor)
        else:
            by_layer.setdefault(layer, []).append(tensor)
    tied = [t for t in rest if t.name == "token_embd.weight" and model.tied_embeddings]
    output = [t for t in rest if not is_input(t) and not is_shared(t)] + tied
    return WeightTable(
        layers=tuple(_layer_weights(by_layer.get(i, ()), size=size) for i in range(model.n_layer)),
        input_bytes=sum(size(t) for t in rest if is_input(t)),
        output_bytes=sum(size(t) for t in output),
        tied_bytes=sum(size(t) for t in tied),
        shared_bytes=sum(size(t) for t in rest if is_shared(t)),
    )


def repacked_bytes(
    model: ModelSpec, host: Host, *, host_layers: Iterable[int], host_output: bool
) -> int:
    """Bytes of the host's weights that are rearranged into anonymous memory."""
    on_host = set(host_layers)
    total = 0
    for tensor in model.tensors:
        layer = tensor.layer
        here = host_output and not is_shared(tensor) if layer is None else layer in on_host
        if here and repacks(tensor, host):
            total += padded(tensor.n_bytes, HOST_ALIGNMENT_BYTES)
    return total + (tied_copy_bytes(model, host) if host_output else 0)


def tied_copy_bytes(model: ModelSpec, host: Host) -> int:
    """Second copy of a tied output matrix on the host: only where the matrix is repacked."""
    if not model.tied_embeddings:
        return 0
    for tensor in model.tensors:
        if tensor.name == "token_embd.weight" and repacks(
            replace(tensor, name="output.weight"), host
        ):
            return padded(tensor.n_bytes, HOST_ALIGNMENT_BYTES)
    return 0


def _layer_weights(tensors: Iterable[TensorInfo], *, size: _Size) -> LayerWeights:
    dense = expert = largest = 0
    for tensor in tensors:
        n_bytes = size(tensor)
        largest = max(largest, n_bytes)
        if is_expert(tensor):
            expert += n_bytes
        else:
            dense += n_bytes
    return LayerWeights(
        dense_bytes=dense,
        expert_bytes=expert,
        largest_bytes=largest,
    )
