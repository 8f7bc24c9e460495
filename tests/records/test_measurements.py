"""The store of own measurements, on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localllm.core.fingerprint import formula_key, machine_key, model_key, plan_placement_key
from localllm.core.generation import BenchTest, RunStats
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.plan import Plan
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.prediction import predicted
from localllm.records.keeping import keep_runs, own_observations
from localllm.records.lines import MOST_BYTES, Bounds
from localllm.records.measured import (
    Measurement,
    TimedRun,
    measurement,
    measurement_line,
    observations,
    parse_line,
    run_of_bench,
    runs_of_answer,
)
from localllm.records.measurements import MeasurementStore
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_2_1b, llama_3_8b, machine, mixtral

NOW = datetime(2026, 11, 21, 14, 35, 2, tzinfo=UTC)
TEXT = TimedRun(source="bench", phase="tg", n_tokens=128, depth=0, tok_s=90.0, n_repetitions=5)


def here(*names: str) -> Hardware:
    return replace(machine(*(gpu(name) for name in names)), source=THIS_MACHINE)


def plan(hardware: Hardware | None = None, **wishes: Any) -> Plan:
    return make_plan(llama_3_8b(), hardware or here("CUDA0"), Policy(n_ctx=4096, **wishes))


def one(**changes: Any) -> Measurement:
    return replace(measurement(plan(), TEXT, predicted_tok_s=100.0, now=NOW), **changes)


def stats(**changes: Any) -> RunStats:
    values: dict[str, Any] = {
        "n_prompt": 300, "n_cached": 100, "n_gen": 101, "prompt_s": 0.5, "tg_s": 2.0,
        "ttft_s": 0.6, "n_ctx": 4096, "n_ctx_used": 400, "seed": 7,
    }  # fmt: skip
    return RunStats(**(values | changes))


@pytest.fixture
def store(tmp_path: Path) -> MeasurementStore:
    return MeasurementStore(tmp_path / "state" / "measurements.jsonl")


# -- the file ----------------------------------------------------------------------------------


def test_what_is_kept_comes_back(store: MeasurementStore) -> None:
    assert store.read() == ()
    kept = [one(), one(phase="pp", std_tok_s=2.5), one(devices=("CUDA0", "CUDA1"))]
    store.keep(kept[:1])
    store.keep(kept[1:])
    assert store.read() == tuple(kept)
    for line in store.path.read_text().splitlines():
        assert json.loads(line)["schema"] == "localllm.measurement/1"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_its_owner_can_read_it(store: MeasurementStore) -> None:
    store.keep([one()])
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_to_keep_makes_no_file(store: MeasurementStore) -> None:
    store.keep([])
    assert not store.path.parent.exists()


def test_a_torn_line_costs_itself_and_not_its_neighbours(store: MeasurementStore) -> None:
    store.keep([one(), one(depth=7)])
    torn = store.path.read_bytes()[:-30]
    store.path.write_bytes(torn)
    store.keep([one(depth=9)])
    assert [m.depth for m in store.read()] == [0, 9]


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "localllm.measurement/2"},
        {"measured_tok_s": 0},
        {"measured_tok_s": "fast"},
        {"predicted_tok_s": True},
        {"predicted_tok_s": None},
        {"n_tokens": -1},
        {"n_tokens": 10**400},
        {"phase": "xx"},
        {"time": "yesterday"},
        {"time": "2026-11-21T14:35:02"},
        {"devices": "CUDA0"},
        {"machine": 7},
    ],
)
def test_a_line_that_says_what_cannot_be_is_skipped(change: Mapping[str, object]) -> None:
    fields = json.loads(measurement_line(one()))
    assert parse_line(json.dumps(fields).encode()) == one()
    assert parse_line(json.dumps(fields | change).encode()) is None


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000, b"NaN", b"1e999"])
def test_a_foreign_line_is_skipped(data: bytes, store: MeasurementStore) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(data + b"\n")
    store.keep([one()])
    assert store.read() == (one(),)


def test_a_later_field_does_not_make_a_line_foreign() -> None:
    fields = json.loads(measurement_line(one())) | {"energy_j": 12.0}
    assert parse_line(json.dumps(fields).encode()) == one()


def test_the_newest_stay_when_the_file_has_grown(tmp_path: Path) -> None:
    bounds = Bounds(kept=20, most=40, shortest_line=400)
    store = MeasurementStore(tmp_path / "state" / "measurements.jsonl", bounds)
    most = 0
    for depth in range(100):
        store.keep([one(depth=depth)])
        most = max(most, len(store.path.read_bytes().splitlines()))
    assert most == 40
    kept = [m.depth for m in store.read()]
    assert kept == list(range(100 - len(kept), 100)) and len(kept) >= 20
    assert [path.name for path in store.path.parent.iterdir()] == ["measurements.jsonl"]


def test_a_monstrous_file_is_cut_back_to_what_can_be_read(store: MeasurementStore) -> None:
    store.path.parent.mkdir()
    with store.path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a hole
    store.keep([one()])
    assert store.read() == (one(),)
    assert store.path.stat().st_size < 4096


def test_two_processes_append_whole_lines(store: MeasurementStore) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from localllm.records.measured import parse_line
        from localllm.records.measurements import MeasurementStore
        store, one = MeasurementStore(Path(sys.argv[1])), parse_line(sys.stdin.buffer.read())
        for _ in range(300):
            store.keep([one])
        """
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, store.path], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    for n, writer in enumerate(writers):
        assert writer.stdin is not None
        writer.stdin.write(measurement_line(one(depth=n)).encode())
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(m.depth for m in store.read()) == [0] * 300 + [1] * 300


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError):
        MeasurementStore(Path("/dev/full")).keep([one()])


