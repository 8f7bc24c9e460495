"""Decides what stands in the demo model's GGUF file: metadata, vocabulary, template, tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from demo_model.tokenizer import BOS, END, UNK, Tokenizer

TEMPLATE = """{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] not in ['system', 'user', 'assistant'] %}
{{- raise_exception('The demo model knows the roles system, user and assistant.') }}
{%- endif %}
{{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- endif %}"""

DESCRIPTION = (
    "A very small language model, trained from scratch by the localllm project on text that its"
    " own generator wrote. It answers questions about localllm, small talk, a few facts and small"
    " sums in English. It is for trying the program and for its tests; it knows nothing else."
)

_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def write(out: Path, shape: Any, weights: Mapping[str, Any], tok: Tokenizer, kind: str) -> None:
    """Write the model to `out`.

    `weights` maps llama.cpp's tensor names to float32 arrays (rows, columns); matrices are stored
    as `kind` (f32, f16 or q8_0), vectors as F32. `shape` is a `model.Shape`.
    """
    tensor_type, file_type = _TYPES[kind]
    w = gguf.GGUFWriter(str(out), "llama")
    w.add_type("model")
    w.add_name("localllm demo")
    w.add_author("the localllm project")
    w.add_license("MIT")
    w.add_description(DESCRIPTION)
    w.add_languages(["en"])
    w.add_file_type(file_type)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_vocab_size(shape.n_vocab)
    w.add_context_length(shape.n_ctx_train)
    w.add_embedding_length(shape.n_embd)
    w.add_block_count(shape.n_layer)
    w.add_feed_forward_length(shape.n_ff)
    w.add_head_count(shape.n_head)
    w.add_head_count_kv(shape.n_head_kv)
    w.add_rope_dimension_count(shape.head_dim)
    w.add_rope_freq_base(shape.rope_freq_base)
    w.add_layer_norm_rms_eps(shape.norm_rms_eps)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tok.pieces)
    w.add_token_scores(tok.scores())
    w.add_token_types(tok.kinds())
    w.add_bos_token_id(BOS)
    w.add_eos_token_id(END)
    w.add_eot_token_id(END)
    w.add_unk_token_id(UNK)
    w.add_pad_token_id(END)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template(TEMPLATE)
    for name, weight in weights.items():
        data = np.ascontiguousarray(weight, dtype=np.float32)
        if data.ndim == 1:
            w.add_tensor(name, data)
        else:
            packed = gguf.quants.quantize(data, tensor_type)
            w.add_tensor(name, packed, raw_dtype=tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
