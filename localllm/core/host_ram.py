"""The host's RAM beside llama.cpp's own breakdown: process, work buffer, outputs, page cache.

llama.cpp counts weights, cache and compute buffers. The process that runs it also holds an
interpreter, the vocabulary, the logits it hands out, and the CPU backend's work buffer; a mapped
model holds more pages than it uses. ``scripts/check_ram.py`` compares the sum with the kernel's own
account of the process.
"""

from __future__ import annotations

from collections.abc import Callable

from localllm.core.cache import uses_flash_attn
from localllm.core.ggml import TYPES_BY_NAME, row_bytes
from localllm.core.hardware import Host
from localllm.core.memory import Placement, RunShape, output_buffer_bytes, padded_n_ctx
from localllm.core.model import ModelSpec, TensorInfo
from localllm.core.ownership import is_expert, is_multiplied, owner
from localllm.core.weights import repacks
from localllm.units import MiB

PROCESS_BYTES = 26 * MiB
"""Interpreter, llama.cpp and libraries: 25 MiB resident on x86-64 Linux, 13 of them shared."""

BPE_BYTES_PER_TOKEN = 420
OTHER_BYTES_PER_TOKEN = 200
"""The vocabulary in llama.cpp's own tables: 200 bytes a token, and 110 a merge, of which byte-level
BPE has one to two for each token. Measured on the tokenizers of Llama 2 and 3, Qwen2, Gemma 4,
Command R, GPT-2 and Baichuan; 26 MiB too much where merges are few, nowhere more than 1 too little.
"""

_ACTIVATIONS = {
    "q4_1": "q8_1",
    "q5_1": "q8_1",
    "f16": "f16",
    "bf16": "bf16",
    "f32": "f32",
    **dict.fromkeys(("q4_0", "q5_0", "q8_0", "iq4_nl", "mxfp4", "nvfp4", "q1_0"), "q8_0"),
}
"""Type that a matrix's other side is converted to (``vec_dot_type``, ``ggml-cpu/ggml-cpu.c``); the
K- and I-quantisations take ``q8_K``."""


def host_overhead_bytes(model: ModelSpec, shape: RunShape, *, operand_bytes: int) -> int:
    """RAM of the engine's process beside weights, cache and compute buffers.

    ``operand_bytes``: of ``widest_operand_bytes``, or 0 where the CPU evaluates no prompt batches.
    """
    work = cpu_work_bytes(model, shape, operand_bytes=operand_bytes) if operand_bytes else 0
    return process_bytes(model) + output_buffer_bytes(model, shape) + work


def process_bytes(model: ModelSpec) -> int:
    """Interpreter, libraries and vocabulary; an estimate from measurements."""
    tokenizer = model.metadata.get("tokenizer.ggml.model", "gpt2")
    bpe = tokenizer in ("gpt2", "gemma4", "no_vocab")  # a recorded shape does not say: the larger
    return PROCESS_BYTES + (BPE_BYTES_PER_TOKEN if bpe else OTHER_BYTES_PER_TOKEN) * model.n_vocab


def cpu_work_bytes(model: ModelSpec, shape: RunShape, *, operand_bytes: int) -> int:
    """The CPU backend's work buffer: the largest operand that it converts before a multiplication.

    ``ggml_graph_plan`` (``ggml-cpu/ggml-cpu.c``): the other side of a weight, ``ub`` rows of
    ``operand_bytes``. Without flash attention the scores ``[n_ctx, ub, n_head]`` are converted as
    well, for a V cache that is not F32: 256 MiB for 8B at 8k. Allocated with the first batch, and
    printed nowhere.
    """
    work = shape.n_ubatch * operand_bytes
    if not uses_flash_attn(model, shape) and shape.type_v != "f32":
        n_head = max(layer.n_head for layer in model.layers)
        scores = padded_n_ctx(shape.n_ctx, n_seq=shape.n_seq) * n_head * shape.n_ubatch
        work = max(work, row_bytes(_ACTIVATIONS.get(shape.type_v, "q8_0"), scores))
    return work


def widest_operand_bytes(model: ModelSpec) -> int:
    """One token's row of the widest other side of a block's weight, as the CPU converts it.

    ``[shape[0]]`` in the type that the weight's dot product wants, once for each expert used where
    experts project down.
    """
    return max(
        (
            _operand_bytes(model, tensor)
            for tensor in model.tensors
            if owner(model, tensor).kind == "block" and is_multiplied(tensor)
        ),
        default=0,
    )


def _operand_bytes(model: ModelSpec, tensor: TensorInfo) -> int:
    n_elements = tensor.shape[0]
    if is_expert(tensor) and "_down_" in tensor.name:
        n_elements *= max(model.n_expert_used, 1)
    kind = _ACTIVATIONS.get(tensor.type, "q8_K")
    if kind == "f32":
        return 0  # it is F32 already
    block = TYPES_BY_NAME[kind].block
    return row_bytes(kind, -(-n_elements // block) * block)


def left_in_place(model: ModelSpec, placement: Placement) -> Callable[[TensorInfo], bool]:
    """Return which tensors a placement leaves to the CPU, rearranged ones among them."""
    first_on_device = model.n_layer_total - placement.n_gpu_layers

    def is_left(tensor: TensorInfo) -> bool:
        whose = owner(model, tensor)
        if whose.kind == "block":
            here = whose.layer < first_on_device
            return here or (is_expert(tensor) and whose.layer in placement.host_expert_layers)
        return whose.kind == "input" or (whose.kind == "output" and placement.n_gpu_layers == 0)

    return is_left


def mapped_span_bytes(
    model: ModelSpec,
    host: Host,
    *,
    repack: bool,
    in_place: Callable[[TensorInfo], bool] = lambda _tensor: True,
) -> int:
    """Pages of the mapped files that stay resident while nobody else needs the memory.

    llama.cpp reads a mapped file ahead as a whole and gives back the pages before the first and
    after the last tensor that the CPU uses in place (``unmap_fragment``,
    ``src/llama-model-loader.cpp``), in each part of a split file. What lies between and was copied
    to a device, or rearranged, is never read again: the kernel drops it first when memory is short.

    ``in_place`` says which tensors a placement leaves to the CPU; all of them without a device.
    """
    spans: dict[int, tuple[int, int]] = {}
    for tensor in model.tensors:
        kind = owner(model, tensor).kind
        copied = repack and kind in ("block", "output") and repacks(tensor, host)
        if kind == "nobody" or copied or not in_place(tensor):
            continue
        first, last = spans.get(tensor.part, (tensor.offset, 0))
        end = tensor.offset + tensor.n_bytes
        spans[tensor.part] = (min(first, tensor.offset), max(last, end))
    return sum(last - first for first, last in spans.values())
