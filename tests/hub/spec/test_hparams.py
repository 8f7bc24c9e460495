"""ModelSpec against llama.cpp's own reading of every architecture's header.

``tests/fixtures/hparams.json`` holds what llama.cpp 0.3.36 makes of 755 headers; see
``scripts/record_hparams.py``.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from localllm.core.model import MetadataValue, ModelSpec
from localllm.errors import LocalLLMError
from localllm.hub.gguf.reader import parse_buffer
from localllm.hub.spec.model_spec import model_spec
from tests.support.hparam_cases import ARCHITECTURES, VARIANTS, case_header, digest

FIXTURE = Path(__file__).parents[2] / "fixtures" / "hparams.json"
SWA_TYPES = ("none", "standard", "chunked", "symmetric")

SCALARS = (
    *("n_ctx_train", "n_embd", "n_layer", "n_layer_nextn", "n_embd_head_k", "n_embd_head_v"),
    *("n_embd_head_k_swa", "n_embd_head_v_swa", "n_rot", "n_rot_swa", "n_expert", "n_lora_kv"),
    *("n_embd_head_k_mla", "n_embd_head_v_mla", "ssm_d_conv", "ssm_d_inner", "ssm_d_state"),
    *("ssm_dt_rank", "ssm_n_group", "wkv_head_size", "token_shift_count", "n_shortconv_l_cache"),
    *("n_embd_head_kda", "n_embd_head_la", "is_mla", "causal_attn"),
)
PER_LAYER = ("n_head", "n_head_kv", "n_ff", "n_expert_used", "is_swa", "is_recurrent")
ONLY_WHERE_READ = ("n_expert_shared", "n_ff_shexp")
"""We read these for every architecture; it matters only to those that llama.cpp reads them for."""


@cache
def recording() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FIXTURE.read_text())
    return data


def recorded(arch: str, variant: str) -> dict[str, Any]:
    for group in recording()["variants"][variant]:
        if arch in group["architectures"]:
            answer: dict[str, Any] = group["hparams"]
            return answer
    raise KeyError((arch, variant))


def spec_of(arch: str, variant: str) -> ModelSpec:
    header = parse_buffer(case_header(arch, variant))
    return model_spec(header, source="case", stem="case")


def test_the_recording_is_of_these_cases_and_of_the_installed_library() -> None:
    record = recording()
    assert record["cases"] == digest(), "run scripts/record_hparams.py again"
    assert record["llama-cpp-python"] == version("llama-cpp-python")


@pytest.mark.parametrize("variant", VARIANTS)
def test_we_read_what_llama_cpp_reads(variant: str) -> None:
    differences, n_compared = [], 0
    for arch in ARCHITECTURES:
        theirs = recorded(arch, variant)
        if "refused" in theirs:
            continue
        n_compared += 1
        spec = spec_of(arch, variant)
        for name, ours, expected in comparison(spec, theirs):
            if ours != expected and not expected_difference(arch, name):
                differences.append(f"{arch}.{name}: llama.cpp {expected}, ours {ours}")
    assert differences == []
    assert n_compared > 125


NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    12,
    64,
    255,
    511,
    512,
    513,
    4096,
    2**16,
    2**24,
    2**31,
    2**32 - 1,
    2**64 - 1,
)
ODD_VALUES: tuple[MetadataValue, ...] = (-1, 0.5, True, "text", "", (), (0,), (1,) * 12, (0,) * 12)


@pytest.mark.parametrize("seed", range(4))
def test_no_figures_lead_to_anything_but_a_spec_or_a_sentence(seed: int) -> None:
    rng = random.Random(seed)
    n_specs = 0
    for _ in range(500):
        arch, variant = rng.choice(ARCHITECTURES), rng.choice(list(VARIANTS))
        header = parse_buffer(case_header(arch, variant))
        metadata = dict(header.metadata)
        for key in rng.sample(sorted(metadata), rng.randint(1, 6)):
            change = rng.random()
            if change < 0.2:
                del metadata[key]
            elif change < 0.7:
                metadata[key] = rng.choice(NUMBERS)
            else:
                metadata[key] = rng.choice(ODD_VALUES)
        try:
            spec = model_spec(replace(header, metadata=metadata), source="", stem="")
        except LocalLLMError as error:
            assert error.hint or error.exit_code == 2
            continue
        n_specs += 1
        assert 1 <= spec.n_layer <= 513
        assert all(spec.n_embd_k_gqa(i) >= 0 for i in range(spec.n_layer))
    assert n_specs > 50


def comparison(spec: ModelSpec, theirs: dict[str, Any]) -> list[tuple[str, object, object]]:
    """Every figure: its name, ours, llama.cpp's."""
    n = theirs["n_layer"]

    def layers(name: str) -> list[int]:
        value = theirs.get(name, 0)
        return value if isinstance(value, list) else [value] * n

    rows: list[tuple[str, object, object]] = [
        (name, getattr(spec, name), theirs.get(name, 0)) for name in SCALARS
    ]
    rows += [
        (name, [int(getattr(layer, name)) for layer in spec.layers], layers(name))
        for name in PER_LAYER
    ]
    rows += [
        (
            "n_embd_k_gqa",
            [spec.n_embd_k_gqa(i) for i in range(spec.n_layer)],
            layers("n_embd_k_gqa"),
        ),
        (
            "n_embd_v_gqa",
            [spec.n_embd_v_gqa(i) for i in range(spec.n_layer)],
            layers("n_embd_v_gqa"),
        ),
        ("n_embd_out", spec.n_embd_out or spec.n_embd, theirs["n_embd_out"]),
        ("swa_type", spec.swa_type, SWA_TYPES[theirs.get("swa_type", 0)]),
    ]
    if theirs.get("swa_type", 0):
        rows.append(("n_swa", spec.n_swa, theirs.get("n_swa", 0)))
    if any(layers("n_ff_exp")):
        ours = [layer.n_ff_exp for layer in spec.layers]
        rows.append(("n_ff_exp", ours, layers("n_ff_exp")))
    rows += [
        (name, getattr(spec, name), theirs[name]) for name in ONLY_WHERE_READ if name in theirs
    ]
    return rows


def expected_difference(arch: str, name: str) -> bool:
    """Whether llama.cpp's figure is a leftover of an array that it does not use."""
    return name == "n_expert_used" and arch in ("graniteswitch", "nanbeige")
