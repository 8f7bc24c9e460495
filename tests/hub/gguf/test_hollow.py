"""Hollow files: what llama.cpp makes of them is what it makes of the model itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from localllm.errors import GGUFError
from localllm.hub.gguf import hollow
from localllm.hub.gguf.hollow import NoHolesError, write_hollow, write_verbatim
from localllm.hub.gguf.reader import GGUFHeader, read_header
from localllm.hub.gguf.writer import WrittenHeader
from localllm.hub.resolve import resolve
from tests.support.gguf_maker import make_model, make_split_model
from tests.support.gguf_writer import I32, U64, array, boolean, scalar, string, u32
from tests.support.shapes import LLAMA_3_70B, SHAPES, TOY

ROOT = Path(__file__).parents[3]
TOYS = [name for name in SHAPES if name.startswith("toy")]
"""Every family of memory that the maker knows: attention, windows, experts, MLA, states."""


def dry_run(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What llama.cpp, in a process of its own, would allocate for each file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.load_models", "dry-run", *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        {key: value for key, value in answer.items() if key not in ("file", "load_s")}
        for answer in answers
    ]


def written(path: Path) -> WrittenHeader:
    """A file's own header, as it would arrive from elsewhere."""
    header = read_header(path)
    data = path.read_bytes()[: header.data_offset]
    return WrittenHeader(data=data, file_bytes=header.file_bytes)


def test_llama_cpp_allocates_for_a_bare_copy_what_it_does_for_the_model(tmp_path: Path) -> None:
    models = [
        make_model(tmp_path / f"{name}.gguf", SHAPES[name], quant="F16")
        for name in TOYS
        if name != "toy-128k"  # a second of vocabularies, and a Llama like the others
    ]
    bare = [resolve(str(path)).header_files(tmp_path, vocabulary=False)[0] for path in models]
    full = [write_verbatim(tmp_path, [written(path)])[0] for path in models]
    answers = dry_run([*models, *bare, *full])
    n = len(models)
    for model, one, two, three in zip(
        models, answers[:n], answers[n : 2 * n], answers[2 * n :], strict=True
    ):
        assert one["loaded"] and one["buffers"], model
        assert one == two == three, model


def test_the_parts_of_a_split_model_become_one_bare_file(tmp_path: Path) -> None:
    whole = make_model(tmp_path / "whole.gguf", TOY, quant="F16")
    parts = make_split_model(tmp_path, TOY, n_parts=3, quant="F16")
    (bare,) = resolve(str(parts[0])).header_files(tmp_path / "b", vocabulary=False)
    full = write_verbatim(tmp_path / "f", [written(part) for part in parts])
    assert [path.name[-20:] for path in full] == [
        f"-{number:05d}-of-00003.gguf" for number in (1, 2, 3)
    ]
    one, two, three = dry_run([whole, bare, full[0]])
    assert one["loaded"] and one == two == three


def bare_copy(path: Path, folder: Path) -> GGUFHeader:
    return read_header(resolve(str(path)).header_files(folder, vocabulary=False)[0])


def test_all_keys_but_the_tokenizer_s_are_copied_with_their_types(tmp_path: Path) -> None:
    extra = {
        "llama.attention.head_count_kv": array(I32, [2, 2, 2, 2]),
        "llama.vocab_size": u32(7),  # what the vocabulary says comes first
        "general.size_label": string("4 x toy"),
        "some.number": scalar(U64, 2**63),
        "some.flag": boolean(True),
        "some.long_list": array(I32, list(range(5000))),
        "general.alignment": u32(32),
        "tokenizer.ggml.token_type_count": u32(2),
        "tokenizer.chat_template.tool_use": string("{{ x }}"),
    }
    model = make_model(tmp_path / "m.gguf", TOY, quant="F16", extra=extra)
    whole, bare = read_header(model), bare_copy(model, tmp_path)
    tokenizer = {key: v for key, v in bare.metadata.items() if key.startswith("tokenizer.")}
    assert tokenizer == {
        "tokenizer.ggml.model": "no_vocab",
        "tokenizer.ggml.token_type_count": 2,
    }
    assert bare.metadata["llama.vocab_size"] == TOY.n_vocab
    for key in whole.spans:
        if not key.startswith("tokenizer.") and key != "llama.vocab_size":
            assert raw(model, whole, key) == raw_of_bare(model, tmp_path, key), key
    assert [(t.name, t.type, t.shape) for t in bare.tensors] == [
        (t.name, t.type, t.shape) for t in whole.tensors
    ]


