"""Our reader against ggml's on thousands of broken files: never more permissive."""

from __future__ import annotations

import random
import struct
from collections import Counter
from pathlib import Path

import pytest

from localllm.errors import GGUFError
from localllm.hub.gguf.reader import GGUFHeader, parse_buffer, parse_header
from tests.support import ggml
from tests.support.gguf_writer import (
    BOOL,
    F32,
    I32,
    U64,
    Tensor,
    Value,
    array,
    boolean,
    f32,
    header_bytes,
    pad,
    scalar,
    string,
    strings,
    u32,
)

BOUNDARIES = (
    *(0, 1, 2, 7, 8, 9, 12, 13, 31, 32, 33, 63, 64, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31),
    *(2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1),
)
STRICTER = (
    "incomplete",  # data beyond the end of the file: ggml's loader refuses later
    "not UTF-8",
    "not plain text",
    "a power of two up to 2^20",
    "cannot be in",  # more keys or tensors than the bytes of the file can hold
)
"""What we refuse and ggml's header reader does not; any other reason is a finding."""


def _file(metadata: dict[str, Value], tensors: list[Tensor]) -> tuple[bytes, int]:
    header = header_bytes(metadata, tensors)
    size = pad(len(header), 32) + sum(pad(tensor.n_bytes, 32) for tensor in tensors)
    return header.ljust(size, b"\0"), len(header)


def values_file() -> tuple[bytes, int]:
    """A valid file with a value of every kind and two tensors, and the size of its header."""
    metadata = {
        "general.architecture": string("llama"),
        "general.alignment": u32(32),
        "llama.block_count": u32(2),
        "llama.rope.freq_base": f32(10_000.0),
        "tokenizer.ggml.add_bos_token": boolean(True),
        "general.big": scalar(U64, 2**40),
        "llama.attention.head_count_kv": array(I32, [1, 2, 3]),
        "tokenizer.ggml.tokens": strings(["<s>", "a", "", "bcd"]),
        "general.flags": array(BOOL, [True, False]),
        "tokenizer.ggml.scores": array(F32, [0.5, 1.5]),
    }
    tensors = [Tensor("blk.0.attn_q.weight", "q8_0", (32, 2)), Tensor("norm", "f32", (8,))]
    return _file(metadata, tensors)


def tensors_file() -> tuple[bytes, int]:
    """A valid file that is nearly all tensor infos: of one to four dimensions, empty, of blocks."""
    tensors = [
        Tensor("token_embd.weight", "q4_K", (256, 3)),
        Tensor("blk.0.ffn_up_exps.weight", "mxfp4", (32, 2, 2)),
        Tensor("scale", "f16", ()),
        Tensor("four", "i8", (1, 2, 1, 3)),
        Tensor("empty", "f32", (4, 0, 2)),
        Tensor("blk.0.attn_norm.weight", "f32", (7,)),
    ]
    return _file({"general.alignment": u32(32)}, tensors)


FILES = {"values": values_file, "tensors": tensors_file}


def mutant(rng: random.Random, seed: bytes, n_header: int) -> bytes:
    """One to three changes to the header: bytes, boundary values, cuts."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(n_header, len(data)) or 1)
        change = rng.random()
        if change < 0.4:
            if at < len(data):
                data[at] = rng.randrange(256)
        elif change < 0.6:
            data[at : at + 4] = struct.pack("<I", rng.choice(BOUNDARIES) & 0xFFFFFFFF)
        elif change < 0.8:
            data[at : at + 8] = struct.pack("<Q", rng.choice(BOUNDARIES))
        elif change < 0.9:
            del data[at:]
        else:
            del data[at : at + rng.randint(1, 8)]
    return bytes(data)


def compare(kind: str, seed: int, n_mutants: int, path: Path) -> Counter[str]:
    """Count the verdicts; fails on the first mutant that only ggml refuses, and on a surprise."""
    rng = random.Random(seed)
    original, n_header = FILES[kind]()
    verdicts: Counter[str] = Counter()
    for i in range(n_mutants):
        data = mutant(rng, original, n_header)
        path.write_bytes(data)
        theirs = ggml.accepts(path)
        try:
            header = parse_buffer(data)
        except GGUFError as error:
            if theirs:
                reason = next((known for known in STRICTER if known in error.message), None)
                assert reason, f"mutant {i} of seed {seed}: only we refuse it: {error.message}"
                verdicts[f"stricter: {reason}"] += 1
            else:
                verdicts["both refuse"] += 1
        else:
            assert theirs, f"mutant {i} of seed {seed}: we accept what ggml refuses"
            assert header.file_bytes == len(data)
            verdicts["both accept"] += 1
    return verdicts


@pytest.mark.parametrize(("kind", "seed"), [("values", 1), ("values", 5), ("tensors", 2)])
def test_nothing_that_ggml_refuses_is_accepted(kind: str, seed: int) -> None:
    with ggml.silence(), ggml.memory_file() as path:
        verdicts = compare(kind, seed, 3000, path)
    assert verdicts["both accept"] > 100
    assert verdicts["both refuse"] > 1500
    assert sum(n for name, n in verdicts.items() if name.startswith("stricter")) > 20


@pytest.mark.parametrize("kind", FILES)
def test_the_files_that_mutants_are_made_of_are_good(kind: str, tmp_path: Path) -> None:
    data, n_header = FILES[kind]()
    path = tmp_path / "seed.gguf"
    path.write_bytes(data)
    assert ggml.accepts(path)
    assert parse_buffer(data).data_offset == pad(n_header, 32)


@pytest.mark.parametrize("kind", FILES)
def test_the_verdict_does_not_depend_on_how_much_is_read_at_once(kind: str) -> None:
    rng = random.Random(3)
    original, n_header = FILES[kind]()
    for _ in range(500):
        data = mutant(rng, original, n_header)
        assert verdict(data, spare=0) == verdict(data, spare=11) == verdict(data, spare=2**20)


def verdict(data: bytes, *, spare: int) -> GGUFHeader | str:
    """The header or the error, from a reader that gives ``spare`` bytes more than it must."""
    try:
        return parse_header(
            lambda at, least, most: data[at : at + min(least + spare, most)], len(data)
        )
    except GGUFError as error:
        return error.message
