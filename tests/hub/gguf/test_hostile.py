"""Files that are broken, foreign or hostile: one typed error each, in little time and memory."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import GGUFError, LocalLLMError, NotFoundError, UsageError
from localllm.hub.gguf import reader as gguf
from localllm.hub.gguf.reader import NeedMoreError, parse_buffer, parse_header, read_header
from localllm.units import MiB
from tests.support import ggml
from tests.support.gguf_maker import make_model, model_header
from tests.support.gguf_writer import (
    ARRAY,
    I8,
    STRING,
    U8,
    U32,
    Tensor,
    Value,
    array,
    header_bytes,
    packed_string,
    scalar,
    string,
    strings,
    u32,
    write_gguf,
)
from tests.support.shapes import TOY


def start(n_tensors: int, n_kv: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_kv)


def key(name: bytes, kind: int) -> bytes:
    return packed_string(name) + struct.pack("<i", kind)


def array_of(kind: int, n: int) -> bytes:
    return start(0, 1) + key(b"a", ARRAY) + struct.pack("<iQ", kind, n)


def tensor(name: bytes, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return packed_string(name) + dims + struct.pack("<iQ", kind, offset)


def one_tensor(shape: list[int], kind: int = 0) -> bytes:
    return (start(1, 0) + tensor(b"t", shape, kind)).ljust(4096, b"\0")


BIG = 2**62
U32_VALUE = struct.pack("<I", 1)
NESTED = b"".join(struct.pack("<iQ", ARRAY, 1) for _ in range(2000))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "array of 2^40 bytes": (array_of(U8, 2**40) + b"\0", "which cannot be"),
    "array of 2^40 strings": (array_of(STRING, 2**40) + b"\0" * 64, "which cannot be"),
    "array of 2^64 - 1 bytes": (array_of(I8, 2**64 - 1) + b"\0" * 64, "which cannot be"),
    "2^62 keys": (start(0, BIG), "metadata keys cannot be in"),
    "2^63 keys": (start(0, 2**63), "metadata keys cannot be in"),
    "2^62 tensors": (start(BIG, 0), "tensors cannot be in"),
    "key of 2^63 bytes": (start(0, 1) + struct.pack("<Q", 2**63) + b"k" * 64, "past the end"),
    "string of 2^63 bytes": (
        start(0, 1) + key(b"a", STRING) + struct.pack("<Q", 2**63) + b"\0" * 64,
        "past the end",
    ),
    "string in an array, of 2^64 - 1 bytes": (
        array_of(STRING, 5000) + struct.pack("<Q", 2**64 - 1) + b"\0" * 80_000,
        "is impossible",
    ),
    "short array, string of 2^64 - 1 bytes": (
        array_of(STRING, 2) + struct.pack("<Q", 2**64 - 1) + b"\0" * 64,
        "past the end",
    ),
    "arrays in arrays": (start(0, 1) + key(b"a", ARRAY) + NESTED, "array of arrays"),
    "empty key": (start(0, 1) + key(b"", U32) + U32_VALUE, "key is empty"),
    "key that is not text": (start(0, 1) + key(b"\xff\xfe", U32) + U32_VALUE, "not UTF-8"),
    "duplicate key": (
        start(0, 2) + 2 * (key(b"twice", U32) + U32_VALUE),
        '"twice" occurs twice',
    ),
    "unknown value type": (start(0, 1) + key(b"a", 99) + U32_VALUE, "unknown type 99"),
    "unknown element type": (array_of(99, 1) + b"\0" * 8, "unknown type 99"),
    "alignment 0": (start(0, 1) + key(b"general.alignment", U32) + b"\0" * 4, "power of two"),
    "alignment 3": (
        start(0, 1) + key(b"general.alignment", U32) + struct.pack("<I", 3),
        "power of two",
    ),
    "alignment of another type": (
        start(0, 1) + key(b"general.alignment", U8) + b"\x20",
        "not an unsigned 32-bit number",
    ),
    "shape that overflows": (one_tensor([2**31, 2**31, 2**31]), "is impossible"),
    "overflow hidden behind a 0": (one_tensor([2**40, 2**40, 0]), "is impossible"),
    "negative dimension": (one_tensor([2**64 - 1]), "is impossible"),
    "2^30 dimensions": (
        start(1, 0) + packed_string(b"t") + struct.pack("<I", 2**30) + b"\0" * 64,
        "dimensions; 4 are allowed",
    ),
    "removed tensor type": (one_tensor([32], kind=4), "stored as q4_2, which llama.cpp dropped"),
    "unknown tensor type": (one_tensor([32], kind=77), "unknown type 77"),
    "half a block": (one_tensor([48], kind=8), "not whole blocks of 32"),
    "tensor without a name": (
        (start(1, 0) + tensor(b"", [1])).ljust(4096, b"\0"),
        "not plain text",
    ),
    "tensor with an escape in its name": (
        (start(1, 0) + tensor(b"\x1b[2J", [1])).ljust(4096, b"\0"),
        "not plain text",
    ),
    "tensor with a long name": (
        (start(1, 0) + tensor(b"n" * 64, [1])).ljust(4096, b"\0"),
        "longer than the 63 bytes",
    ),
    "two tensors of one name": (
        (start(2, 0) + tensor(b"t", [8]) + tensor(b"t", [8], offset=32)).ljust(4096, b"\0"),
        "tensor t occurs twice",
    ),
    "overlapping tensors": (
        (start(2, 0) + tensor(b"t", [8]) + tensor(b"u", [8])).ljust(4096, b"\0"),
        "is at 0 where 32 is expected",
    ),
    "data that are not there": (start(1, 0) + tensor(b"t", [1000]), "incomplete"),
    "version 1": (start(0, 0, version=1), "version 1 is no longer supported"),
    "version 4": (start(0, 0, version=4), "version 4 is unknown"),
    "other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "other byte order"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    data, expected = HOSTILE[name]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(GGUFError) as caught:
            read_header(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MiB
    assert expected in caught.value.message
    assert caught.value.message.startswith("hostile.gguf: ")
    assert caught.value.hint
    assert caught.value.offset is not None and 0 <= caught.value.offset <= len(data)
    assert caught.value.exit_code == 7


def test_ggml_refuses_the_same_files_where_it_looks(tmp_path: Path) -> None:
    """All but those whose fault is of a kind that only its loader, or nobody, looks for."""
    only_ours = {
        "key that is not text",
        "tensor without a name",
        "tensor with an escape in its name",
    }
    accepted = set()
    with ggml.silence():
        for name, (data, _) in HOSTILE.items():
            path = tmp_path / "hostile.gguf"
            path.write_bytes(data)
            if ggml.accepts(path):
                accepted.add(name)
    assert accepted == only_ours


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "magic only": (b"GGUF", "ends after 4 bytes"),
    "half a header": (start(0, 0)[:20], "ends after 20 bytes"),
    "HTML": (b"<!DOCTYPE html><html><head><title>Sign in</title>" + b" " * 999, "an HTML page"),
    "HTML after a line": (b"\r\n<html lang=en>" + b" " * 999, "an HTML page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4920734272\n",
        "a Git LFS pointer",
    ),
    "PyTorch zip": (b"PK\x03\x04" + b"\0" * 99, "a PyTorch checkpoint or another zip archive"),
    "pickle": (b"\x80\x02}q\x00" + b"\0" * 99, "a PyTorch checkpoint (pickle)"),
    "safetensors": (struct.pack("<Q", 80) + b'{"__metadata__":' + b" " * 99, "a safetensors file"),
    "GGML": (b"lmgg" + b"\0" * 99, "old GGML format"),
    "GGJT": (b"tjgg" + b"\0" * 99, "old GGML format (GGJT)"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 99, "a gzip archive"),
    "JSON": (b'{"error": "Repository not found"}' + b" " * 99, "a JSON document"),
    "zeros": (b"\0" * 4096, "zeros: room reserved by a download"),
    "text": (b"Entry not found, or so it seems", 'text that begins with "Entry not found'),
    "noise": (bytes(range(200, 240)), "something unknown"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    data, expected = FOREIGN[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(GGUFError) as caught:
        read_header(path)
    assert expected in caught.value.message
    assert caught.value.hint


def test_every_foreign_file_gets_a_sentence_of_its_own() -> None:
    messages = []
    for data, _ in FOREIGN.values():
        with pytest.raises(GGUFError) as caught:
            parse_buffer(data)
        messages.append(caught.value.message)
    assert len(set(messages)) >= len(messages) - 1  # the two HTML pages share theirs


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"There is no file .*absent\.gguf") as caught:
        read_header(tmp_path / "absent.gguf")
    assert caught.value.exit_code == 5


def test_a_folder_names_the_models_in_it(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match="is a folder") as caught:
        read_header(tmp_path)
    assert caught.value.hint == "Pass a file in it: a.gguf, b.gguf."
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError) as empty:
        read_header(tmp_path / "sub")
    assert "There is no .gguf file in it" in str(empty.value.hint)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_how_to_allow_it(tmp_path: Path) -> None:
    path = tmp_path / "secret.gguf"
    path.write_bytes(b"GGUF")
    path.chmod(0)
    with pytest.raises(LocalLLMError, match="permission denied") as caught:
        read_header(path)
    assert caught.value.exit_code == 1
    assert "chmod u+r" in str(caught.value.hint)


def test_a_refused_open_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = make_model(tmp_path / "toy.gguf", TOY, quant="F16")
    monkeypatch.setattr("localllm.hub.gguf.reader.os.open", refuse)
    with pytest.raises(LocalLLMError, match="permission denied") as caught:
        read_header(path)
    assert type(caught.value) is LocalLLMError and caught.value.hint


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="a device or a pipe"):
        read_header(pipe)


def test_a_file_cut_anywhere_is_refused_before_the_engine_sees_it(tmp_path: Path) -> None:
    path = make_model(tmp_path / "toy.gguf", TOY, quant="F16", sparse=False)
    header, size = model_header(TOY, quant="F16")
    data = path.read_bytes()
    assert len(data) == size
    last_padding = 32
    for cut in (25, 100, len(header) // 2, len(header), len(header) + 99, size - last_padding):
        with pytest.raises(GGUFError) as caught:
            parse_buffer(data[:cut])
        assert caught.value.hint
    with pytest.raises(GGUFError, match=r"the file is incomplete: .*1,000 bytes.* are missing"):
        parse_buffer(data[: size - 1000])


def test_a_header_read_in_parts_says_how_much_more_it_needs() -> None:
    """As a remote header is read: ask for what is needed until it is enough."""
    header, size = model_header(TOY, quant="F16")
    have, rounds = 24, 0
    while True:
        try:
            parsed = parse_buffer(header[:have], size)
            break
        except NeedMoreError as more:
            assert have < more.needed_bytes <= len(header)
            have, rounds = max(more.needed_bytes, 2 * have), rounds + 1
    assert rounds < 20
    assert parsed == parse_buffer(header.ljust(size, b"\0"))


def test_a_file_that_shrinks_while_it_is_read_gives_an_error(tmp_path: Path) -> None:
    path = make_model(tmp_path / "toy.gguf", TOY, quant="F16", sparse=False)
    size = path.stat().st_size

    def read_at(offset: int, n_min: int, n_max: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(min(n_min + 16, n_max))
        if offset > 1000:
            os.truncate(path, 500)
        if len(data) < n_min:
            raise GGUFError("the file became shorter while it was read", offset=offset)
        return data

    with pytest.raises(GGUFError, match="became shorter"):
        parse_header(read_at, size)


class ShrinkingFile:
    """A file that another program truncates after its first bytes have been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)

    def __enter__(self) -> ShrinkingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, n: int) -> bytes:
        data = self._file.read(n)
        os.truncate(self._path, 600)
        return data


