"""Predicted sizes against published ones.

The figures are facts read off download pages (10^9 bytes of the whole file) and out of llama.cpp's
logs and tables (GiB, of the whole file or of its tensors). A prediction must round to the printed
figure; ``scripts/check_sizes.py`` compares longer lists and explains what is not so.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from localllm.hub.known.models import KnownModel, known_model

GB, GIB = 10**9, 2**30

README = "llama.cpp, tools/quantize/README.md"
PR_6745 = "llama.cpp, pull request 6745: table of sizes"
BARTOWSKI_8B = "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF"
BARTOWSKI_70B = "bartowski/Llama-3.3-70B-Instruct-GGUF"
TENSORBLOCK = "tensorblock/Qwen2.5-3B-GGUF"
ERKHOV = "RichardErkhov/unsloth_-_Qwen2.5-32B-Instruct-gguf"
UNSLOTH = "unsloth/gpt-oss-20b-GGUF"
STRIX = "kyuz0/amd-strix-halo-toolboxes, benchmark logs"
IK_357 = "ik_llama.cpp, discussion 357: logs"
IK_334 = "ik_llama.cpp, discussion 334: log"
IK_380 = "ik_llama.cpp, issue 380: log"
XIONGJIE = "XiongjieDai/GPU-Benchmarks-on-LLM-Inference: logs"
GPUSTACK = "gpustack/gguf-parser-go, README.md"

WHOLE_FILES = [
    ("llama-3.1-8b:Q2_K", "3.18", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:IQ2_M", "2.95", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:IQ3_XS", "3.52", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:Q3_K_L", "4.32", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:Q4_K_M", "4.92", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:Q5_K_S", "5.60", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:Q6_K", "6.60", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:Q8_0", "8.54", GB, BARTOWSKI_8B),
    ("llama-3.1-8b:BF16", "16.1", GB, BARTOWSKI_8B),
    ("llama-3.3-70b:Q2_K", "26.4", GB, BARTOWSKI_70B),
    ("llama-3.3-70b:Q4_K_M", "42.5", GB, BARTOWSKI_70B),
    ("qwen2.5-3b:Q2_K", "1.27", GB, TENSORBLOCK),
    ("qwen2.5-3b:Q3_K_M", "1.59", GB, TENSORBLOCK),
    ("qwen2.5-3b:Q4_0", "1.82", GB, TENSORBLOCK),
    ("qwen2.5-3b:Q5_0", "2.17", GB, TENSORBLOCK),
    ("qwen2.5-3b:Q5_K_M", "2.22", GB, TENSORBLOCK),
    ("qwen2.5-3b:Q8_0", "3.29", GB, TENSORBLOCK),
    ("qwen2.5-32b:IQ3_XS", "13.7", GB, ERKHOV),
    ("qwen2.5-32b:IQ4_NL", "18.8", GB, ERKHOV),
    ("qwen2.5-32b:IQ4_XS", "17.9", GB, ERKHOV),
    ("qwen2.5-32b:Q3_K_L", "17.2", GB, ERKHOV),
    ("qwen2.5-32b:Q4_1", "20.6", GB, ERKHOV),
    ("gpt-oss-20b:Q2_K", "11.5", GB, UNSLOTH),
    ("gpt-oss-20b:Q4_K_M", "11.6", GB, UNSLOTH),
    ("gpt-oss-20b:Q5_K_M", "11.7", GB, UNSLOTH),
    ("gpt-oss-20b:F16", "13.8", GB, UNSLOTH),
    ("llama-3-70b:IQ1_S", "14.29", GIB, PR_6745),
    ("llama-3-70b:IQ2_XXS", "17.79", GIB, PR_6745),
    ("llama-3-70b:Q2_K_S", "22.79", GIB, PR_6745),
    ("llama-3-70b:IQ3_M", "29.74", GIB, PR_6745),
    ("llama-3-70b:Q4_K_M", "39.60", GIB, PR_6745),
    ("llama-3-70b:Q8_0", "69.83", GIB, PR_6745),
]
TENSORS = [
    ("llama-3.1-8b:IQ1_M", "2.01", GIB, README),
    ("llama-3.1-8b:IQ2_S", "2.56", GIB, README),
    ("llama-3.1-8b:IQ3_XXS", "3.04", GIB, README),
    ("llama-3.1-8b:IQ3_S", "3.42", GIB, README),
    ("llama-3.1-8b:Q3_K_S", "3.41", GIB, README),
    ("llama-3.1-8b:Q4_K_S", "4.36", GIB, README),
    ("llama-3.1-8b:F16", "14.96", GIB, README),
    ("llama-2-7b:F16", "12.55", GIB, XIONGJIE),
    ("llama-2-13b:Q4_0", "6.86", GIB, XIONGJIE),
    ("llama-2-70b:Q4_0", "36.20", GIB, XIONGJIE),
    ("qwen2.5-72b:Q4_K_M", "44.15", GIB, GPUSTACK),
    ("deepseek-r1-distill-qwen-7b:Q4_K_M", "4.36", GIB, GPUSTACK),
    ("gemma-3-27b:Q4_K_M", "15.404", GIB, IK_334),
    ("qwen3-30b-a3b:Q5_K_M", "20.228", GIB, IK_380),
    ("qwen3-235b-a22b:Q6_K", "179.754", GIB, IK_357),
    ("qwen3-235b-a22b:Q8_0", "232.769", GIB, IK_357),
    ("qwen3.6-35b-a3b:BF16", "64.60", GIB, STRIX),
    ("gemma-4-31b:BF16", "57.18", GIB, STRIX),
    ("gpt-oss-120b:MXFP4", "59.02", GIB, STRIX),
]
WITH_IMATRIX = [
    ("llama-3.1-8b:IQ4_XS", "4.45", GB, BARTOWSKI_8B),
    ("llama-3-70b:IQ4_XS", "35.30", GIB, PR_6745),
    ("llama-3-70b:IQ4_NL", "37.30", GIB, PR_6745),
]
TYPES = [
    ("llama-2-7b:Q4_0", {"f32": 65, "q4_0": 225, "q6_K": 1}, XIONGJIE),
    ("llama-2-13b:F16", {"f32": 81, "f16": 282}, XIONGJIE),
    ("llama-3-70b:Q4_0", {"f32": 161, "q4_0": 561, "q6_K": 1}, "ollama, issue 3940"),
    (
        "gemma-3-27b:IQ3_M",
        {"f32": 373, "q4_K": 131, "q6_K": 1, "iq3_s": 303},
        "llama.cpp, issue 14097",
    ),
    ("gpt-oss-120b:F16", {"f32": 433, "f16": 146, "mxfp4": 108}, "llama.cpp, issue 15105"),
]
"""Tensors of each type that a log counted."""


@cache
def known(name: str) -> KnownModel:
    model = known_model(name)
    assert model is not None
    return model


def is_printed(n_bytes: int, printed: str, unit: int) -> bool:
    """Whether a size rounds to a figure, with the digits that the figure has."""
    digits = len(printed.partition(".")[2])
    return abs(n_bytes / unit - float(printed)) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize(("name", "printed", "unit", "source"), WHOLE_FILES)
def test_a_whole_file_has_the_published_size(
    name: str, printed: str, unit: int, source: str
) -> None:
    size = known(name).spec.file_bytes
    assert is_printed(size, printed, unit), f"{size / unit:.3f} for {printed} ({source})"
    assert abs(size / unit / float(printed) - 1) < 0.005


@pytest.mark.parametrize(("name", "printed", "unit", "source"), TENSORS)
def test_the_tensors_have_the_size_that_llama_cpp_prints(
    name: str, printed: str, unit: int, source: str
) -> None:
    size = sum(tensor.n_bytes for tensor in known(name).spec.tensors)
    assert is_printed(size, printed, unit), f"{size / unit:.3f} for {printed} ({source})"
    assert abs(size / unit / float(printed) - 1) < 0.005


@pytest.mark.parametrize(("name", "printed", "unit", "source"), WITH_IMATRIX)
def test_an_importance_matrix_changes_the_size_as_published(
    name: str, printed: str, unit: int, source: str
) -> None:
    model = known(name)
    made = model.with_quant(model.spec.quant, imatrix=True).spec.file_bytes
    assert is_printed(made, printed, unit), f"{made / unit:.3f} for {printed} ({source})"
    assert made < model.spec.file_bytes
    assert not is_printed(model.spec.file_bytes, printed, unit)


@pytest.mark.parametrize(("name", "types", "source"), TYPES)
def test_as_many_tensors_have_each_type_as_a_log_counted(
    name: str, types: dict[str, int], source: str
) -> None:
    assert Counter(tensor.type for tensor in known(name).spec.tensors) == types, source


def test_a_download_page_and_the_recorded_shape_agree_on_the_vocabulary_to_a_megabyte() -> None:
    """The published Q4_K_M of Llama 3 8B Instruct has 4,920,734,272 bytes."""
    assert abs(known("llama-3-8b:Q4_K_M").spec.file_bytes - 4_920_734_272) < 1_000_000
