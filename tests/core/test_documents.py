"""The JSON document of a plan: the names that scripts rely on."""

from __future__ import annotations

import json
from dataclasses import replace

from localllm.core.documents import plan_document
from localllm.core.hardware import Device
from localllm.core.hardware_document import hardware_from_document
from localllm.core.plan import CostEstimate, Plan, PowerEstimate, SpeedEstimate
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from tests.support.specs import gpu, llama_3_8b, machine, mixtral


def names(text: str) -> list[str]:
    return text.split()


PLAN_FIELDS = names(
    """
    schema basis verdict model hardware n_ctx n_ubatch n_batch type_k type_v flash_attn
    n_gpu_layers n_layer_total tensor_split tensor_overrides n_outputs_max swa_full
    n_threads use_mmap repack devices speed power cost reasons cliff counterfactuals
    llama_args
    """
)
MODEL_FIELDS = names(
    """
    name source arch quant n_params n_layer file_bytes n_ctx_train
    """
)
DEVICE_FIELDS = names(
    """
    name kind total_bytes free_bytes model_bytes context_bytes compute_bytes overhead_bytes
    headroom_bytes
    """
)

SPEED = SpeedEstimate(
    tg_tok_s=50.0,
    tg_low=40.0,
    tg_high=60.0,
    pp_tok_s=1000.0,
    pp_low=800.0,
    pp_high=1200.0,
    at_depth=0,
    basis="roofline",
    bound_by="memory bandwidth of CUDA0",
)


def plan_8b(*devices: Device) -> Plan:
    return make_plan(llama_3_8b(), machine(*devices), Policy(n_ctx=512))


def test_a_plan_has_every_field_of_its_schema() -> None:
    document = plan_document(plan_8b(gpu()))
    assert [name for name in PLAN_FIELDS if name not in document] == []
    assert [name for name in MODEL_FIELDS if name not in document["model"]] == []
    for device in document["devices"]:
        assert [name for name in DEVICE_FIELDS if name not in device] == []
    assert document["schema"] == "localllm.plan/1"
    assert (document["verdict"], document["basis"]) == ("fits", "formula")


def test_a_plan_survives_json() -> None:
    for plan in (plan_8b(gpu()), plan_8b(), make_plan(mixtral(), machine(gpu()), Policy())):
        document = plan_document(plan)
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_machine_of_a_plan_can_be_planned_on_again() -> None:
    plan = plan_8b(gpu(), gpu("CUDA1"))
    assert hardware_from_document(plan_document(plan)["hardware"]) == plan.hardware


def test_what_is_not_estimated_is_null() -> None:
    silent = replace(plan_8b(gpu()), speed=None, power=None, cost=None)
    document = plan_document(silent)
    assert (document["speed"], document["power"], document["cost"]) == (None, None, None)


def test_estimates_carry_their_own_fields() -> None:
    plan = replace(
        plan_8b(gpu()),
        speed=SPEED,
        power=PowerEstimate(board_w=300.0, j_per_token=6.0, basis="profile"),
        cost=CostEstimate(per_million_tokens=0.5, currency="EUR", basis="0.30 EUR/kWh"),
    )
    document = plan_document(plan)
    assert set(document["speed"]) >= set(
        names("tg_tok_s tg_low tg_high pp_tok_s pp_low pp_high at_depth basis bound_by")
    )
    assert set(document["power"]) >= {"board_w", "j_per_token", "basis"}
    assert set(document["cost"]) >= {"per_million_tokens", "currency", "basis"}


def test_every_device_of_a_plan_adds_up() -> None:
    for device in plan_document(plan_8b(gpu()))["devices"]:
        parts = ("model", "context", "compute", "overhead", "headroom", "spare")
        assert sum(device[f"{part}_bytes"] for part in parts) == device["free_bytes"]
