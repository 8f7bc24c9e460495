"""Where another engine is the right one: when it is said, and that its arithmetic adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.advice import advice, best_serving, breakeven_streams, streams_by_memory
from localllm.core.breakdown import MemoryModel
from localllm.core.estimate import Estimator
from localllm.core.hardware import Device, Hardware
from localllm.core.model import ModelSpec
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.solution import Solution
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine


def h100(name: str = "CUDA0", *, nvlink_gb_s: float | None = 900.0) -> Device:
    card = gpu(name, free=78 * GiB, bandwidth_gb_s=3350.0)
    return replace(
        card,
        description="NVIDIA H100 80GB HBM3",
        total_bytes=80 * GiB,
        compute_capability=(9, 0),
        memory_type="HBM3",
        fp16_tflops=989.4,
        fp8_tflops=1979.0,
        nvlink_gb_s=nvlink_gb_s,
    )


def rtx_4090(name: str = "CUDA0") -> Device:
    return replace(gpu(name), compute_capability=(8, 9), fp16_tflops=165.2, fp8_tflops=330.3)


def said(model: ModelSpec, hardware: Hardware, policy: Policy | None = None) -> str | None:
    policy = policy or Policy()
    solution = solved(model, hardware, policy)
    speed = Estimator(model, hardware, policy).estimate(solution).speed
    return advice(model, hardware, policy, solution, speed)


def solved(model: ModelSpec, hardware: Hardware, policy: Policy | None = None) -> Solution:
    return solve(MemoryModel(model, (), hardware.host), hardware, policy or Policy())


def test_one_person_at_a_desktop_is_told_nothing() -> None:
    assert said(llama_3_8b(), machine(rtx_4090())) is None
    assert said(llama_3_8b(), machine()) is None


def test_many_streams_on_a_card_are_sent_to_a_serving_engine() -> None:
    text = said(llama_3_8b(), machine(rtx_4090()), Policy(n_seq=16))
    assert text is not None
    assert text.startswith("For 16 streams at once vLLM or SGLang with FP8 weights")
    assert "% of the FP8 arithmetic of the Test GPU" in text
    assert said(llama_3_8b(), machine(rtx_4090()), Policy(n_seq=4)) is None


def test_a_data_centre_card_with_fp8_is_named_with_what_lies_idle() -> None:
    text = said(llama_3_8b(), machine(h100()))
    assert text is not None
    assert "people or agents at once vLLM or SGLang with FP8 weights is the better" in text
    assert "llama.cpp computes nothing in FP8" in text


def test_fp8_arithmetic_takes_as_long_as_reading_at_295_streams_of_an_h100() -> None:
    """1979e12 / 3.35e12 operations a byte, 1.04 bytes a weight, two operations a weight."""
    serving = best_serving(llama_3_8b(), machine(h100()), solved(llama_3_8b(), machine(h100())))
    assert serving is not None
    streams = breakeven_streams(llama_3_8b(), h100(), serving.kept_in)
    assert streams is not None
    assert streams == pytest.approx(1979e12 / 3.35e12 * 1.04 / 2)
    mixture = replace(llama_3_8b(), n_expert=8, n_expert_used=2)
    assert breakeven_streams(mixture, h100(), serving.kept_in) == pytest.approx(4 * streams)
    assert (
        breakeven_streams(llama_3_8b(), replace(h100(), fp8_tflops=None), serving.kept_in) is None
    )


def test_what_leaves_no_room_for_caches_in_fp8_is_served_in_four_bits() -> None:
    one = machine(h100(nvlink_gb_s=None))
    model = llama_3_70b()
    serving = best_serving(model, one, solved(model, one))
    assert serving is not None
    assert serving.kept_in.name == "AWQ (4-bit)"
    assert streams_by_memory(model, solved(model, one), serving) >= 8


def test_linked_cards_beside_the_plan_s_own_hold_it_in_fp8() -> None:
    two = machine(h100("CUDA0"), h100("CUDA1"))
    text = said(llama_3_70b(), two)
    assert text is not None
    assert "FP8 weights over 2 cards (--tensor-parallel-size 2)" in text
    apart = machine(h100("CUDA0", nvlink_gb_s=None), h100("CUDA1", nvlink_gb_s=None))
    text = said(llama_3_70b(), apart)
    assert text is not None
    assert "AWQ (4-bit) weights is" in text


def test_equal_linked_cards_that_work_in_turns_are_worth_a_word() -> None:
    pair = [replace(gpu(f"CUDA{i}"), compute_capability=(8, 0)) for i in range(2)]
    model = llama_3_70b()
    assert said(model, machine(*pair)) is None
    linked = machine(*(replace(card, nvlink_gb_s=600.0) for card in pair))
    text = said(model, linked)
    assert text is not None
    assert text.startswith("The 2 cards work one after another")
    assert "--tensor-parallel-size 2" in text


def test_what_no_engine_but_llama_cpp_runs_here_stays_with_it() -> None:
    spilled = said(llama_3_70b(), machine(rtx_4090()), Policy(n_seq=16, n_ctx=4096))
    assert spilled is None
    metal = replace(gpu(), backend="metal", unified=True)
    assert said(llama_3_8b(), machine(metal), Policy(n_seq=16)) is None
