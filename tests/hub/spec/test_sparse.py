"""Which blocks own an indexer, a compressed cache or an n-gram history, by the header's keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.model import MetadataValue, ModelSpec
from localllm.errors import GGUFError
from localllm.hub.gguf.reader import parse_buffer
from localllm.hub.spec.model_spec import model_spec
from tests.support.hparam_cases import case_header


def spec(arch: str, **changes: MetadataValue | None) -> ModelSpec:
    """The plain case of an architecture, 12 blocks, with keys replaced or taken away (None)."""
    header = parse_buffer(case_header(arch, "plain"))
    metadata = dict(header.metadata)
    for key, value in changes.items():
        name = f"{arch}.{key.replace('__', '.')}"
        metadata.pop(name, None)
        if value is not None:
            metadata[name] = value
    arrays = {k: v for k, v in header.arrays.items() if k in metadata or k.startswith("token")}
    return model_spec(replace(header, metadata=metadata, arrays=arrays), source="", stem="")


def indexers(model: ModelSpec) -> list[int]:
    return [i for i, layer in enumerate(model.layers) if layer.has_indexer]


def test_every_main_block_of_deepseek_3_2_owns_an_indexer() -> None:
    model = spec("deepseek32", nextn_predict_layers=2)
    assert indexers(model) == list(range(10))
    assert model.indexer_head_size == 128


def test_glm_5_2_shares_indexers_where_the_file_does_not_say() -> None:
    types = {"attention__indexer__types": None}
    assert indexers(spec("glm-dsa", **types)) == list(range(12))
    assert indexers(spec("glm-dsa", **types, context_length=2**20)) == [0, 1, 2, 6, 10]


def test_the_file_says_which_blocks_own_an_indexer() -> None:
    flags = tuple(int(i % 4 == 0) for i in range(12))
    assert indexers(spec("glm-dsa", attention__indexer__types=flags)) == [0, 4, 8]
    assert indexers(spec("hy_v4", attention__indexer__types=flags)) == [0, 4, 8]
    assert indexers(spec("hy_v4", attention__indexer__top_k=0)) == []


def test_the_leading_blocks_of_minimax_m3_are_dense() -> None:
    assert indexers(spec("minimax-m3", leading_dense_block_count=3)) == list(range(3, 12))


def test_blocks_of_deepseek_4_compress_by_their_own_ratio() -> None:
    ratios = (0, 4, 128) * 4
    model = spec("deepseek4", attention__compress_ratios=(*ratios, 0))  # one for the MTP block
    assert tuple(layer.compress_ratio for layer in model.layers) == ratios
    with pytest.raises(GGUFError, match=r"lists 3 blocks of 12"):
        spec("deepseek4", attention__compress_ratios=(0, 4, 128))


def test_an_n_gram_embedding_keeps_a_history_in_its_block() -> None:
    keys: dict[str, MetadataValue] = {
        "ple__layers": (1,),
        "ple__ngram_size": 3,
        "ple__heads_per_ngram": 4,
        "ple__conv_kernel": 4,
    }
    model = spec("qwen4exp", **keys)
    assert [i for i, layer in enumerate(model.layers) if layer.is_ple] == [1]
    assert model.ple_conv_state == (4 - 1) * 3 * 4 * 256  # 4 streams, 256 wide
    assert spec("qwen4exp").ple_conv_state == 0
    assert spec("qwen4exp", **{**keys, "ple__heads_per_ngram": 0}).ple_conv_state == 0


def test_other_architectures_have_none_of_this() -> None:
    model = spec("llama")
    assert indexers(model) == [] and model.indexer_head_size == 0
    assert not any(layer.compress_ratio or layer.is_ple for layer in model.layers)
