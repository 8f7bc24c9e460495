"""Every field of a plan that the engine is told has an effect on llama.cpp, field by field."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from localllm.core.plan import TensorOverride
from localllm.engine.devices import simulated_spec
from localllm.engine.protocol import LoadRequest, encode_request
from tests.engine.support import cpu_plan, device, gpu, in_child
from tests.support import shapes
from tests.support.amx import AMX
from tests.support.gguf_maker import make_model

DEVICES = (gpu("SIM0"), gpu("SIM1"))
ON_TWO = {
    "devices": (device("SIM0"), device("SIM1"), device("host")),
    "n_gpu_layers": 5,
    "tensor_split": (3.0, 2.0),
}
ON_ONE = {"devices": (device("SIM1"), device("host")), "n_gpu_layers": 5}
FFN = TensorOverride(pattern=r"blk\.[01]\.ffn_down", buffer_type="CPU")
FFN_BYTES = 2 * 64 * 192 * 2
"""Of two layers: ``n_embd`` x ``n_ff`` in F16."""
KV_BYTES = 2 * 64 * 2
"""K, or V, of a token and a layer: two heads of 64 in F16."""


class Case(NamedTuple):
    """One field: two plans that differ in it, and what llama.cpp says of both."""

    field: str
    model: str
    base: dict[str, Any]
    change: dict[str, Any]
    finding: str
    before: object
    after: object


def on(device_name: str, term: int, n_bytes: int) -> str:
    """A finding: a term of a device's memory in units of ``n_bytes``."""
    return f"{device_name} {term} {n_bytes}"


MODEL, CONTEXT = 0, 1
LAYER_KV = 1024 * 2 * KV_BYTES
CASES = [
    Case("n_ctx", "dense", {}, {"n_ctx": 2048}, "n_ctx", 1024, 2048),
    Case("n_batch", "dense", {}, {"n_batch": 256}, "n_batch", 512, 256),
    Case("n_ubatch", "dense", {}, {"n_ubatch": 64}, "n_ubatch", 128, 64),
    Case("n_seq", "dense", {}, {"n_seq": 2, "n_outputs_max": 2}, "n_seq", 1, 2),
    Case("n_threads", "dense", {}, {"n_threads": 3}, "n_threads", [1, 1], [3, 3]),
    Case("n_outputs_max", "dense", {}, {"n_outputs_max": 64}, "n_outputs_max", "1", "64"),
    Case("flash_attn", "dense", {}, {"flash_attn": "off"}, "flash_attn", "auto", "disabled"),
    Case("flash_attn", "dense", {}, {"flash_attn": "on"}, "flash_attn", "auto", "enabled"),
    Case("type_k", "dense", {}, {"type_k": "q8_0"}, "type_k", "f16", "q8_0"),
    Case("type_v", "dense", {}, {"type_v": "q8_0"}, "type_v", "f16", "q8_0"),
    Case("use_mmap", "dense", {}, {"use_mmap": False}, "mapped", 1, 0),
    Case("repack", "k-quant", {}, {"repack": True}, "repacked", 0, None),
    Case(
        "swa_full",
        "window",
        {"n_ctx": 4096},
        {"swa_full": True},
        # 5 of 6 layers remember 512 tokens and a micro-batch of 128, padded to 256
        on("host", CONTEXT, 2 * 2 * 32 * 2),
        4096 + 5 * 768,
        4096 + 5 * 4096,
    ),
    Case(
        "device_names",
        "dense",
        ON_TWO,
        ON_ONE | {"tensor_split": ()},
        "names",
        ["SIM0", "SIM1"],
        ["SIM1"],
    ),
    Case("n_gpu_layers", "dense", ON_TWO, {"n_gpu_layers": 3}, on("host", CONTEXT, LAYER_KV), 0, 2),
    Case(
        "tensor_split",
        "dense",
        ON_TWO,
        {"tensor_split": (1.0, 4.0)},
        on("SIM0", CONTEXT, LAYER_KV),
        3,
        1,
    ),
    Case(
        "tensor_overrides",
        "dense",
        ON_TWO,
        {"tensor_overrides": (FFN,)},
        on("SIM0", MODEL, FFN_BYTES),
        None,
        -1,  # the difference
    ),
]
TOLD_OTHERWISE = {"paths", "n_layer_total", "device_sampling"}
"""The files, three of them here; and two that only the loop looks at."""


@pytest.fixture(scope="module")
def findings(models_dir: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What llama.cpp says of each case's two plans, all of them loaded in one child."""
    files = {
        "dense": make_model(
            models_dir / "fields-dense.gguf",
            dataclasses.replace(shapes.TOY, head_dim=64),
            quant="F16",
            sparse=False,
        ),
        "k-quant": make_model(models_dir / "fields-k.gguf", shapes.TOY_K_QUANT, quant="Q4_K_M"),
        "window": make_model(models_dir / "fields-swa.gguf", shapes.TOY_GEMMA3, quant="F16"),
    }
    lines = []
    for case in CASES:
        for changes in (case.base, case.base | case.change):
            request = LoadRequest.of(cpu_plan(**changes), (str(files[case.model]),))
            lines.append(encode_request(1, request).decode())
    specs = [simulated_spec(one) for one in DEVICES]
    found = in_child(
        "import json\n"
        "from tests.engine.field_loads import main\n"
        f"main({lines!r}, json.loads({json.dumps(json.dumps(specs))}))"
    )
    return list(zip(found[::2], found[1::2], strict=True))


def value(found: dict[str, Any], finding: str) -> Any:
    """A finding by name; a term of memory comes in the unit that it was asked in."""
    if finding == "names":
        return [name for name in found["memory"] if name != "host"]
    name, *term = finding.split()
    if not term:
        return found[finding]
    index, unit = map(int, term)
    return found["memory"].get(name, [0, 0, 0])[index] / unit


def test_every_field_of_a_load_has_a_case() -> None:
    fields = {field.name for field in dataclasses.fields(LoadRequest)}
    assert {case.field for case in CASES} == fields - TOLD_OTHERWISE


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.field for case in CASES])
def test_a_field_reaches_llama_cpp(
    findings: list[tuple[dict[str, Any], dict[str, Any]]], index: int
) -> None:
    case = CASES[index]
    before, after = (value(found, case.finding) for found in findings[index])
    if case.field == "tensor_overrides":
        assert after - before == case.after
    elif case.field == "repack":
        assert before == 0
        assert after > 0 or AMX
    else:
        assert (before, after) == (case.before, case.after)
