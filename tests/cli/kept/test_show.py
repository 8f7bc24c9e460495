"""``localllm show``: the page, the template, the lists and the document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.core.described import type_shares
from localllm.hub.resolve import local_model
from tests.cli.conftest import Command
from tests.cli.kept.conftest import Cache
from tests.support.gguf_maker import make_model
from tests.support.gguf_writer import string, strings, u32
from tests.support.shapes import TOY

TEMPLATE = (
    "{%- if tools %}T{% endif %}{% if enable_thinking %}<think>{% endif %}\x1b[31m{{ messages }}"
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says much of itself."""
    keys = {
        "general.license": string("other"),
        "general.license.name": string("Toy Licence 2"),
        "general.author": string("A. Maker\x1b[2J"),
        "general.quantized_by": string("somebody"),
        "general.base_model.count": u32(2),
        "general.base_model.0.repo_url": string("https://huggingface.co/maker/Base"),
        "general.base_model.1.name": string("Other Base"),
        "general.languages": strings(["en", "de"]),
        "quantize.imatrix.file": string("i.dat"),
        "tokenizer.chat_template": string(TEMPLATE),
    }
    folder = tmp_path_factory.mktemp("told")
    return make_model(folder / "told.gguf", TOY, quant="F16", extra=keys)


def test_the_page_says_what_a_model_is_and_where_it_comes_from(
    localllm: Command, told: Path
) -> None:
    done = localllm("show", str(told))
    assert (done.code, done.err) == (0, "")
    page = " ".join(done.out.split())
    assert f"{told}, known by its files" in page
    assert "Licence Toy Licence 2" in page and "Author A. Maker" in page
    assert "Made of maker/Base, Other Base" in page
    assert "Quantised somebody, importance matrix i.dat" in page
    assert "provides for tools, reasoning (enable_thinking)" in page
    assert "\x1b" not in done.out
    shares = type_shares(local_model(told).spec.tensors)
    assert [line.split()[0] for line in done.out.splitlines() if "KiB" in line][1:] == [
        *(share.type for share in shares),
        "all",
        str(told),
    ]


def test_a_kept_model_says_its_hash(localllm: Command, toy: Cache) -> None:
    blob = next(toy.folder("maker/Toy-GGUF").glob("blobs/*"))
    for name in ("maker/Toy-GGUF", "maker/toy-gguf:f16"):
        assert f"  sha256 {blob.name}" in localllm("show", name).out.splitlines()


def test_a_recorded_shape_is_described_without_a_file(localllm: Command, cache: Cache) -> None:
    done = localllm("show", "llama-3-8b:Q4_K_M")
    page = " ".join(done.out.split())
    assert "known by its recorded shape" in page and "32 heads of 128 over 8 KV heads" in page
    assert "Meta's own repository wants its licence accepted first" in page
    failed = localllm("show", "llama-3-8b:Q4_K_M", "--template")
    assert failed.code == 5 and "Only its shape is recorded" in failed.err


def test_the_template_is_printed_alone_and_cannot_move_the_cursor(
    localllm: Command, told: Path
) -> None:
    done = localllm("show", str(told), "--template")
    assert done.out == TEMPLATE.replace("\x1b", "\\x1b") + "\n"
    assert localllm("show", str(told), "--template", "--tensors").code == 2


def test_every_key_and_every_tensor_can_be_listed(localllm: Command, told: Path) -> None:
    done = localllm("show", str(told), "--metadata", "--tensors")
    assert "general.license.name = Toy Licence 2" in done.out
    assert f"tokenizer.chat_template = {len(TEMPLATE)} characters: --template" in done.out
    assert "\x1b" not in done.out
    names = [tensor.name for tensor in local_model(told).spec.tensors]
    assert [line.split()[0] for line in done.out.splitlines() if ".weight " in line] == names


def test_the_document_has_what_was_asked_for(localllm: Command, told: Path) -> None:
    plain = json.loads(localllm("show", str(told), "--json").out)
    assert plain["schema"] == "localllm.show/1"
    assert plain["metadata"] is plain["tensors"] is plain["template"]["text"] is None
    assert plain["template"]["features"] == ["tools", "reasoning (enable_thinking)"]
    assert sum(share["n_bytes"] for share in plain["types"]) == sum(
        tensor.n_bytes for tensor in local_model(told).spec.tensors
    )
    full = json.loads(
        localllm("show", str(told), "--json", "--metadata", "--tensors", "--template").out
    )
    assert full["template"]["text"] == TEMPLATE
    assert full["metadata"]["general.languages"] == ["en", "de"]
    assert "tokenizer.chat_template" not in full["metadata"]
    assert full["tensors"][0]["name"] == local_model(told).spec.tensors[0].name