def test_a_folder_that_cannot_be_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        MeasurementStore(tmp_path / "state" / "measurements.jsonl").keep([one()])


# -- what a run says ---------------------------------------------------------------------------


def test_an_answer_measures_its_prompt_and_its_text() -> None:
    """200 new prompt tokens in 0.5 s; tokens 2 to 101 in 2 s."""
    prompt, text = runs_of_answer(stats())
    assert (prompt.phase, prompt.n_tokens, prompt.depth, prompt.tok_s) == ("pp", 200, 100, 400.0)
    assert (text.phase, text.n_tokens, text.depth, text.tok_s) == ("tg", 100, 300, 50.0)


@pytest.mark.parametrize(
    ("changes", "phases"),
    [
        ({"n_cached": 237}, ["tg"]),
        ({"n_gen": 15}, ["pp"]),
        ({"n_cached": 300, "n_gen": 1}, []),
        ({"prompt_s": 0.0, "tg_s": 0.0}, []),
        ({"n_ctx": 350}, ["pp"]),
    ],
    ids=["short prompt", "short answer", "nothing new", "no time", "shifted context"],
)
def test_too_little_is_no_measurement(changes: dict[str, Any], phases: list[str]) -> None:
    assert [run.phase for run in runs_of_answer(stats(**changes))] == phases


def test_a_bench_test_is_the_mean_of_its_repetitions() -> None:
    """128 tokens in 1 s and in 2 s."""
    run = run_of_bench(BenchTest(n_prompt=0, n_gen=128, n_depth=512), [10**9, 2 * 10**9])
    assert run is not None
    assert (run.phase, run.depth, run.tok_s, run.n_repetitions) == ("tg", 512, 96.0, 2)
    assert run.std_tok_s == pytest.approx(64 / 2**0.5)


@pytest.mark.parametrize(
    "test",
    [
        BenchTest(n_prompt=512, n_gen=128),
        BenchTest(n_prompt=32, n_gen=0),
        BenchTest(n_prompt=0, n_gen=7),
    ],
    ids=["mixed", "short prompt", "few tokens"],
)
def test_a_bench_test_that_says_nothing_of_one_phase_is_left_out(test: BenchTest) -> None:
    assert run_of_bench(test, [10**9, 10**9]) is None


def test_experts_in_ram_are_counted() -> None:
    moe = make_plan(mixtral(), here("CUDA0"), Policy(n_ctx=2048, n_cpu_moe=24, n_gpu_layers=33))
    kept = measurement(moe, TEXT, predicted_tok_s=10.0, now=NOW)
    assert (kept.n_host_expert_layers, kept.n_gpu_layers) == (24, 33)
    assert kept.placement_key.startswith("experts: ")


# -- whose measurement it is -------------------------------------------------------------------


def test_another_machine_or_another_formula_says_nothing() -> None:
    kept = [one(), one(machine="other"), one(formula="older")]
    machine_, formula = one().machine, one().formula
    (seen,) = observations(kept, machine=machine_, formula=formula, now=NOW + timedelta(days=3))
    assert (seen.age_days, seen.n_tokens) == (3.0, 640)
    assert (seen.measured_tok_s, seen.predicted_tok_s) == (90.0, 100.0)
    assert seen.placement_key == plan_placement_key(plan())
    assert seen.model_key == model_key(llama_3_8b())


