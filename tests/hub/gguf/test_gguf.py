"""The header reader on good files: agreement with ggml and gguf-py, and what it keeps."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import gguf as gguf_py
import pytest

from localllm.core.ggml import REMOVED_TYPE_IDS, TYPES_BY_ID
from localllm.hub.gguf.reader import GGUFHeader, parse_buffer, parse_header, read_header
from localllm.hub.gguf.types import FILE_TYPES, REMOVED_TYPE_NAMES, VALUE_TYPES
from localllm.units import MiB
from tests.support import ggml
from tests.support.gguf_maker import make_model
from tests.support.gguf_writer import (
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Tensor,
    array,
    header_bytes,
    scalar,
    string,
    strings,
    write_gguf,
)
from tests.support.shapes import TOY, TOY_GPT_OSS, TOY_K_QUANT, Shape

N_GGML_TYPES = 43
"""``GGML_TYPE_COUNT`` of 0.3.36."""


def every_value(path: Path) -> Path:
    """A file with every value type as a scalar and in arrays, and tensors of every type."""
    numbers = {U8: 200, I8: -7, U16: 60_000, I16: -300, U32: 2**32 - 1, I32: -(2**31)}
    numbers |= {U64: 2**64 - 1, I64: -(2**63), BOOL: 1}
    keys = {f"number.{kind}": scalar(kind, value) for kind, value in numbers.items()}
    keys |= {"number.f32": scalar(F32, 1.5), "number.f64": scalar(F64, 1e300)}
    keys |= {"text": string("größer 中"), "no text": string(b"\xff\xfe"), "empty": string("")}
    keys |= {f"array.{kind}": array(kind, [value, 0, 1]) for kind, value in numbers.items()}
    keys |= {"array.f64": array(F64, [0.5]), "array.none": array(I32, [])}
    keys |= {"array.text": strings(["a", "", "中"]), "array.long": array(U16, range(5000))}
    tensors = [
        Tensor(f"of.{kind.name}", kind.name, (kind.block * 2, 3)) for kind in TYPES_BY_ID.values()
    ]
    return write_gguf(path, keys, tensors)


def test_the_type_table_is_the_installed_library_s(tmp_path: Path) -> None:
    lib = ggml.library()
    for type_id in range(N_GGML_TYPES):
        block, n_bytes = lib.ggml_blck_size(type_id), lib.ggml_type_size(type_id)
        kind = TYPES_BY_ID.get(type_id)
        if kind is None:
            assert block == 0 and type_id in REMOVED_TYPE_IDS
            assert type_id in REMOVED_TYPE_NAMES
        else:
            name = lib.ggml_type_name(type_id).decode()
            assert (kind.name, kind.block, kind.n_bytes) == (name, block, n_bytes)
    header = bytearray(header_bytes({}, [Tensor("t", "f32", (0,))]).ljust(96, b"\0"))
    at = bytes(header).index(b"t") + 13
    with ggml.silence():
        for type_id in range(N_GGML_TYPES + 20):
            header[at : at + 4] = type_id.to_bytes(4, "little")
            path = tmp_path / "type.gguf"
            path.write_bytes(header)
            assert ggml.accepts(path) == (type_id in TYPES_BY_ID), f"ggml's types differ: {type_id}"


def test_the_value_types_are_gguf_s() -> None:
    theirs = {kind.value: kind.name.lower() for kind in gguf_py.GGUFValueType}
    names = {"uint": "u", "int": "i", "float": "f"}
    for long, short in names.items():
        theirs = {value: name.replace(long, short) for value, name in theirs.items()}
    assert {kind: name for kind, (name, _) in VALUE_TYPES.items()} == theirs


def test_the_file_types_are_llama_cpp_s() -> None:
    theirs = {
        kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf_py.LlamaFileType
        if kind.name != "GUESSED"
    }
    theirs[38] = "MXFP4"  # MXFP4_MOE there
    assert theirs.items() <= FILE_TYPES.items()


@pytest.mark.parametrize(("shape", "quant"), [(TOY, "F16"), (TOY_K_QUANT, "Q4_K_M")])
def test_ggml_reads_the_same_tensors(shape: Shape, quant: str, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.gguf", shape, quant=quant)
    agree_with_ggml(read_header(path), path)


def test_ggml_reads_the_same_of_every_type(tmp_path: Path) -> None:
    path = every_value(tmp_path / "every.gguf")
    agree_with_ggml(read_header(path), path)


def agree_with_ggml(header: GGUFHeader, path: Path) -> None:
    lib = ggml.library()
    with ggml.opened(path) as context:
        assert context is not None
        assert header.data_offset == lib.gguf_get_data_offset(context)
        assert [
            (t.name, t.type, t.n_bytes, t.offset - header.data_offset) for t in header.tensors
        ] == [(t.name, t.type, t.n_bytes, t.offset) for t in ggml.tensors(context)]
        keys = [lib.gguf_get_key(context, i).decode() for i in range(lib.gguf_get_n_kv(context))]
        assert set(keys) == header.metadata.keys() | header.arrays.keys()
        for i, key in enumerate(keys):
            if lib.gguf_get_kv_type(context, i) == 9:
                ref = header.arrays[key]
                assert ref.n == lib.gguf_get_arr_n(context, i)
                assert ref.type == VALUE_TYPES[lib.gguf_get_arr_type(context, i)][0]


def test_gguf_py_reads_the_same_values(tmp_path: Path) -> None:
    keys = {"a": array(I32, [1, -2]), "b": strings(["x", "中"]), "c": scalar(F64, 0.1)}
    keys |= {"d": scalar(I64, -5), "e": scalar(BOOL, 1), "f": array(BOOL, [1, 0])}
    path = write_gguf(tmp_path / "small.gguf", keys, [Tensor("t", "q6_K", (256, 2))])
    agree_with_gguf_py(path)


def test_gguf_py_reads_the_same_of_a_model(tmp_path: Path) -> None:
    agree_with_gguf_py(make_model(tmp_path / "model.gguf", TOY, quant="F16"))


def agree_with_gguf_py(path: Path) -> None:
    header, reader = read_header(path), gguf_py.GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert fields.keys() == header.metadata.keys() | header.arrays.keys()
    for key, field in fields.items():
        ours = header.metadata[key]
        assert (list(ours) if isinstance(ours, tuple) else ours) == pytest.approx(field.contents())
    assert [(t.name, t.shape, t.n_bytes, t.offset) for t in header.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), int(t.n_bytes), int(t.data_offset))
        for t in reader.tensors
    ]


def test_values_of_every_type_come_back(tmp_path: Path) -> None:
    metadata = read_header(every_value(tmp_path / "every.gguf")).metadata
    assert metadata[f"number.{U64}"] == 2**64 - 1
    assert metadata[f"number.{I64}"] == -(2**63)
    assert metadata[f"number.{BOOL}"] is True
    assert metadata["text"] == "größer 中"
    assert metadata["no text"] == "\ufffd\ufffd"
    assert metadata[f"array.{I8}"] == (-7, 0, 1)
    assert metadata[f"array.{BOOL}"] == (True, False, True)
    assert metadata["array.text"] == ("a", "", "中")
    assert metadata["array.none"] == ()


def test_arrays_above_4096_elements_are_described_and_not_kept(tmp_path: Path) -> None:
    header = read_header(every_value(tmp_path / "every.gguf"))
    assert "array.long" not in header.metadata
    ref = header.arrays["array.long"]
    assert (ref.type, ref.n, ref.n_bytes) == ("u16", 5000, 10_000)
    data = (tmp_path / "every.gguf").read_bytes()[ref.offset :]
    assert data[:4] == b"\0\0\1\0"


@pytest.mark.parametrize("alignment", [1, 32, 64, 4096])
def test_every_alignment_is_understood(alignment: int, tmp_path: Path) -> None:
    tensors = [Tensor("a", "q8_0", (32,)), Tensor("b", "f32", (3,)), Tensor("c", "f16", (5,))]
    path = write_gguf(tmp_path / "aligned.gguf", {}, tensors, alignment=alignment)
    header = read_header(path)
    agree_with_ggml(header, path)
    assert all(tensor.offset % alignment == 0 for tensor in header.tensors)


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read_alike(version: int, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.gguf", TOY_GPT_OSS, quant="MXFP4", version=version)
    header = read_header(path)
    assert header.version == version
    assert len(header.tensors) == 4 * 19 + 3
    agree_with_ggml(header, path)


def test_a_scalar_tensor_has_one_element(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "scalar.gguf", {}, [Tensor("scale", "f32", ())])
    (tensor,) = read_header(path).tensors
    assert (tensor.shape, tensor.n_elements, tensor.n_bytes) == ((1,), 1, 4)


def test_a_large_vocabulary_takes_little_memory(llama_3_8b: Path) -> None:
    """128,256 tokens and 280,147 merges: the header has 7 MiB, reading it takes less than one."""
    tracemalloc.start()
    header = read_header(llama_3_8b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.n_tokens == 128_256
    assert header.arrays["tokenizer.ggml.merges"].n == 280_147
    assert header.data_offset > 6 * MiB
    assert peak < 2 * MiB


def test_a_large_header_is_read_in_bounded_steps(llama_3_8b: Path) -> None:
    """In some tens of reads of a quarter MiB, not one per string."""
    size = llama_3_8b.stat().st_size
    sizes = []
    with llama_3_8b.open("rb") as file:

        def read_at(offset: int, n_min: int, n_max: int) -> bytes:
            file.seek(offset)
            sizes.append(n_max)
            return file.read(n_max)

        header = parse_header(read_at, size)
    assert len(sizes) < 60
    assert max(sizes) <= MiB
    assert sum(sizes) < 1.2 * header.data_offset + MiB


def test_reading_needs_neither_numpy_nor_gguf(toy_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from localllm.hub.resolve import resolve\n"
        "resolve(sys.argv[1])\n"
        "heavy = {'numpy', 'gguf', 'llama_cpp', 'mmap', 'ctypes'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(toy_model)], check=True)


def test_a_buffer_reads_like_a_file(toy_model: Path) -> None:
    assert parse_buffer(toy_model.read_bytes()) == read_header(toy_model)