def test_reading_a_shrinking_file_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(tmp_path / "toy.gguf", TOY, quant="F16", sparse=False)
    monkeypatch.setattr(gguf, "open_file", ShrinkingFile)
    with pytest.raises(GGUFError, match=r"toy\.gguf: the file became shorter") as caught:
        read_header(path)
    assert "Another program" in str(caught.value.hint)


def test_much_metadata_is_walked_and_not_kept(tmp_path: Path) -> None:
    """Arrays just short enough to keep, in such numbers that keeping them would take 300 MiB."""
    numbers = array(U8, [7] * 4096)
    texts = strings(["x" * 200] * 4000)
    keys = {f"numbers.{i}": numbers for i in range(1500)} | {"texts": texts, "texts.2": texts}
    path = write_gguf(tmp_path / "much.gguf", keys)
    tracemalloc.start()
    header = read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MiB
    assert len(header.arrays) == 1502
    assert "numbers.0" in header.metadata and "numbers.1499" not in header.metadata


def test_megabytes_of_keys_are_refused(tmp_path: Path) -> None:
    keys = {f"{i}".ljust(60_000, "k"): u32(i) for i in range(20)}
    with pytest.raises(GGUFError, match="the metadata keys are longer than any model's"):
        read_header(write_gguf(tmp_path / "keys.gguf", keys))