def raw(path: Path, header: GGUFHeader, key: str) -> bytes:
    start, end = header.spans[key]
    return path.read_bytes()[start:end]


def raw_of_bare(model: Path, folder: Path, key: str) -> bytes:
    (path,) = resolve(str(model)).header_files(folder, vocabulary=False)
    return raw(path, read_header(path), key)


def test_a_model_without_vocabulary_keeps_the_size_that_it_states(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m.gguf", TOY.without_vocabulary(), quant="F16")
    assert bare_copy(model, tmp_path).metadata["llama.vocab_size"] == TOY.n_vocab


def test_the_keys_of_a_split_do_not_follow_into_one_file(tmp_path: Path) -> None:
    parts = make_split_model(tmp_path, TOY, n_parts=2, quant="F16")
    bare = bare_copy(parts[0], tmp_path)
    assert not [key for key in bare.spans if key.startswith("split.")]
    assert len(bare.tensors) == len(resolve(str(parts[0])).spec.tensors)


def test_a_hollow_70b_takes_the_room_of_its_header(tmp_path: Path) -> None:
    model = make_model(tmp_path / "70b.gguf", LLAMA_3_70B.without_vocabulary())
    (bare,) = resolve(str(model)).header_files(tmp_path / "here", vocabulary=False)
    status = bare.stat()
    assert status.st_size > 42 * 10**9
    assert status.st_blocks * 512 < 200_000


def test_a_local_model_s_own_files_are_its_full_header(toy_model: Path, tmp_path: Path) -> None:
    model = resolve(str(toy_model))
    assert model.header_files(tmp_path, vocabulary=True) == (toy_model,)
    assert not model.recorded
    assert not list(tmp_path.iterdir())


def test_the_same_header_is_written_once(toy_model: Path, tmp_path: Path) -> None:
    model = resolve(str(toy_model))
    (first,) = model.header_files(tmp_path, vocabulary=False)
    first.chmod(0o400)
    before = first.stat()
    assert model.header_files(tmp_path, vocabulary=False) == (first,)
    assert first.stat().st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_a_model_that_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "m.gguf", TOY, quant="F16")
    model = resolve(str(path))
    make_model(path, TOY, quant="F16", extra={"general.name": string("Another, much longer")})
    with pytest.raises(GGUFError, match="no longer where it was"):
        model.header_files(tmp_path, vocabulary=False)


def test_a_file_system_without_holes_gets_no_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a system gives room to all that a file claims; here it is filled by hand."""
    sizes: list[int] = []
    require_hole = hollow._require_hole

    def filled(descriptor: int, n_written: int, folder: Path) -> None:
        size = os.fstat(descriptor).st_size
        sizes.append(size)
        os.pwrite(descriptor, bytes(size - n_written), n_written)
        require_hole(descriptor, n_written, folder)

    monkeypatch.setattr(hollow, "_require_hole", filled)
    with pytest.raises(NoHolesError, match="keeps no files with holes") as caught:
        write_hollow(tmp_path / "large.gguf", WrittenHeader(data=b"GGUF", file_bytes=40 * 2**30))
    assert sizes == [4 + 16 * 2**20]  # and 40 GiB were never asked for
    assert not list(tmp_path.iterdir())
    assert "TMPDIR" in str(caught.value.hint)


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoHolesError, match="could not be made"):
        write_hollow(tmp_path / "file" / "x.gguf", WrittenHeader(data=b"GGUF", file_bytes=100))


def test_a_size_that_no_file_can_have_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(NoHolesError):
        write_hollow(tmp_path / "x.gguf", WrittenHeader(data=b"GGUF", file_bytes=2**63 - 1))
    with pytest.raises(NoHolesError):
        write_hollow(tmp_path / "x.gguf", WrittenHeader(data=b"GGUF", file_bytes=2**70))
    assert not list(tmp_path.iterdir())
