"""ModelSpec of known shapes, by hand arithmetic; and of files that are no models or lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.core.model import ModelSpec
from localllm.errors import GGUFError, UsageError
from localllm.hub.gguf.reader import parse_buffer
from localllm.hub.spec.model_spec import model_spec
from tests.support import shapes
from tests.support.gguf_maker import model_header
from tests.support.gguf_writer import (
    F32,
    I32,
    U32,
    Tensor,
    Value,
    array,
    f32,
    header_bytes,
    pad,
    scalar,
    string,
    strings,
    u32,
)
from tests.support.shapes import Shape, metadata, tensors

Changes = Mapping[str, Value | None]


def spec_of(shape: Shape, changes: Changes | None = None, *, quant: str = "Q4_K_M") -> ModelSpec:
    """The spec of a shape without its vocabulary, with keys changed or (None) taken away."""
    bare = shape.without_vocabulary()
    changed = {**metadata(bare, quant), **(changes or {})}
    keys = {key: value for key, value in changed.items() if value is not None}
    return spec_from(keys, tensors(bare, quant))


def spec_from(keys: dict[str, Value], table: list[Tensor] | None = None) -> ModelSpec:
    table = [Tensor("token_embd.weight", "f32", (8, 8))] if table is None else table
    header = header_bytes(keys, table)
    size = pad(len(header), 32) + sum(pad(tensor.n_bytes, 32) for tensor in table)
    return model_spec(parse_buffer(header, size), source="case", stem="stem")


def data_bytes(spec: ModelSpec) -> int:
    return sum(tensor.n_bytes for tensor in spec.tensors)


def test_llama_3_8b_by_hand() -> None:
    spec = spec_of(shapes.LLAMA_3_8B)
    per_layer = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336 + 2 * 4096
    assert spec.n_params == 32 * per_layer + 2 * 128_256 * 4096 + 4096 == 8_030_261_248
    assert (spec.arch, spec.quant, spec.n_layer, spec.n_layer_total) == ("llama", "Q4_K_M", 32, 33)
    assert (spec.n_embd, spec.n_vocab, spec.n_ctx_train) == (4096, 128_256, 8192)
    assert (spec.n_embd_head_k, spec.n_embd_head_v, spec.n_rot) == (128, 128, 128)
    assert spec.n_embd_k_gqa(31) == spec.n_embd_v_gqa(0) == 8 * 128
    assert {(layer.n_head, layer.n_head_kv, layer.n_ff) for layer in spec.layers} == {
        (32, 8, 14336)
    }
    assert all(layer.has_kv and not layer.is_swa for layer in spec.layers)
    assert not spec.tied_embeddings


def test_llama_3_8b_at_q4_k_m_has_the_size_of_the_published_file() -> None:
    """4,920,734,272 bytes, of which 7.8 MB are the header with the real vocabulary."""
    spec = spec_of(shapes.LLAMA_3_8B)
    half = sum(tensor.type == "q6_K" for tensor in spec.tensors)
    assert half == 16 + 16 + 1  # attn_v and ffn_down of 16 blocks, and the output
    assert data_bytes(spec) == 4_912_898_048
    assert 7.8e6 < 4_920_734_272 - data_bytes(spec) < 7.9e6


@pytest.mark.parametrize(
    ("name", "n_params"),
    [
        ("llama-3-70b", 70_553_706_496),
        ("llama-3.1-8b", 8_030_261_312),
        ("llama-3.1-405b", 405_853_388_864),
        ("llama-3.2-1b", 1_235_814_432),
        ("llama-3.2-3b", 3_212_749_888),
        ("mixtral-8x7b", 46_702_792_704),
        ("mixtral-8x22b", 140_620_634_112),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-32b", 32_762_123_264),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("gpt-oss-20b", 20_914_757_184),
        ("gpt-oss-120b", 116_829_156_672),
        ("deepseek-v2-lite", 15_706_484_224),
        ("lfm2-1.2b", 1_170_340_608),
        ("mamba-130m", 129_135_360),
    ],
)
def test_the_shapes_have_the_published_numbers_of_parameters(name: str, n_params: int) -> None:
    assert spec_of(shapes.SHAPES[name], quant="F16").n_params == n_params


def test_a_tied_model_has_one_embedding() -> None:
    spec = spec_of(shapes.LLAMA_32_1B)
    assert spec.tied_embeddings
    embedding = next(tensor for tensor in spec.tensors if tensor.name == "token_embd.weight")
    assert embedding.type == "q6_K"


def test_the_tensors_say_what_an_expert_is() -> None:
    """Mixtral stores the width of an expert under ``feed_forward_length``."""
    spec = spec_of(shapes.MIXTRAL_8X7B)
    assert (spec.n_expert, spec.n_expert_used, spec.n_ff_exp) == (8, 2, 14336)
    assert {layer.n_expert_used for layer in spec.layers} == {2}
    assert spec_of(shapes.QWEN3_30B_A3B).n_ff_exp == 768


def test_leading_dense_blocks_use_no_experts() -> None:
    keys = metadata(shapes.TOY_MOE.without_vocabulary(), "F16")
    table = [
        tensor
        for tensor in tensors(shapes.TOY_MOE, "F16")
        if not (tensor.name.startswith("blk.0.") and "exps" in tensor.name)
    ]
    spec = spec_from(keys, table)
    assert [layer.n_expert_used for layer in spec.layers] == [0, 2, 2, 2]
    assert [layer.n_ff_exp for layer in spec.layers] == [0, 192, 192, 192]


def test_windows_follow_the_architecture_or_the_file() -> None:
    spec = spec_of(shapes.GEMMA_3_4B)
    assert (spec.n_swa, spec.swa_type) == (1024, "standard")
    assert [i for i, layer in enumerate(spec.layers) if not layer.is_swa] == [5, 11, 17, 23, 29]
    listed = array(I32, [1, 0] * 17)
    pattern = {"gemma3.attention.sliding_window_pattern": listed}
    assert [layer.is_swa for layer in spec_of(shapes.GEMMA_3_4B, pattern).layers][:3] == [
        True,
        False,
        True,
    ]
    none = spec_of(shapes.GEMMA_3_4B, {"gemma3.attention.sliding_window": u32(0)})
    assert none.swa_type == "none" and not any(layer.is_swa for layer in none.layers)


def test_latent_attention_caches_one_row_for_all_heads() -> None:
    spec = spec_of(shapes.DEEPSEEK_V2_LITE)
    assert spec.is_mla and spec.n_lora_kv == 512
    assert spec.n_embd_k_gqa(0) == 512 + 64
    assert [layer.n_expert_used for layer in spec.layers][:2] == [0, 6]
    assert spec.n_expert_shared == 2
    assert not spec_of(shapes.LLAMA_3_8B).is_mla


def test_a_hybrid_has_a_cache_only_where_it_attends() -> None:
    spec = spec_of(shapes.LFM2_1_2B)
    attending = [i for i, layer in enumerate(spec.layers) if layer.has_kv]
    assert attending == [2, 5, 8, 10, 12, 14]
    assert all(layer.is_recurrent != layer.has_kv for layer in spec.layers)
    assert spec.n_shortconv_l_cache == 3


def test_a_state_space_model_has_no_cache() -> None:
    spec = spec_of(shapes.MAMBA_130M)
    assert all(layer.is_recurrent and not layer.has_kv for layer in spec.layers)
    assert (spec.n_embd_head_k, spec.n_embd_k_gqa(0)) == (0, 0)
    assert (spec.ssm_d_conv, spec.ssm_d_inner, spec.ssm_d_state) == (4, 1536, 16)


def test_per_layer_heads_come_back_layer_by_layer() -> None:
    heads = array(I32, [8, 8, 0, 4])
    spec = spec_of(shapes.TOY, {"llama.attention.head_count_kv": heads})
    assert [layer.n_head_kv for layer in spec.layers] == [8, 8, 0, 4]
    assert [spec.n_embd_k_gqa(i) for i in range(4)] == [128, 128, 0, 64]
    assert spec.metadata["llama.attention.head_count_kv"] == (8, 8, 0, 4)


def test_an_unknown_architecture_still_has_a_spec() -> None:
    keys = metadata(shapes.TOY.without_vocabulary(), "F16")
    keys = {key.replace("llama.", "zebra."): value for key, value in keys.items()}
    keys["general.architecture"] = string("zebra")
    spec = spec_from(keys)
    assert (spec.arch, spec.n_layer, spec.n_embd_k_gqa(0)) == ("zebra", 4, 32)


def test_a_model_without_a_name_is_called_after_its_file() -> None:
    assert spec_of(shapes.TOY, {"general.name": None}).name == "stem"
    assert spec_of(shapes.TOY, {"general.name": string(" . ")}).name == "stem"


def test_a_name_cannot_write_to_the_terminal() -> None:
    evil = string("Good\x1b[2J\x07 \r\n\u202eledoM\u2066" + "x" * 500)
    name = spec_of(shapes.TOY, {"general.name": evil}).name
    assert name.startswith("Good\\x1b[2J\\x07 ")
    assert name.isprintable() and len(name) <= 100 and "\n" not in name


@pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "MXFP4"])
def test_the_quantisation_is_the_one_that_the_file_states(quant: str) -> None:
    assert spec_of(shapes.TOY_K_QUANT, quant=quant).quant == quant


def test_without_a_stated_quantisation_most_bytes_decide() -> None:
    assert spec_of(shapes.TOY_K_QUANT, {"general.file_type": None}).quant == "Q4_K"
    assert spec_of(shapes.TOY_K_QUANT, {"general.file_type": u32(999)}).quant == "Q4_K"
    assert spec_of(shapes.TOY_K_QUANT, {"general.file_type": u32(1024 + 15)}).quant == "Q4_K_M"


def test_the_vocabulary_is_counted_where_it_is() -> None:
    assert spec_of(shapes.TOY).n_vocab == 1024
    assert spec_of(shapes.TOY, {"llama.vocab_size": None}).n_vocab == 1024  # token_embd's rows
    tokens = strings(["a", "b"])
    assert spec_of(shapes.TOY, {"tokenizer.ggml.tokens": tokens}).n_vocab == 2
    header, size = model_header(shapes.TOY, quant="F16")
    spec = model_spec(parse_buffer(header, size), source="", stem="")
    assert spec.n_vocab == 1024 and spec.has_chat_template


LIES: dict[str, tuple[Changes, str]] = {
    "no blocks": ({"llama.block_count": u32(0)}, "block_count is 0; 1 to 512 can be"),
    "2^31 blocks": ({"llama.block_count": u32(2**31)}, "block_count is 2,147,483,648"),
    "blocks unsaid": ({"llama.block_count": None}, "block_count is missing"),
    "blocks in words": (
        {"llama.block_count": string("many")},
        'block_count is "many", not a whole',
    ),
    "blocks in halves": ({"llama.block_count": f32(4.5)}, "block_count is 4.5, not a whole number"),
    "a list of blocks": ({"llama.block_count": array(U32, [4])}, "block_count is"),
    "a long list": ({"llama.block_count": array(U32, [4] * 5000)}, "a list where one number"),
    "no heads": ({"llama.attention.head_count": u32(0)}, "head_count is 0"),
    "heads unsaid": ({"llama.attention.head_count": None}, "head_count is 0"),
    "2^31 heads": ({"llama.attention.head_count": u32(2**31)}, "head_count is 2,147,483,648"),
    "2^31 KV heads": ({"llama.attention.head_count_kv": u32(2**31)}, "head_count_kv is 2,147"),
    "negative heads": ({"llama.attention.head_count": scalar(I32, -4)}, "head_count is -4"),
    "heads of three blocks": (
        {"llama.attention.head_count_kv": array(I32, [1, 2, 3])},
        "head_count_kv lists 3 blocks of 4",
    ),
    "heads of 5,000 blocks": (
        {"llama.attention.head_count_kv": array(I32, [1] * 5000)},
        "head_count_kv lists 5,000 blocks of 4",
    ),
    "heads as floats": (
        {"llama.attention.head_count_kv": array(F32, [1.0] * 4)},
        "head_count_kv is 1.0, not a whole number",
    ),
    "no width": ({"llama.embedding_length": u32(0)}, "embedding_length is 0"),
    "2^31 wide": ({"llama.embedding_length": u32(2**31)}, "embedding_length is 2,147,483,648"),
    "no context": ({"llama.context_length": u32(0)}, "context_length is 0"),
    "2^31 of context": ({"llama.context_length": u32(2**31)}, "context_length is 2,147,483,648"),
    "2^31 tokens": ({"llama.vocab_size": u32(2**31)}, "vocab_size is 2,147,483,648"),
    "2^31 experts": ({"llama.expert_count": u32(2**31)}, "expert_count is 2,147,483,648"),
    "more experts used than there are": (
        {"llama.expert_count": u32(2), "llama.expert_used_count": u32(4)},
        "expert_used_count is 4 of 2 experts",
    ),
    "experts that nobody uses": ({"llama.expert_count": u32(8)}, "expert_used_count is 0 of 8"),
    "more MTP blocks than blocks": (
        {"llama.nextn_predict_layers": u32(9)},
        "nextn_predict_layers is",
    ),
    "causal by halves": ({"llama.attention.causal": f32(0.5)}, "neither true nor false"),
}


@pytest.mark.parametrize("name", LIES)
def test_figures_that_cannot_be_are_a_sentence(name: str) -> None:
    changes, expected = LIES[name]
    with pytest.raises(GGUFError) as caught:
        spec_of(shapes.TOY, changes)
    assert f"llama.{expected}" in caught.value.message or expected in caught.value.message
    assert caught.value.hint and caught.value.exit_code == 7


MODEL_KEYS = {"general.architecture": string("llama")}
NO_MODELS: dict[str, tuple[dict[str, Value], str]] = {
    "LoRA": ({**MODEL_KEYS, "general.type": string("adapter")}, "a LoRA adapter"),
    "old LoRA": ({**MODEL_KEYS, "adapter.type": string("lora")}, "a LoRA adapter"),
    "mmproj": (
        {"general.architecture": string("clip"), "general.type": string("mmproj")},
        "a vision or audio projector",
    ),
    "old mmproj": ({"general.architecture": string("clip")}, "a vision or audio projector"),
    "imatrix": ({"general.type": string("imatrix")}, "an importance matrix"),
    "old imatrix": ({"imatrix.chunk_count": u32(7)}, "an importance matrix"),
    "control vector": ({"general.architecture": string("controlvector")}, "a control vector"),
    "image model": ({"general.architecture": string("flux")}, "an image or video model"),
    "nothing said": ({"general.name": string("x")}, "does not say what architecture"),
    "number for a name": ({"general.architecture": u32(3)}, "does not say what architecture"),
    "escapes for a name": ({"general.architecture": string("\x1b[2J")}, "is unknown"),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_a_file_that_is_no_model_is_called_by_its_name(name: str) -> None:
    keys, expected = NO_MODELS[name]
    with pytest.raises(UsageError, match=expected) as caught:
        spec_from(keys)
    assert "\x1b" not in caught.value.message
    assert caught.value.exit_code == 2


def test_a_vocabulary_without_weights_is_no_model() -> None:
    keys = metadata(shapes.TOY, "F16")
    with pytest.raises(UsageError, match="a vocabulary without a model"):
        spec_from(keys, [])
    with pytest.raises(UsageError, match="no weights"):
        spec_from(MODEL_KEYS, [])


def test_the_error_names_the_file(tmp_path: Path) -> None:
    from localllm.hub.resolve import resolve
    from tests.support.gguf_writer import write_gguf

    path = write_gguf(tmp_path / "lora.gguf", NO_MODELS["LoRA"][0], [Tensor("a", "f32", (8,))])
    sentence = r"^lora\.gguf: this file is a LoRA adapter, not a model\.$"
    with pytest.raises(UsageError, match=sentence):
        resolve(str(path))
