"""The history of runs, on real files: what is kept, what comes back, what it comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localllm.core.buffers import BufferMemory
from localllm.core.expected_energy import expected_energy
from localllm.core.generation import BenchTest, Loaded
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.metered.readings import Energy, Health, Unmeasured
from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.prediction import predicted
from localllm.records.history import HistoryStore, PastRun, Sought, runs
from localllm.records.lines import Bounds
from localllm.records.observed import Occasion, answer_record, bench_record, load_record
from localllm.records.runs import RunRecord, parse_record, record_line
from localllm.records.summing import accuracies, memory, sums
from tests.records.test_measurements import stats
from tests.support.specs import gpu, llama_3_8b, machine

NOW = datetime(2026, 11, 21, 14, 35, 2, tzinfo=UTC)
OCCASION = Occasion(run="r1", now=NOW, engine="0.3.36", content_id="abc123")
METERLESS = Unmeasured(reason="no permission to read RAPL")


def here(*names: str) -> Hardware:
    cards = (
        replace(gpu(name), power_limit_w=350.0, memory_bandwidth_gb_s=936.0, driver="580.65.06")
        for name in names
    )
    return replace(machine(*cards), source=THIS_MACHINE)


def plan(**wishes: Any) -> Plan:
    return make_plan(llama_3_8b(), here("CUDA0"), Policy(n_ctx=4096, **wishes))


def loaded(made: Plan, **changes: Any) -> Loaded:
    memory_ = tuple(
        BufferMemory(
            name=row.name,
            model_bytes=row.model_bytes,
            context_bytes=row.context_bytes,
            compute_bytes=row.compute_bytes + 1000,
            mapped_bytes=row.mapped_bytes,
        )
        for row in made.devices
    )
    values: dict[str, Any] = {
        "load_s": 1.25, "n_ctx": 4096, "n_vocab": 128256, "description": "llama 8B Q4_K - Medium",
        "memory": memory_, "rss_bytes": 700_000_000, "template": "model", "can_shift": True,
    }  # fmt: skip
    return Loaded(**(values | changes))


def energy(joules: float, seconds: float, **changes: Any) -> Energy:
    values: dict[str, Any] = {
        "joules": joules, "sigma_j": joules / 20, "gain": 0.05, "began_s": 1e5,
        "ended_s": 1e5 + seconds, "scope": "GPU board", "sources": ("NVML energy counter",),
        "kinds": ("counter",), "idle_w": 30.0, "idle_sigma_w": 0.5,
    }  # fmt: skip
    return Energy(**(values | changes))


def load(made: Plan | None = None, occasion: Occasion = OCCASION) -> RunRecord:
    made = made or plan()
    return load_record(made, loaded(made), occasion)


def answer(made: Plan | None = None, occasion: Occasion = OCCASION, **kept: Any) -> RunRecord:
    """200 new prompt tokens after 100 in 0.5 s; tokens 2 to 101 in 2 s."""
    record = answer_record(made or plan(), stats(), occasion, **kept)
    assert record is not None
    return record


def bench(test: BenchTest, *samples_ns: int, **kept: Any) -> RunRecord:
    record = bench_record(plan(), test, samples_ns, OCCASION, **kept)
    assert record is not None
    return record


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    return HistoryStore(tmp_path / "state" / "history.jsonl")


# -- what is kept ------------------------------------------------------------------------------


def test_a_load_keeps_planned_beside_allocated_bytes_of_each_device() -> None:
    made = plan()
    kept = load(made).load
    assert kept is not None
    assert [row.device for row in kept.memory] == ["CUDA0", "host"]
    for row, planned in zip(kept.memory, made.devices, strict=True):
        assert row.planned_bytes == planned.self_bytes - planned.mapped_bytes
        assert row.measured_bytes == row.planned_bytes + 1000
    both = kept.reconciled
    assert both.predicted is not None and both.measured == both.predicted + 2000
    assert (kept.load_s, kept.rss_bytes) == (1.25, 700_000_000)


def test_memory_that_llama_cpp_did_not_tell_has_its_reason_and_no_figure() -> None:
    silent = loaded(plan(), memory=(), memory_unknown="llama.cpp printed no breakdown")
    kept = load_record(plan(), silent, OCCASION).load
    assert kept is not None
    assert [row.measured_bytes for row in kept.memory] == [None, None]
    assert kept.reconciled.measured is None
    assert kept.memory_unknown == "llama.cpp printed no breakdown"


def test_an_answer_keeps_both_phases_with_estimates_for_their_tokens_and_depth() -> None:
    made = plan()
    record = answer(
        made, prefill=METERLESS, decode=energy(400.0, 2.0),
        health=(Health(t_s=1.0, device="nvidia0", temperature_c=71.0, throttle=("power cap",)),
                Health(t_s=2.0, device="nvidia0", temperature_c=74.0, throttle=("power cap",))),
    )  # fmt: skip
    prompt, text = record.phases
    assert (prompt.label, prompt.tok_s, prompt.unmeasured) == (
        "pp200 @ d100",
        400.0,
        "no permission to read RAPL",
    )
    assert prompt.energy is None and prompt.j_per_token.measured is None
    assert prompt.prediction == predicted(made, "pp", n_tokens=200, depth=100)
    assert prompt.expected == expected_energy(made, n_prompt=200, n_gen=0, depth=100)
    assert (text.label, text.tok_s) == ("tg100 @ d300", 50.0)
    assert text.energy is not None and text.energy.n_tokens == 100
    assert (text.j_per_token.measured, text.j_per_token.sigma) == (4.0, 0.2)
    assert text.expected == expected_energy(
        made, n_prompt=0, n_gen=100, depth=300, scope="GPU board"
    )
    assert (record.temperature_c, record.throttle) == (74.0, ("power cap",))


def test_a_record_says_what_it_depended_on() -> None:
    record = answer()
    assert (record.model.name, record.model.quant, record.model.content_id) == (
        "llama-3-8b",
        "Q4_K_M",
        "abc123",
    )
    assert (record.plan.n_gpu_layers, record.plan.type_k, record.plan.basis) == (
        33,
        "f16",
        "formula",
    )
    assert record.machine.devices == ("CUDA0",) and record.machine.driver == "580.65.06"
    assert record.engine == "0.3.36" and record.localllm
    assert record.time == NOW.astimezone().isoformat(timespec="seconds")


def test_a_shifted_answer_has_no_estimate_for_its_text() -> None:
    record = answer_record(plan(), stats(n_ctx=350), OCCASION)
    assert record is not None
    prompt, text = record.phases
    assert prompt.prediction is not None
    assert (text.prediction, text.expected) == (None, None)
    assert answer_record(plan(), stats(prompt_s=0.0, n_gen=1), OCCASION) is None


def test_a_bench_test_shares_its_energy_among_all_repetitions() -> None:
    record = bench(BenchTest(n_prompt=0, n_gen=128), 10**9, 2 * 10**9, energy=energy(768.0, 3.0))
    (phase,) = record.phases
    assert (phase.tok_s, phase.n_repetitions) == (96.0, 2)
    assert phase.j_per_token.measured == 3.0
    both = bench(BenchTest(n_prompt=64, n_gen=64), 10**9, energy=energy(9.0, 1.0), energy_tokens=3)
    assert (both.phases[0].name, both.phases[0].j_per_token.measured) == ("pp+tg", 3.0)
    assert both.phases[0].prediction is not None and both.phases[0].expected is not None
    assert bench_record(plan(), BenchTest(n_prompt=0, n_gen=8), [], OCCASION) is None


# -- the file ----------------------------------------------------------------------------------


def test_what_is_kept_comes_back(store: HistoryStore) -> None:
    kept = [
        load(),
        answer(prefill=METERLESS, decode=energy(400.0, 2.0, rough=True, missing=("DRAM: none",))),
        bench(BenchTest(n_prompt=512, n_gen=0, n_depth=64), 10**9, 10**9),
    ]
    store.keep(kept[:1])
    store.keep(kept[1:])
    assert store.read() == tuple(kept)
    for line in store.path.read_text().splitlines():
        assert json.loads(line)["schema"] == "localllm.run/1"
        assert len(line) > 600 and "null" not in line
    store.path.write_bytes(store.path.read_bytes()[:-40])
    store.keep([load()])
    assert [record.kind for record in store.read()] == ["load", "answer", "load"]


FIRST_LINE = (
    '{"schema":"localllm.run/1","kind":"answer","run":"r","time":"2026-11-21T14:35:02+00:00",'
    '"model":{"name":"m","arch":"llama","quant":"Q4_K_M","file_bytes":1,"key":"k"},'
    '"plan":{"basis":"exact","memory_basis":"exact","n_ctx":512,"n_batch":512,"n_ubatch":512,'
    '"type_k":"f16","type_v":"f16","flash_attn":"auto","n_gpu_layers":0,"n_layer_total":5,'
    '"n_host_expert_layers":0,"n_threads":2,"use_mmap":true,"repack":true,"placement_key":"cpu"},'
    '"machine":{"key":"x","name":"a CPU","cpu":"a CPU"},"localllm":"0.1.0",'
    '"phases":[{"n_prompt":0,"n_gen":99,"depth":7,"n_repetitions":1,"tok_s":6.8,'
    '"prediction":{"tok_s":7.1,"low":5.2,"high":9.8,"formula_tok_s":7.0},'
    '"energy":{"n_tokens":99,"joules":297.0,"sigma_j":9.9,"gain":0.05,"seconds":14.5,'
    '"scope":"CPU package","sources":["RAPL"],"kinds":["counter"],"window_s":0.0,"rough":false},'
    '"expected":{"scope":"CPU package","watts":25.0,"j_per_token":3.5}}]}'
)
"""As the first version wrote it: whoever changes a class finds out here whose lines are lost."""


def changed(path: str, value: object) -> bytes:
    fields = json.loads(FIRST_LINE)
    *parents, last = path.split(".")
    at = fields
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at[last] = value
    return json.dumps(fields).encode()


def test_a_line_of_the_first_version_is_read_with_later_fields_passed_over() -> None:
    for line in (FIRST_LINE.encode(), changed("phases.0.later", 1), changed("later", [1])):
        record = parse_record(line)
        assert record is not None
        (phase,) = record.phases
        assert phase.j_per_token.measured == pytest.approx(3.0)
        assert phase.j_per_token.predicted == 3.5
        assert parse_record(record_line(record).encode()) == record


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "localllm.run/2"),
        ("kind", "dream"),
        ("time", "yesterday"),
        ("time", "2026-11-21T14:35:02"),
        ("model", None),
        ("model.file_bytes", -1),
        ("model.file_bytes", 10**400),
        ("plan.use_mmap", 1),
        ("machine.devices", "CUDA0"),
        ("phases", {}),
        ("phases.0.tok_s", 0),
        ("phases.0.tok_s", "fast"),
        ("phases.0.tok_s", True),
        ("phases.0.tok_s", 1e300),
        ("phases.0.n_gen", 0),
        ("phases.0.prediction.low", 0),
        ("phases.0.prediction.low", 8.0),
        ("phases.0.energy.seconds", 0),
        ("phases.0.energy.joules", -1.0),
        ("phases.0.energy.n_tokens", 0),
        ("phases.0.energy.kinds", ["guess"]),
    ],
)
def test_a_line_that_says_what_cannot_be_is_left_out(path: str, value: object) -> None:
    assert parse_record(changed(path, value)) is None


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000, b"NaN", b"1e999"])
def test_a_foreign_line_is_left_out(line: bytes, store: HistoryStore) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(line + b"\n" + FIRST_LINE.replace("6.8", "NaN").encode())
    store.keep([load()])
    assert store.read() == (load(),)


def test_the_newest_stay_when_the_file_has_grown(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "h.jsonl", Bounds(kept=5, most=10, shortest_line=600))
    for n in range(24):
        store.keep([load(occasion=replace(OCCASION, run=str(n)))])
    kept = [record.run for record in store.read()]
    assert kept == [str(n) for n in range(24 - len(kept), 24)] and 5 <= len(kept) <= 10


# -- runs --------------------------------------------------------------------------------------


def at(run: str, hours: float = 0.0) -> Occasion:
    return replace(OCCASION, run=run, now=NOW + timedelta(hours=hours))


def test_a_run_is_a_load_and_its_answers_and_the_one_used_last_comes_first() -> None:
    records = [
        load(occasion=at("a")),
        load(occasion=at("b", 1)),
        answer(occasion=at("b", 1)),
        answer(occasion=at("a", 2)),
    ]
    found = runs(records, Sought())
    assert [[record.kind for record in run.records] for run in found] == [["load", "answer"]] * 2
    assert [run.first.run for run in found] == ["a", "b"]
    assert found[0].ended - found[0].began == timedelta(hours=2)


@pytest.mark.parametrize(
    ("sought", "n"),
    [
        (Sought(words=("LLAMA", "q4_k")), 2),
        (Sought(words=("llama", "Q8")), 0),
        (Sought(words=("abc123",)), 2),
        (Sought(since=NOW + timedelta(minutes=30)), 1),
        (Sought(since=NOW), 2),
        (Sought(machine="another"), 0),
        (Sought(machine=load().machine.key), 2),
    ],
)
def test_runs_are_found_by_words_time_and_machine(sought: Sought, n: int) -> None:
    records = [load(occasion=at("a")), load(occasion=at("b", 1))]
    assert len(runs(records, sought)) == n


def of(*records: RunRecord) -> PastRun:
    return PastRun(records=records)


def phase_changed(record: RunRecord, index: int, **changes: Any) -> RunRecord:
    phases = list(record.phases)
    phases[index] = replace(phases[index], **changes)
    return replace(record, phases=tuple(phases))


def test_answers_come_to_tokens_over_time_and_joules_over_tokens() -> None:
    """100 tokens in 2 s and 100 in 4 s: 33.3 tok/s, not the mean of 50 and 25."""
    quick = answer(decode=energy(400.0, 2.0, sigma_j=3.0))
    slow = phase_changed(answer(decode=energy(800.0, 4.0, sigma_j=4.0)), 1, tok_s=25.0)
    text, prompt = sums(of(load(), quick, slow))
    assert (text.label, text.n_tokens, text.n_parts) == ("tg", 200, 2)
    assert text.speed.measured == pytest.approx(200 / 6)
    assert text.speed.predicted == pytest.approx(quick.phases[1].speed.predicted)
    assert (text.j_per_token.measured, text.j_per_token.sigma) == (6.0, 5.0 / 200)
    assert text.j_per_token.predicted == pytest.approx(quick.phases[1].j_per_token.predicted)
    assert (text.watts.measured, text.scope) == (200.0, "GPU board")
    assert (prompt.label, prompt.scope, prompt.j_per_token.measured) == ("pp", None, None)
    assert prompt.j_per_token.unmeasured == "power was not read"


def test_what_is_too_short_or_of_another_scope_does_not_count() -> None:
    short = answer_record(plan(), stats(n_prompt=130, n_gen=5), OCCASION)
    assert short is not None and len(short.phases) == 2
    assert sums(of(load(), short)) == ()
    board = answer(decode=energy(400.0, 2.0))
    laptop = answer(decode=energy(100.0, 2.0, scope="whole laptop"))
    text = sums(of(board, laptop))[0]
    assert (text.scope, text.j_per_token.measured, text.j_per_token.predicted) == (
        "whole laptop",
        1.0,
        None,
    )


def test_each_bench_test_stands_by_itself() -> None:
    run = of(
        load(),
        bench(BenchTest(n_prompt=512, n_gen=0), 10**9),
        bench(BenchTest(n_prompt=0, n_gen=128, n_depth=64), 10**9),
        bench(BenchTest(n_prompt=64, n_gen=64), 10**9),
    )
    assert [total.label for total in sums(run)] == ["pp512", "tg128 @ d64", "pp64+tg64"]
    found: Mapping[str, Any] = accuracies([run, run])
    assert {name: said.n for name, said in found.items()} == {"memory": 2, "tg": 2, "pp": 2}
    planned = memory(run)
    assert planned is not None and planned.off is not None
    assert found["memory"].median_off == pytest.approx(planned.off)
    assert memory(of(answer())) is None and accuracies([]) == {}