def test_a_million_tensors_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    with path.open("wb") as file:
        file.write(start(2**20, 0))
        file.truncate(64 * MiB)
    with pytest.raises(GGUFError, match="1,048,576 tensors and 0 metadata keys are no model's"):
        read_header(path)


def test_a_header_without_end_is_given_up(tmp_path: Path) -> None:
    """17 GB of nothing but empty strings, sparse on the disk."""
    path = tmp_path / "endless.gguf"
    n_keys = 1000
    with path.open("wb") as file:
        file.write(start(0, n_keys))
        for i in range(n_keys):
            file.write(key(b"%d" % i, ARRAY) + struct.pack("<iQ", U8, 2**24))
            file.seek(2**24, os.SEEK_CUR)
        file.truncate(file.tell() + 1)
    with pytest.raises(GGUFError, match="the header is larger than 256"):
        read_header(path)


def test_a_template_of_megabytes_is_refused(tmp_path: Path) -> None:
    keys = {"tokenizer.chat_template": string(b"{" * 300_000)}
    path = write_gguf(tmp_path / "template.gguf", keys)
    with pytest.raises(GGUFError, match="longer than the 262,144 bytes allowed"):
        read_header(path)


def test_a_long_string_is_described_and_not_kept(tmp_path: Path) -> None:
    keys = {"general.description": string(b"x" * (2 * MiB)), "general.after": u32(7)}
    header = read_header(write_gguf(tmp_path / "long.gguf", keys))
    assert "general.description" not in header.metadata
    assert header.arrays["general.description"].n_bytes == 2 * MiB
    assert header.metadata["general.after"] == 7


TERMINAL = "\x1b]0;owned\x07\r\u202egnp.exe\u2066\x9b2J"


def evil_key() -> dict[str, Value]:
    return {f"{TERMINAL}{i}": scalar(U32, i) for i in range(1)}


@pytest.mark.parametrize(
    "make_error",
    [
        lambda folder: read_header(folder / f"{TERMINAL}.gguf"),
        lambda _: parse_buffer(
            start(0, 2) + 2 * (key(TERMINAL.encode(), U32) + U32_VALUE) + b"\0" * 99
        ),
        lambda _: parse_buffer(start(0, 1) + key(TERMINAL.encode(), 99) + b"\0" * 99),
        lambda _: parse_buffer(b"\x1b[2J\x1b[H \x07\x07 and so on, for a while"),
        lambda _: parse_buffer(
            header_bytes(evil_key(), [Tensor("t", "f32", (8,))]).replace(b"\x01t", b"\x01\x1b")
        ),
    ],
)
def test_no_error_carries_terminal_escapes(
    make_error: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(LocalLLMError) as caught:
        make_error(tmp_path)
    for text in (caught.value.message, caught.value.hint or ""):
        assert not any(character in text for character in "\x1b\x07\r\u202e\u2066\x9b")
