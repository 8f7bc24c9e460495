"""Models in several files."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.errors import GGUFError, NotFoundError
from localllm.hub.gguf.reader import read_header
from localllm.hub.gguf.split import model_stem, read_model
from localllm.hub.resolve import resolve
from tests.support.gguf_maker import make_model, make_split_model
from tests.support.gguf_writer import I32, U16, Tensor, scalar, write_gguf
from tests.support.shapes import TOY


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return make_split_model(tmp_path, TOY, n_parts=3, quant="F16")


def test_all_parts_are_read_as_one_model(parts: list[Path], tmp_path: Path) -> None:
    whole = read_header(make_model(tmp_path / "whole.gguf", TOY, quant="F16"))
    paths, header = read_model(parts[0])
    assert paths == tuple(parts)
    assert [(t.name, t.type, t.shape) for t in header.tensors] == [
        (t.name, t.type, t.shape) for t in whole.tensors
    ]
    assert {t.part for t in header.tensors} == {0, 1, 2}
    assert header.file_bytes == sum(part.stat().st_size for part in parts)
    for tensor in header.tensors:
        assert tensor.offset + tensor.n_bytes <= parts[tensor.part].stat().st_size


def test_the_model_of_the_parts_is_the_model_of_the_whole(
    parts: list[Path], tmp_path: Path
) -> None:
    whole = resolve(str(make_model(tmp_path / "whole.gguf", TOY, quant="F16")))
    split = resolve(str(parts[0]))
    assert (split.name, split.spec.name) == ("Toy", "Toy")
    assert split.spec.layers == whole.spec.layers
    assert split.spec.n_params == whole.spec.n_params
    assert split.template == whole.template


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_leads_to_all(given: int, parts: list[Path]) -> None:
    assert read_model(parts[given])[0] == tuple(parts)


def test_the_first_part_may_be_without_tensors(tmp_path: Path) -> None:
    parts = make_split_model(tmp_path, TOY, n_parts=3, quant="F16", first_part_empty=True)
    assert not read_header(parts[0]).tensors
    assert {tensor.part for tensor in read_model(parts[0])[1].tensors} == {1, 2}
    assert resolve(str(parts[2])).spec.n_layer == TOY.n_layer


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(NotFoundError, match=r"Toy-00002-of-00003\.gguf of the 3 parts") as caught:
        read_model(parts[0])
    assert caught.value.hint == "Download all parts into one folder."
    parts[2].unlink()
    with pytest.raises(NotFoundError, match=r"Toy-00002-of-00003\.gguf and 1 more .* are not in"):
        read_model(parts[0])


def test_a_missing_first_part_is_named(parts: list[Path]) -> None:
    parts[0].unlink()
    with pytest.raises(NotFoundError, match=r"Toy-00001-of-00003\.gguf of the 3 parts"):
        read_model(parts[2])


def test_a_truncated_part_is_named(parts: list[Path]) -> None:
    with parts[1].open("rb+") as file:
        file.truncate(parts[1].stat().st_size - 64)
    with pytest.raises(GGUFError, match=r"Toy-00002-of-00003\.gguf: the file is incomplete"):
        read_model(parts[0])


def test_a_renamed_first_part_is_explained(parts: list[Path]) -> None:
    renamed = parts[0].rename(parts[0].with_name("model.gguf"))
    with pytest.raises(GGUFError, match="is the first of 3 parts, but its name") as caught:
        read_model(renamed)
    assert "-00001-of-00003.gguf" in str(caught.value.hint)


def test_a_renamed_later_part_is_explained(parts: list[Path]) -> None:
    renamed = parts[1].rename(parts[1].with_name("model.gguf"))
    with pytest.raises(GGUFError, match="is part 2 of 3 of a split model, under another name"):
        read_model(renamed)


def test_swapped_parts_are_refused(parts: list[Path]) -> None:
    second, third = parts[1].read_bytes(), parts[2].read_bytes()
    parts[1].write_bytes(third)
    parts[2].write_bytes(second)
    with pytest.raises(GGUFError, match=r"Toy-00002-of-00003\.gguf says that it is part 3 of 3"):
        read_model(parts[0])


def part(path: Path, number: int, names: list[str], *, total: int) -> None:
    keys = {"split.no": scalar(U16, number), "split.count": scalar(U16, 2)}
    keys["split.tensors.count"] = scalar(I32, total)
    write_gguf(path, keys, [Tensor(name, "f32", (8,)) for name in names])


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    part(tmp_path / "m-00001-of-00002.gguf", 0, ["a"], total=2)
    part(tmp_path / "m-00002-of-00002.gguf", 1, ["a"], total=2)
    with pytest.raises(GGUFError, match="Tensor a is in more than one part"):
        read_model(tmp_path / "m-00001-of-00002.gguf")


def test_parts_that_hold_too_few_tensors_are_refused(tmp_path: Path) -> None:
    part(tmp_path / "m-00001-of-00002.gguf", 0, ["a"], total=3)
    part(tmp_path / "m-00002-of-00002.gguf", 1, ["b"], total=3)
    with pytest.raises(GGUFError, match="2 parts hold 2 tensors where the first one says 3"):
        read_model(tmp_path / "m-00001-of-00002.gguf")


def test_the_stem_is_the_name_without_part_and_ending() -> None:
    assert model_stem(Path("x/Llama-3-00001-of-00004.gguf")) == "Llama-3"
    assert model_stem(Path("x/Llama-3.Q4_K_M.gguf")) == "Llama-3.Q4_K_M"
    assert model_stem(Path("x/blob")) == "blob"
