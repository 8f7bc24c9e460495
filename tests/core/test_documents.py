"""The JSON documents: the names that scripts rely on, and the arithmetic of a bench row."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from localllm.core.documents import BenchSetup, bench_row, plan_document, tokens_per_second
from localllm.core.generation import BenchTest, EngineDevice, EngineInfo
from localllm.core.hardware import Device
from localllm.core.hardware_document import hardware_from_document
from localllm.core.plan import CostEstimate, Plan, PowerEstimate, SpeedEstimate, TensorOverride
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine, mixtral


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

LLAMA_BENCH_FIELDS = names(
    """
    build_commit build_number cpu_info gpu_info backends model_filename model_type
    model_size model_n_params n_batch n_ubatch n_threads cpu_mask cpu_strict poll type_k
    type_v n_gpu_layers n_cpu_moe split_mode main_gpu no_kv_offload flash_attn devices
    tensor_split tensor_buft_overrides load_mode lazy_mode embeddings no_op_offload no_host
    repack fit_target fit_min_ctx n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts
    stddev_ts
    """
)
"""``test::get_fields`` of tools/llama-bench/llama-bench.cpp, in order, as of 0.3.36."""

OUR_FIELDS = names(
    """
    power_w energy_j j_per_token power_source predicted_ts predicted_bytes measured_bytes
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


def engine(*devices: EngineDevice) -> EngineInfo:
    return EngineInfo(
        version="0.3.36",
        system_info="CPU : AVX2 = 1",
        devices=(*devices, engine_device("CPU", "Test CPU", "cpu")),
        supports_rpc=True,
        library_path="/lib/libllama.so",
        build_commit="0c1e570",
    )


def engine_device(name: str, description: str, kind: str) -> EngineDevice:
    return EngineDevice(
        name=name,
        description=description,
        type=kind,  # type: ignore[arg-type]
        total_bytes=24 * GiB,
        free_bytes=23 * GiB,
    )


def setup(plan: Plan, *devices: EngineDevice) -> BenchSetup:
    return BenchSetup(
        plan=plan,
        engine=engine(*devices),
        model_path="/models/llama-3-8b.gguf",
        model_type="llama 8B Q4_K - Medium",
        n_batch=2048,
        n_ubatch=512,
        measured_bytes=5 * GiB,
    )


def plan_8b(*devices: Device) -> Plan:
    return make_plan(llama_3_8b(), machine(*devices), Policy(n_ctx=512))


PP512 = BenchTest(n_prompt=512, n_gen=0)


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


def test_a_bench_row_begins_with_llama_benchs_fields_in_order() -> None:
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="2026-01-02T03:04:05Z")
    assert len(LLAMA_BENCH_FIELDS) == 42
    assert list(row)[:44] == [*LLAMA_BENCH_FIELDS, "samples_ns", "samples_ts"]
    assert [name for name in OUR_FIELDS if name not in row] == []
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_rates_are_averaged_with_the_sample_deviation() -> None:
    """512 tokens in 1 s and in 2 s: 512 and 256 t/s; mean 384, deviation 256 / sqrt(2)."""
    row = bench_row(setup(plan_8b()), PP512, [10**9, 2 * 10**9], test_time="")
    assert row["samples_ts"] == [512.0, 256.0]
    assert row["avg_ts"] == 384.0
    assert row["stddev_ts"] == pytest.approx(256 / 2**0.5)
    assert row["avg_ns"] == 1_500_000_000
    assert row["stddev_ns"] == 707_106_781


def test_one_repetition_has_no_deviation() -> None:
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="")
    assert (row["stddev_ns"], row["stddev_ts"]) == (0, 0.0)


def test_a_mixed_test_counts_prompt_and_generated_tokens() -> None:
    test = BenchTest(n_prompt=512, n_gen=128)
    assert tokens_per_second(test, [2 * 10**9]) == [320.0]


