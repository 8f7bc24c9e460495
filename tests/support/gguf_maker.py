"""Model files for tests: small real ones with random weights, and full-size ones that are hollow.

``make_model(path, TOY, quant="F16", sparse=False)`` is a model that llama.cpp loads and decodes;
``make_model(path, LLAMA_3_8B)`` has the real tensor table and vocabulary size of an 8B model, while
its weights are a hole of 4.6 GiB in the file that reads as zeros.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from localllm.core.ggml import TYPES_BY_NAME
from tests.support.gguf_writer import (
    I32,
    U16,
    Fill,
    Tensor,
    Value,
    header_bytes,
    pad,
    scalar,
    write_gguf,
)
from tests.support.shapes import Shape, metadata, tensors


class _Block(NamedTuple):
    """Where the half-precision scale of a block lies, and what else its values are made of."""

    scale_at: int
    largest: int
    """Of the integers that the scale multiplies, the sub-block's scale included."""
    minimum_at: int | None = None
    minimum: float = 0.0
    """What the offset must be, in scales, for the values to be zero on average."""


_BLOCKS = {
    "q4_0": _Block(0, 8),
    "q4_1": _Block(0, 15, 2, -7.5),
    "q5_0": _Block(0, 16),
    "q5_1": _Block(0, 31, 2, -15.5),
    "q8_0": _Block(0, 127),
    "q2_K": _Block(80, 15 * 3, 82, 1.5),
    "q3_K": _Block(108, 32 * 4),
    "q4_K": _Block(0, 63 * 15, 2, 7.5),
    "q5_K": _Block(0, 63 * 31, 2, 15.5),
    "q6_K": _Block(208, 127 * 32),
    "iq4_nl": _Block(0, 127),
    "iq4_xs": _Block(0, 32 * 127),
}


def random_weights(seed: int) -> Fill:
    """Data for any tensor: valid blocks of its type, about as large as trained weights are."""

    def fill(tensor: Tensor) -> bytes:
        rng = random.Random(f"{seed} {tensor.name}")
        if constant := _constant(tensor.name):
            return struct.pack("<f", constant) * tensor.n_elements
        return _random_blocks(tensor, rng, (3 / tensor.shape[0]) ** 0.5)

    return fill


def _constant(name: str) -> float | None:
    """What a tensor holds that must not be random: norms, rotary factors, decays of a state."""
    if name.endswith(("_norm.weight", "rope_freqs.weight", "ssm_d")):
        return 1.0
    return -1.0 if name.endswith("ssm_a") else None


def _random_blocks(tensor: Tensor, rng: random.Random, amplitude: float) -> bytes:
    kind = tensor.type
    if kind in ("f32", "f16", "bf16"):
        # 4,096 values from a table: drawing each weight anew would take most of the time
        values = [rng.uniform(-amplitude, amplitude) for _ in range(4096)]
        table = [_float_bytes(kind, value) for value in values]
        return b"".join(rng.choices(table, k=tensor.n_elements))
    block_bytes = TYPES_BY_NAME[kind].n_bytes
    data = bytearray(rng.randbytes(tensor.n_bytes))
    n_blocks = tensor.n_bytes // block_bytes
    if kind == "mxfp4":
        # one exponent a block: 2^(e - 128) times at most 12
        data[0::block_bytes] = bytes([128 - round(12 / amplitude).bit_length()]) * n_blocks
        return bytes(data)
    block = _BLOCKS[kind]
    scale = amplitude / block.largest
    halves = {block.scale_at: scale}
    if block.minimum_at is not None:
        halves[block.minimum_at] = scale * block.minimum
    for offset, value in halves.items():
        low, high = struct.pack("<e", value)
        data[offset::block_bytes] = bytes([low]) * n_blocks
        data[offset + 1 :: block_bytes] = bytes([high]) * n_blocks
    return bytes(data)


def _float_bytes(kind: str, value: float) -> bytes:
    if kind == "bf16":
        return struct.pack("<f", value)[2:]
    return struct.pack("<f" if kind == "f32" else "<e", value)


def make_model(
    path: Path,
    shape: Shape,
    *,
    quant: str = "Q4_K_M",
    sparse: bool = True,
    seed: int = 0,
    extra: Mapping[str, Value | None] | None = None,
    version: int = 3,
) -> Path:
    """Write one model file. ``extra`` adds or replaces metadata; None takes a key away."""
    keys = _changed(metadata(shape, quant), extra)
    fill = None if sparse else random_weights(seed)
    return write_gguf(path, keys, tensors(shape, quant), fill=fill, version=version)


def make_split_model(
    folder: Path,
    shape: Shape,
    *,
    n_parts: int,
    quant: str = "Q4_K_M",
    sparse: bool = True,
    seed: int = 0,
    first_part_empty: bool = False,
) -> list[Path]:
    """Write the parts of a split model as ``llama-gguf-split`` does; returns their paths in order.

    ``first_part_empty`` leaves the first part without tensors (its ``--no-tensor-first-split``).
    """
    table = tensors(shape, quant)
    fill = None if sparse else random_weights(seed)
    n_full = n_parts - 1 if first_part_empty else n_parts
    size = -(-len(table) // n_full)
    groups = [table[i * size : (i + 1) * size] for i in range(n_full)]
    if first_part_empty:
        groups.insert(0, [])
    stem = shape.name.replace(" ", "-")
    paths = []
    for part, group in enumerate(groups):
        keys = metadata(shape, quant) if part == 0 else {}
        keys["split.no"] = scalar(U16, part)
        keys["split.count"] = scalar(U16, n_parts)
        keys["split.tensors.count"] = scalar(I32, len(table))
        path = folder / f"{stem}-{part + 1:05d}-of-{n_parts:05d}.gguf"
        paths.append(write_gguf(path, keys, group, fill=fill))
    return paths


def model_header(shape: Shape, *, quant: str = "Q4_K_M") -> tuple[bytes, int]:
    """The header's bytes and the size that the whole file would have."""
    table = tensors(shape, quant)
    header = header_bytes(metadata(shape, quant), table)
    return header, pad(len(header), 32) + sum(pad(tensor.n_bytes, 32) for tensor in table)


def _changed(keys: dict[str, Value], extra: Mapping[str, Value | None] | None) -> dict[str, Value]:
    merged = {**keys, **(extra or {})}
    return {key: value for key, value in merged.items() if value is not None}
