"""The header writer: what it writes, our reader and ggml read back, types and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.core.model import TensorInfo
from localllm.hub.gguf.hollow import write_hollow
from localllm.hub.gguf.reader import parse_buffer
from localllm.hub.gguf.writer import TypedValue, WrittenHeader, write_header
from tests.support import ggml

KEYS: list[tuple[str, TypedValue]] = [
    ("general.architecture", ("string", "llama")),
    ("llama.block_count", ("u32", 2)),
    ("llama.rope.freq_base", ("f32", 500_000.0)),
    ("llama.attention.head_count_kv", ("i32", (8, 4))),
    ("llama.attention.causal", ("bool", True)),
    ("llama.pattern", ("bool", [True, False])),
    ("tokenizer.ggml.tokens", ("string", ["<s>", "ä", ""])),
    ("test.u8", ("u8", 255)),
    ("test.i8", ("i8", -128)),
    ("test.u16", ("u16", 65_535)),
    ("test.i16", ("i16", -5)),
    ("test.u64", ("u64", 2**64 - 1)),
    ("test.i64", ("i64", -(2**63))),
    ("test.f64", ("f64", 0.1)),
    ("test.empty", ("u32", ())),
]


def tensor(name: str, type_: str, shape: tuple[int, ...], n_bytes: int) -> TensorInfo:
    return TensorInfo(name=name, type=type_, shape=shape, n_bytes=n_bytes, offset=7, part=3)


TENSORS = [
    tensor("token_embd.weight", "q4_K", (256, 5), 5 * 144),
    tensor("blk.0.attn_norm.weight", "f32", (3,), 12),
    tensor("output.weight", "f16", (2, 3, 5, 7), 420),
]


@pytest.mark.parametrize("alignment", [32, 64, 4096])
def test_what_is_written_reads_back(alignment: int) -> None:
    written = write_header(KEYS, TENSORS, alignment=alignment)
    header = parse_buffer(written.data, written.file_bytes)
    expected = {key: tuple(v) if isinstance(v, list) else v for key, (_, v) in KEYS}
    if alignment != 32:
        expected["general.alignment"] = alignment
    assert dict(header.metadata) == expected
    assert header.arrays["llama.attention.head_count_kv"].type == "i32"
    assert [(t.name, t.type, t.shape, t.n_bytes) for t in header.tensors] == [
        (t.name, t.type, t.shape, t.n_bytes) for t in TENSORS
    ]
    assert header.data_offset == written.data_offset == len(written.data)
    starts = [t.offset - written.data_offset for t in header.tensors]
    padded = [-(-t.n_bytes // alignment) * alignment for t in TENSORS]
    assert starts == [0, padded[0], padded[0] + padded[1]]
    assert written.file_bytes == written.data_offset + sum(padded)
    assert {t.part for t in header.tensors} == {0}


def test_ggml_reads_it_too(tmp_path: Path) -> None:
    path = write_hollow(tmp_path / "made.gguf", write_header(KEYS, TENSORS))
    with ggml.opened(path) as context:
        assert context is not None
        assert ggml.library().gguf_get_n_kv(context) == len(KEYS)
        assert [t.n_bytes for t in ggml.tensors(context)] == [t.n_bytes for t in TENSORS]


def test_a_header_without_tensors_ends_with_its_last_key() -> None:
    written = write_header(KEYS[:1], [])
    assert written == WrittenHeader(data=written.data, file_bytes=len(written.data))
    assert written.data.endswith(b"llama")


@pytest.mark.parametrize(
    "typed",
    [
        ("u33", 1),
        ("array", 1),
        ("u32", -1),
        ("u32", 2**32),
        ("u32", "1"),
        ("u32", 1.5),
        ("u32", True),
        ("string", 1),
        ("bool", 1),
        ("f32", 1e39),
        ("i32", [1, "2"]),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_refused(typed: TypedValue) -> None:
    with pytest.raises(ValueError, match=r"test\.key: "):
        write_header([("test.key", typed)], [])


def test_a_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        write_header([KEYS[0], KEYS[0]], [])
