"""A bench row: llama-bench's fields and arithmetic, then ours."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from localllm.core.bench.row import (
    Beside,
    bench_row,
    chat_row,
    tokens_per_second,
)
from localllm.core.bench.setup import BenchSetup
from localllm.core.generation import BenchTest, EngineDevice, EngineInfo
from localllm.core.metered.readings import Unmeasured
from localllm.core.plan import Plan, TensorOverride
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB
from tests.core.test_documents import names, plan_8b
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine, mixtral

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
    kind mode quick complete invalid content_id driver machine power_w energy_j j_per_token
    j_per_token_stat j_per_token_gain power_source power_scope temperature_c clock_mhz throttled
    peak_device_bytes peak_rss_bytes predicted_ts predicted_bytes measured_bytes
    """
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
        name="llama-3-8b",
        model_path="/models/llama-3-8b.gguf",
        model_type="llama 8B Q4_K - Medium",
        n_batch=2048,
        n_ubatch=512,
        measured_bytes=5 * GiB,
    )


PP512 = BenchTest(n_prompt=512, n_gen=0)


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


def test_sampled_answers_have_a_row_of_their_own_kind() -> None:
    """60 tokens in 2 s and 30 in 1.5 s: 30 and 20 t/s."""
    answers = [(60, 2.0), (30, 1.5)]
    row = chat_row(setup(plan_8b()), n_prompt=12, n_gen=61, answers=answers, test_time="")
    assert (row["kind"], row["n_prompt"], row["n_gen"]) == ("chat", 12, 61)
    assert (row["samples_ts"], row["avg_ts"]) == ([30.0, 20.0], 25.0)
    assert list(row) == list(bench_row(setup(plan_8b()), PP512, [1], test_time=""))


def test_an_interrupted_test_says_so() -> None:
    assert bench_row(setup(plan_8b()), PP512, [1] * 5, test_time="")["complete"]
    assert not bench_row(setup(plan_8b()), PP512, [1] * 4, test_time="")["complete"]


@pytest.mark.parametrize("spoilt", [True, False])
def test_a_suspend_or_a_lost_device_spoils_a_test_and_a_missing_meter_does_not(
    spoilt: bool,
) -> None:
    energy = Unmeasured(reason="the machine slept in the meantime", spoilt=spoilt)
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="", beside=Beside(energy=energy))
    assert row["invalid"] == ([energy.reason] if spoilt else [])
    assert row["power_unknown"] == energy.reason
