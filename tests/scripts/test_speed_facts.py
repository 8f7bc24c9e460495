"""Our table of public speed measurements, and how a row of the public collection becomes a run."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from _fit.facts import Fact, LeftOut, facts_of_public_rows
from _fit.hosts import read_host
from _fit.names import gpu_names, model_name
from _fit.table import TABLE, lines_of, read_records
from _fit.texts import quant_of, read_test
from make_facts import summary_lines

BENCH: dict[str, Any] = {
    "id": "one",
    "gpu": "4090 24GB * 2",
    "n_gpus": 2,
    "model": "Llama 3 70B",
    "quant": "Q4_K_M",
    "gguf_size_gib": 39.59,
    "n_gpu_layers": "all",
    "backend": "CUDA",
    "flash_attn": 0,
    "tests": {"tg512": 19.22, "pp512": 839.43, "tg128@4096": 18.4},
    "build": "b2824",
    "date": "2024-05",
    "source": "XiongjieDai/GPU-Benchmarks-on-LLM-Inference README.md @aa72e0e",
    "source_id": "XiongjieDai",
    "kind": "full_gpu",
}
SERVER: dict[str, Any] = {
    "id": "two",
    "gpu": "RTX 3090",
    "n_gpus": 1,
    "model": "Qwen3-30B-A3B-GGUF",
    "quant": "UD-Q4_K_XL",
    "backend": "cuda",
    "prompt_tokens": 4096,
    "output_tokens": 256,
    "n_ctx": 8192,
    "tests": {"tg": 61.5, "pp": 1500},
    "cmd": "llama-server -m Qwen3-30B-A3B-UD-Q4_K_XL.gguf -ngl 99",
    "date": "2026-04-27",
    "source": "somewhere",
    "source_id": "localmaxxing",
    "kind": "full_gpu",
}


def made(row: dict[str, Any], **changes: Any) -> list[Fact]:
    return facts_of_public_rows([row | changes])[0]


def refused(row: dict[str, Any], **changes: Any) -> str:
    facts, left = facts_of_public_rows([row | changes])
    assert not facts
    return "; ".join(each.reason for each in left)


def test_every_line_of_the_table_is_a_fact(table: tuple[list[Fact], list[LeftOut]]) -> None:
    facts, left = table
    assert left == []
    assert len({fact.id for fact in facts}) == len(facts) > 1000


def test_the_table_covers_every_class_of_machine(
    table: tuple[list[Fact], list[LeftOut]],
) -> None:
    decode = [fact for fact in table[0] if fact.phase == "tg" and fact.bound is None]
    kinds = Counter(fact.kind for fact in decode)
    assert set(kinds) | {"dense offload"} == {
        *("one GPU", "several GPUs", "CPU only", "expert offload", "Apple", "AMD"),
        "dense offload",
    }
    assert sum(fact.tier in "AB" for fact in decode) > 400
    assert len({fact.group for fact in decode}) > 15


def test_the_table_names_a_source_for_each_fact(table: tuple[list[Fact], list[LeftOut]]) -> None:
    assert all(fact.source and fact.group for fact in table[0])


def test_layers_of_every_fact_lie_on_its_devices(table: tuple[list[Fact], list[LeftOut]]) -> None:
    for fact in table[0]:
        placement = fact.run.placement
        assert sum(placement.layers_per_device) == placement.n_gpu_layers
        assert len(placement.layers_per_device) == len(fact.run.devices)
        assert fact.run.shape.n_ctx >= fact.depth + fact.n_tokens


def test_no_fact_says_that_memory_was_read_faster_than_it_can_be(
    table: tuple[list[Fact], list[LeftOut]],
) -> None:
    for fact in table[0]:
        if fact.phase == "tg" and fact.kind == "one GPU" and not fact.model.n_expert:
            weights = sum(
                tensor.n_bytes
                for tensor in fact.model.tensors
                if tensor.name.startswith(("blk.", "output."))
                and not tensor.name.startswith("per_layer")
            )
            peak = fact.run.devices[0].memory_bandwidth_gb_s or 0
            assert fact.tok_s * weights * fact.weights_scale < 1.15e9 * peak, fact.id


def test_the_table_is_written_as_it_is_read() -> None:
    assert "".join(lines_of(read_records(TABLE))) == TABLE.read_text(encoding="utf-8")


def test_each_figure_of_a_row_is_a_fact() -> None:
    facts = {fact.id: fact for fact in made(BENCH)}
    assert set(facts) == {"one/tg512", "one/pp512", "one/tg128@4096"}
    assert (facts["one/tg512"].depth, facts["one/tg512"].mean_depth) == (0, 256)
    assert facts["one/tg128@4096"].mean_depth == 4096 + 64
    fact = facts["one/pp512"]
    assert (fact.kind, fact.tier, fact.era, fact.group) == (
        *("several GPUs", "A", "2024"),
        "XiongjieDai",
    )
    assert fact.gpus == ("rtx-4090", "rtx-4090")
    assert sorted(fact.run.placement.layers_per_device) == [40, 41]
    assert not fact.run.shape.flash_attn


def test_a_servers_prompt_is_in_the_context_when_it_answers() -> None:
    decode, prefill = made(SERVER)
    assert (decode.phase, decode.depth, decode.n_tokens) == ("tg", 4096, 256)
    assert (prefill.phase, prefill.depth, prefill.n_tokens) == ("pp", 0, 4096)
    assert decode.tier == "C"
    assert decode.quant_told == "UD-Q4_K_XL"
    assert decode.n_slots == 4  # what a server of 2026 opens


def test_a_file_of_another_size_scales_the_weights() -> None:
    assert made(BENCH)[0].weights_scale == 1
    assert made(BENCH, gguf_size_gib=43.5)[0].weights_scale == pytest.approx(1.099, abs=0.002)
    assert "weighs 3.0" in refused(BENCH, gguf_size_gib=119.0)


def test_experts_in_ram_are_counted_from_the_first_layer() -> None:
    offloaded = made(SERVER, cmd=SERVER["cmd"] + " --n-cpu-moe 12")[0]
    assert offloaded.kind == "expert offload"
    assert offloaded.run.placement.host_expert_layers == frozenset(range(12))
    everything = made(SERVER, cmd=SERVER["cmd"], offload="--cpu-moe (all of them)")[0]
    assert len(everything.run.placement.host_expert_layers) == 48
    by_pattern = made(SERVER, cmd=SERVER["cmd"] + r" -ot 'blk\.(4[0-7])\.ffn_.*_exps=CPU'")[0]
    assert by_pattern.run.placement.host_expert_layers == frozenset(range(40, 48))


def test_layers_left_in_ram_make_a_dense_offload() -> None:
    fact = made(BENCH, gpu="RTX 3090", n_gpus=1, n_gpu_layers=None, offload="-ngl 36 of 81")[0]
    assert fact.kind == "dense offload"
    assert fact.run.placement.layers_per_device == (36,)


def test_a_processor_is_read_with_its_memory() -> None:
    row = BENCH | {
        "kind": "cpu_only",
        "gpu": None,
        "cpu": "EPYC 9554 64c, 12x DDR5-5600 (runs 4800)",
    }
    fact = made(row, threads="32")[0]
    assert (fact.kind, fact.run.devices, fact.run.n_threads) == ("CPU only", (), 32)
    host = fact.run.host
    assert (host.n_cores_physical, host.memory_bandwidth_gb_s) == (64, 460.8)
    assert (host.memory_type, host.n_memory_channels) == ("DDR5-4800", 12)


@pytest.mark.parametrize(
    ("told", "gb_s", "cores"),
    [
        ("i9-10900X DDR4 quad 102 GB/s", 102, 10),
        ("Ryzen 9 5900X, DDR4-3200 dual", 51.2, 12),
        ("2x Xeon Gold 6230, 384 GB DDR4-2666", 255.9, 40),
        ("some CPU with 8-channel DDR5-4800", 307.2, None),
    ],
)
def test_memory_is_told_by_channels_and_rate(told: str, gb_s: float, cores: int | None) -> None:
    host = read_host(told)
    assert host is not None
    assert host["gb_s"] == gb_s
    assert host.get("cores") == cores


def test_a_text_without_figures_gives_no_host() -> None:
    assert read_host("RunPod, CUDA 12.1") is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"oom": True}, "out of memory"),
        ({"tests": {}}, "no figure"),
        ({"runner": "ik_llama.cpp sweep-bench"}, "another engine"),
        ({"quant": "exl3-4.0bpw"}, "another engine"),
        ({"split_mode": "row"}, "not split by layers"),
        ({"spec_decode": True}, "speculative"),
        ({"cmd": "llama-server -m x.gguf -md draft.gguf"}, "speculative"),
        ({"cmd": "llama-bench -m  -p 512"}, "names no model"),
        ({"model": "Nobody-7T"}, "no shape of the model"),
        ({"gpu": "RTX 9999"}, "no profile of the GPU"),
        ({"gpu": "Framework cluster"}, "several machines"),
        ({"quant": "NVFP4"}, "not a quantisation"),
        ({"kind": "partial_offload", "n_gpu_layers": None}, "partly in RAM"),
        ({"n_gpus": 1, "gpu": "RTX 3090"}, "does not fit"),
        ({"outlier": "thrashing"}, "outlier"),
        ({"tests": {"tg_min": 10}}, "no test of"),
        ({"tests": {"tg128": 120}}, "faster than its memory"),
    ],
)
def test_a_row_that_says_too_little_or_too_much_is_left_out_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(BENCH, **changes)


def test_a_mark_on_prefill_leaves_decode() -> None:
    facts = made(BENCH, quality="pp columns broken outlier; tg usable")
    assert {fact.phase for fact in facts} == {"tg"}


def test_a_rate_over_the_whole_time_is_a_lower_bound() -> None:
    assert made(BENCH, tests={"e2e_tps": 12.0})[0].bound == "lower"
    assert made(BENCH)[0].bound is None


def test_one_measurement_told_twice_is_one_fact() -> None:
    facts, left = facts_of_public_rows([SERVER, SERVER | {"id": "again", "cmd": None}])
    assert [fact.id for fact in facts] == ["two/tg", "two/pp"]
    assert {row.reason for row in left} == {"the same measurement as another row"}


@pytest.mark.parametrize(
    ("told", "n_gpus", "vram_gib", "names"),
    [
        ("4090 24GB * 8", None, None, ["rtx-4090"] * 8),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", 1, None, ["rtx-3060-laptop"]),
        ("RTX 5080 + RTX 3090", None, None, ["rtx-5080", "rtx-3090"]),
        ("2x RTX 5060 Ti", None, 16, ["rtx-5060-ti-16gb"] * 2),
        ("RTX 3080", 1, None, ["rtx-3080-10gb"]),
        ("RTX PRO 6000 Blackwell Max-Q (300W)", 1, None, ["rtx-pro-6000-max-q"]),
        ("M2 Ultra 76-Core GPU 192GB", 1, None, ["apple-m2-ultra-192gb"]),
        ("Tesla P40", 1, None, ["p40"]),
        ("Radeon PRO W7900", 1, None, ["radeon-pro-w7900"]),
        ("RTX 3090 (eGPU, PCIe 3.0 x4)", 1, None, ["rtx-3090"]),
        ("GTX 1080 Ti", 2, None, ["gtx-1080-ti"] * 2),
    ],
)
def test_cards_are_found_as_people_write_them(
    told: str, n_gpus: int | None, vram_gib: float | None, names: list[str]
) -> None:
    assert gpu_names(told, n_gpus, vram_gib) == names


def test_a_processor_is_not_taken_for_a_card() -> None:
    assert isinstance(gpu_names("EPYC 9654", 1, None), str)


@pytest.mark.parametrize(
    ("told", "params_b", "name"),
    [
        ("Meta-Llama-3-8B-Instruct", None, "llama-3-8b"),
        ("llama 8B", None, "llama-3.1-8b"),
        ("qwen3moe 30B.A3B", 30.53, "qwen3-30b-a3b"),
        ("deepseek-ai_DeepSeek-R1-0528-Qwen3-8B-Q4_K_M.gguf", None, "qwen3-8b"),
        ("deepseek2 671B", None, "deepseek-v3"),
        ("Phi-4 14B", 14.66, "phi-4"),
        ("phi-4-mini-instruct", None, "phi-4-mini"),
        ("qwen3:0.6b", None, "qwen3-0.6b"),
        ("Qwen3.5-2B", None, None),
        ("Phi-3-medium-4k-instruct", None, None),
        ("Qwen3VL-2B-Instruct", None, None),
        ("gemma-4-12b-it", None, None),
        ("Llama-3_1-Nemotron-Ultra-253B-v1", None, None),
    ],
)
def test_models_are_found_by_shape_and_not_by_a_similar_name(
    told: str, params_b: float | None, name: str | None
) -> None:
    assert model_name(told, params_b) == name


@pytest.mark.parametrize(
    ("told", "quant"),
    [
        ("Q3_K - Small", "Q3_K_S"),
        ("IQ4_XS - 4.25 bpw", "IQ4_XS"),
        ("MXFP4 MoE", "MXFP4"),
        ("UD-Q8_K_XL", "Q8_0"),
        ("gguf-q6_k", "Q6_K"),
        ("gemma QAT Q4", "Q4_0"),
        ("qwen3-8b-instruct-q4.gguf", "Q4_K_M"),
        ("IQ1_S_R4", None),
        ("Qwen3.5-9B", None),
    ],
)
def test_quantisations_are_read_as_they_are_written(told: str, quant: str | None) -> None:
    found = quant_of(told)
    assert (found[0] if found else None) == quant


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pp2048 @ d32768", ("pp", 2048, 32768)),
        ("tg512@2k", ("tg", 512, 2048)),
        ("tg_1024", ("tg", 1024, None)),
        ("tg", ("tg", None, None)),
        ("tg_min", None),
    ],
)
def test_tests_are_named_as_llama_bench_and_people_do(
    name: str, expected: tuple[str, int | None, int | None] | None
) -> None:
    test = read_test(name, 10)
    assert (test and (test.phase, test.n_tokens, test.depth)) == expected


def test_rows_in_no_known_form_keep_no_other_away() -> None:
    strange: list[object] = [None, 7, "row", [], {}, {"id": 1, "tests": {"tg": []}}]
    keys = [*BENCH, *SERVER, "offload", "cpu", "depth", "threads", "params_b"]
    values: list[object] = [
        *(None, "", 0, -1, float("nan"), float("inf"), 10**30, [], {}, True, "all"),
        *("(", "[", "x4", "0x DDR5-4800", "-ot '([=CPU'", "17x RTX 3090", "A100 MIG 1g.10gb"),
    ]
    rnd = random.Random(4)
    for index in range(150):
        base = rnd.choice([BENCH, SERVER])
        changes = {rnd.choice(keys): rnd.choice(values) for _ in range(2)}
        strange.append(base | changes | {"id": f"strange {index}"})
    good = BENCH | {"tests": {"tg512": 19.5, "pp512": 850.0}}
    facts, left = facts_of_public_rows([*strange, good])
    assert {"one/tg512", "one/pp512"} <= {fact.id for fact in facts}
    assert len(left) > 20
    assert all(row.reason for row in left)


def test_the_summary_counts_facts_and_reasons() -> None:
    facts, left = facts_of_public_rows([BENCH, SERVER | {"oom": True}])
    lines = summary_lines(facts, left)
    assert lines[0] == "3 facts"
    assert any(line.split() == ["1", "out", "of", "memory"] for line in lines)