def test_the_size_of_a_model_is_that_of_its_tensors() -> None:
    plan = plan_8b()
    row = bench_row(setup(plan), PP512, [10**9], test_time="")
    assert row["model_size"] == sum(t.n_bytes for t in plan.model.tensors)
    assert row["model_size"] < plan.model.file_bytes


def test_predictions_stand_beside_the_measurement() -> None:
    plan = plan_8b(gpu())
    assert plan.speed is not None and plan.speed.decode is not None
    row = bench_row(setup(plan), BenchTest(n_prompt=0, n_gen=1), [10**9], test_time="")
    assert row["predicted_ts"] == pytest.approx(plan.speed.decode.tok_s)
    assert row["predicted_ts_low"] < row["predicted_ts"] < row["predicted_ts_high"]
    assert row["predicted_ts_basis"] == "formula"
    kept = sum(device.self_bytes - device.mapped_bytes for device in plan.devices)
    assert row["predicted_bytes"] == kept  # the mapped file is in neither figure
    assert row["measured_bytes"] == 5 * GiB


def test_without_an_estimate_nothing_is_predicted() -> None:
    row = bench_row(setup(replace(plan_8b(), speed=None)), PP512, [10**9], test_time="")
    kinds = names("predicted_ts predicted_ts_low predicted_ts_high predicted_ts_basis")
    assert [row[name] for name in kinds] == [None] * 4


def test_power_is_null_with_a_reason_never_zero() -> None:
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="")
    assert [row[name] for name in ("power_w", "energy_j", "j_per_token", "power_source")] == [
        None
    ] * 4
    assert row["power_unknown"]


def test_backends_are_named_as_llama_bench_names_them() -> None:
    plan = plan_8b()
    cuda = [engine_device(f"CUDA{i}", "RTX", "gpu") for i in range(2)]
    assert setup(plan).backends == "CPU"
    assert setup(plan, *cuda).backends == "CUDA"
    row = bench_row(setup(plan, *cuda), PP512, [10**9], test_time="")
    assert (row["gpu_info"], row["cpu_info"]) == ("RTX, RTX", "Test CPU")


def test_devices_say_what_was_used() -> None:
    def devices(plan: Plan) -> str:
        return str(bench_row(setup(plan), PP512, [10**9], test_time="")["devices"])

    assert devices(plan_8b()) == "auto"
    assert devices(plan_8b(gpu())) == "CUDA0"
    assert devices(make_plan(llama_3_8b(), machine(gpu()), Policy(n_gpu_layers=0))) == "none"
    two = make_plan(llama_3_70b(), machine(gpu(), gpu("CUDA1")), Policy(n_ctx=512))
    assert devices(two) == "CUDA0/CUDA1"
    row = bench_row(setup(two), PP512, [10**9], test_time="")
    assert row["tensor_split"] == "/".join(f"{n:.2f}" for n in two.tensor_split)


def test_experts_in_ram_are_said_once() -> None:
    """llama-bench names ``n_cpu_moe``, or the overrides where there are others."""
    plan = make_plan(mixtral(), machine(gpu()), Policy(n_cpu_moe=4, n_ctx=512))
    by_count = bench_row(replace(setup(plan), n_cpu_moe=4), PP512, [10**9], test_time="")
    assert (by_count["n_cpu_moe"], by_count["tensor_buft_overrides"]) == (4, "none")
    by_hand = replace(
        plan, tensor_overrides=(TensorOverride(pattern="exps", buffer_type="CPU"),) * 2
    )
    row = bench_row(setup(by_hand), PP512, [10**9], test_time="")
    assert (row["n_cpu_moe"], row["tensor_buft_overrides"]) == (0, "exps=CPU;exps=CPU")


@pytest.mark.parametrize(("word", "number"), [("auto", -1), ("off", 0), ("on", 1)])
def test_flash_attention_is_llama_cpps_number(word: str, number: int) -> None:
    plan = replace(plan_8b(), flash_attn=word)  # type: ignore[arg-type]
    assert bench_row(setup(plan), PP512, [10**9], test_time="")["flash_attn"] == number