def test_a_clock_set_back_makes_no_measurement_of_the_future() -> None:
    seen = observations(
        [one()], machine=one().machine, formula=one().formula, now=NOW - timedelta(days=9)
    )
    assert seen[0].age_days == 0.0


def test_a_machine_stays_itself_while_its_memory_fills_and_its_cards_come_and_go() -> None:
    base = here("CUDA0", "CUDA1")
    host = base.host
    same = (
        replace(base, host=replace(host, available_bytes=GiB, swap_free_bytes=5)),
        replace(base, host=replace(host, total_bytes=host.total_bytes - 300_000_000)),
        here("CUDA0"),
    )
    assert {machine_key(other) for other in same} == {machine_key(base)}
    more = replace(base, host=replace(host, total_bytes=2 * host.total_bytes))
    other_cpu = replace(base, host=replace(host, cpu="Another CPU"))
    assert len({machine_key(m) for m in (base, more, other_cpu)}) == 3


def test_places_differ_where_other_memory_is_read() -> None:
    plans = [
        plan(),
        plan(n_gpu_layers=20),
        plan(n_gpu_layers=0),
        plan(here("CUDA0", "CUDA1"), tensor_split=(1.0, 1.0)),
        plan(replace(here(), devices=(replace(gpu(), description="Another card"),))),
        make_plan(llama_3_2_1b(), here("CUDA0"), Policy(n_ctx=4096)),
    ]
    keys = [plan_placement_key(p) for p in plans]
    assert len(set(keys[:5])) == 5
    assert keys[0] == keys[5]
    assert [key.split(":")[0] for key in keys[:3]] == ["gpu", "mixed", "cpu"]


def test_a_toy_is_a_place_of_its_own() -> None:
    toy = replace(plan().model, file_bytes=3_000_000)
    assert plan_placement_key(replace(plan(), model=toy)).startswith("gpu, in cache: ")


def test_a_fine_tune_is_as_fast_as_its_model() -> None:
    model = llama_3_8b()
    assert model_key(replace(model, name="Dolphin", source="elsewhere")) == model_key(model)
    assert model_key(llama_3_8b(quant="Q8_0")) != model_key(model)


def test_constants_fitted_anew_are_another_formula() -> None:
    assert formula_key({"a": 1.0, "b": 2.0}) == formula_key({"b": 2.0, "a": 1.0})
    assert formula_key({"a": 1.0, "b": 2.0}) != formula_key({"a": 1.0, "b": 2.1})


# -- kept and used -----------------------------------------------------------------------------


def test_a_run_is_kept_with_the_formulas_own_prediction(tmp_path: Path) -> None:
    environ = {"LOCALLLM_STATE_DIR": str(tmp_path)}
    assert keep_runs(plan(), [TEXT], now=NOW, content_id="abc", environ=environ) == 1
    (kept,) = MeasurementStore(tmp_path / "measurements.jsonl").read()
    estimate = predicted(plan(), "tg", n_tokens=128, depth=0)
    assert estimate is not None
    assert kept.predicted_tok_s == estimate.formula_tok_s
    assert (kept.content_id, kept.devices, kept.n_tokens) == ("abc", ("CUDA0",), 128)
    (seen,) = own_observations(here("CUDA0"), now=NOW, environ=environ)
    assert seen.measured_tok_s == 90.0


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no", "false"])
def test_switched_off_nothing_is_kept_and_nothing_used(tmp_path: Path, word: str) -> None:
    on = {"LOCALLLM_STATE_DIR": str(tmp_path)}
    off = on | {"LOCALLLM_MEASUREMENTS": word}
    assert keep_runs(plan(), [TEXT], now=NOW, environ=off) == 0
    assert not list(tmp_path.iterdir())
    keep_runs(plan(), [TEXT], now=NOW, environ=on)
    assert own_observations(here("CUDA0"), now=NOW, environ=off) == ()


def test_a_plan_for_another_machine_or_without_an_estimate_keeps_nothing(tmp_path: Path) -> None:
    environ = {"LOCALLLM_STATE_DIR": str(tmp_path)}
    elsewhere = plan(replace(here("CUDA0"), source="profile rtx-4090"))
    silent = replace(plan(), speed=None)
    for made in (elsewhere, silent):
        assert keep_runs(made, [TEXT], now=NOW, environ=environ) == 0
    assert own_observations(elsewhere.hardware, now=NOW, environ=environ) == ()
    assert not list(tmp_path.iterdir())
