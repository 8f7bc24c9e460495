"""The types that ``llama-quantize`` gives, held against the installed llama.cpp tensor by tensor.

The library quantises in a dry run (``llama_model_quantize_params.dry_run``): it reads a hollow file
and says what each tensor would become.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_cpp as bindings
import pytest

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.quant_mix import DEFAULT_TYPES, NEEDS_IMATRIX, Mixture, is_70b, tensor_types
from localllm.core.quant_mix_kept import fitting_type, quantisable, unquantised_type
from localllm.hub.gguf.types import FILE_TYPES
from localllm.hub.known.models import KnownModel, known_model
from tests.support.ggml import silence

QUANTISED = [name for name, kind in DEFAULT_TYPES.items() if TYPES_BY_NAME[kind].quantised]
FILE_TYPE_IDS = {name: number for number, name in FILE_TYPES.items()}
LINE = re.compile(
    r"\] +(\S+) +- \[[^\]]*\], type = +(\S+), "
    r"(?:size = +\S+ MiB(?: -> +\S+ MiB \((\S+)\))?)?"
)
MODELS = [
    "llama-3-8b",  # 8 KV heads of 32
    "llama-2-7b",  # as many KV heads as query heads
    "llama-3-70b",  # llama.cpp's "70B": better V
    "qwen2.5-72b",  # the same by its architecture; rows of 29568 fill no block of 256
    "mixtral-8x7b",  # eight experts
    "granite-3.1-1b-a400m",  # 32 experts
    "qwen2.5-0.5b",  # output tied, rows of 896
    "deepseek-v2-lite",  # latent attention: 3-dimensional attn_k_b, attn_v_b
    "gemma-4-e2b",  # two embeddings, n_ff differs by block
    "nemotron-h-8b",  # blocks without attention or feed forward
    "lfm2-8b-a1b",  # convolutions, attention, experts in turn
    "phi-4-mini",  # fused QKV
]
LARGE = ("llama-3-70b", "qwen2.5-72b", "gemma-4-e2b", "nemotron-h-8b", "deepseek-v2-lite")
"""Many tensors: every third quantisation is enough."""
WITH_IMATRIX_TOO = ("llama-2-7b", "mixtral-8x7b")


class _ImatrixData(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.POINTER(ctypes.c_float)),
        ("size", ctypes.c_size_t),
    )


ONE_ENTRY = (_ImatrixData * 2)(
    _ImatrixData(name=b"none", data=(ctypes.c_float * 1)(1.0), size=1), _ImatrixData()
)
"""An importance matrix that names no tensor: the rules only ask whether there is one."""


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @bindings.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, user_data: object) -> None:
        lines.append(text.decode(errors="replace"))

    bindings.llama_log_set(keep, None)
    yield lines
    with silence():
        pass


def known(name: str) -> KnownModel:
    model = known_model(name)
    assert model is not None
    return model


def quantised_by_llama_cpp(path: Path, quant: str, log: list[str], imatrix: bool) -> dict[str, str]:
    params = bindings.llama_model_quantize_default_params()
    params.ftype, params.dry_run, params.nthread = FILE_TYPE_IDS[quant], True, 1
    if imatrix:
        params.imatrix = ctypes.cast(ONE_ENTRY, type(params.imatrix))
    log.clear()
    out = path.with_name("never-written.gguf")
    failed = bindings.llama_model_quantize(
        str(path).encode(), str(out).encode(), ctypes.byref(params)
    )
    assert not failed, "".join(log[-3:])
    return {name: new or old for name, old, new in LINE.findall("".join(log))}


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(
    name: str, tmp_path: Path, log: list[str]
) -> None:
    model = known(name)
    (path,) = model.with_quant("BF16").header_files(tmp_path, vocabulary=False)
    for quant in QUANTISED[::3] if name in LARGE else QUANTISED:
        both = (False, True) if name in WITH_IMATRIX_TOO else (False,)
        for imatrix in (True,) if quant in NEEDS_IMATRIX else both:
            expected = quantised_by_llama_cpp(path, quant, log, imatrix)
            tensors = model.with_quant(quant, imatrix=imatrix).spec.tensors
            assert {each.name: each.type for each in tensors} == expected, (quant, imatrix)


def test_a_seventieth_billion_is_a_word_for_80_blocks_with_grouped_heads() -> None:
    assert is_70b("llama", 80, n_head=64, n_head_kv=8)
    assert not is_70b("llama", 80, n_head=64, n_head_kv=64)
    assert not is_70b("llama", 32, n_head=32, n_head_kv=8)
    assert is_70b("qwen2", 80, n_head=64, n_head_kv=8)
    assert not is_70b("qwen3", 80, n_head=64, n_head_kv=8)


def test_norms_routers_and_vectors_are_never_quantised() -> None:
    assert not quantisable("blk.0.attn_norm.weight", (4096,))
    assert not quantisable("blk.0.ffn_gate_inp.weight", (4096, 128))
    assert not quantisable("blk.0.attn_q.bias", (4096, 2))
    assert not quantisable("blk.0.attn_q.weight", (4096, 1))
    assert quantisable("blk.0.ffn_gate_exps.weight", (4096, 1024, 8))
    assert unquantised_type("blk.0.ffn_gate_inp.weight", (4096, 128), "bf16") == "f32"
    assert unquantised_type("blk.0.attn_rel_b.weight", (4096, 128), "bf16") == "bf16"


def test_rows_that_fill_no_block_fall_back_to_smaller_blocks_and_then_to_f16() -> None:
    assert fitting_type("q4_K", 4096) == "q4_K"
    assert fitting_type("q4_K", 4096 + 32) == "q5_0"
    assert fitting_type("q6_K", 896) == "q8_0"
    assert fitting_type("q4_K", 100) == "f16"


@pytest.mark.parametrize("quant", DEFAULT_TYPES)
def test_every_quantisation_has_a_number_in_the_format(quant: str) -> None:
    assert quant in FILE_TYPE_IDS


def test_an_unknown_quantisation_is_a_mistake_of_the_caller() -> None:
    mixture = Mixture(quant="Q4_K_XXL", arch="llama", n_layer=1, n_gqa=1)
    with pytest.raises(KeyError):
        tensor_types([("output.weight", (256, 256))], mixture)
