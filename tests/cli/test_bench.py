"""``localllm bench``: llama-bench's table and document, on a real engine and on a scripted one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from localllm import session
from localllm.cli.bench import table
from localllm.core.bench.row import bench_row
from localllm.core.generation import (
    BenchDone,
    BenchSample,
    BenchTest,
    Died,
    Event,
    Failed,
)
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import MiB
from tests.cli.conftest import Command
from tests.core.bench.test_bench_row import PP512, engine_device, setup
from tests.core.test_documents import names, plan_8b
from tests.support.specs import gpu, llama_3_8b, machine

HEAD = """\
| model                          |       size |     params | backend    | threads |\
            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: |\
 --------------: | -------------------: |
"""
"""As llama-bench itself prints it for a CPU build."""


def test_the_table_is_llama_benchs() -> None:
    row = bench_row(setup(plan_8b()), PP512, [4 * 10**9, 5 * 10**9], test_time="")
    shown = table.columns([row])
    assert table.head(shown) + "\n" == HEAD
    assert table.line(shown, row) == (
        "| llama 8B Q4_K - Medium         |   4.58 GiB |     8.03 B | CPU        |       8 |"
        "           pp512 |       115.20 ± 18.10 |"
    )


def headings(row: dict[str, Any]) -> list[str]:
    return [column.heading for column in table.columns([row])]


def test_a_gpu_shows_its_layers_in_place_of_threads() -> None:
    cuda = engine_device("CUDA0", "RTX", "gpu")
    row = bench_row(setup(plan_8b(gpu()), cuda), PP512, [10**9], test_time="")
    assert headings(row) == ["model", "size", "params", "backend", "ngl", "test", "t/s"]


def test_a_setting_is_a_column_only_where_it_is_not_the_default() -> None:
    policy = Policy(
        n_ctx=512, type_k="q8_0", type_v="q4_0", flash_attn="on", use_mmap=False, repack=False
    )
    plan = make_plan(llama_3_8b(), machine(gpu(), gpu("CUDA1")), policy)
    cuda = engine_device("CUDA0", "RTX", "gpu")
    common = replace(setup(plan, cuda), n_batch=256, n_ubatch=128)
    row = bench_row(common, PP512, [10**9], test_time="")
    assert headings(row)[4:-2] == names("ngl n_batch n_ubatch type_k type_v fa lm rpk")
    cells = [cell.strip() for cell in table.line(table.columns([row]), row).split("|")[1:-1]]
    assert cells[4:-2] == names("33 256 128 q8_0 q4_0 1 none 0")


def test_a_setting_that_is_swept_is_a_column_whatever_its_value() -> None:
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="")
    swept = table.columns([row], {"type_k", "flash_attn"})
    assert [column.heading for column in swept][5:-2] == ["type_k", "fa"]


def test_sizes_below_a_gigabyte_and_a_billion_have_their_units() -> None:
    row = bench_row(setup(plan_8b()), PP512, [10**9], test_time="")
    small = row | {"model_size": 660_000, "model_n_params": 330_000}
    assert "|   0.63 MiB |     0.33 M |" in table.line(table.columns([small]), small)


def test_the_engine_is_measured_and_printed(localllm: Command, toy_model: Path) -> None:
    outcome = localllm("bench", str(toy_model), "-p", "32", "-n", "8", "-r", "2", "-t", "1")
    assert (outcome.code, outcome.err) == (0, "")
    printed = outcome.out.splitlines()
    head, rule, pp, tg, _, build, pp_estimate, tg_estimate, chat, basis = printed[:10]
    rest = printed[10:]
    assert head + "\n" + rule + "\n" == HEAD
    assert "| pp32 |" in " ".join(pp.split())
    assert "| tg8 |" in " ".join(tg.split())
    assert build.startswith("build: ")
    figure = r"[\d,.]+"
    for name, line in (("pp32", pp_estimate), ("tg8", tg_estimate)):
        assert re.fullmatch(
            rf"{name}: estimated {figure} tok/s \({figure} to {figure}\), "
            rf"measured {figure} \(.*%.*\)",
            line,
        )
    assert re.fullmatch(
        rf"chat \(sampled\): {figure} ± {figure} t/s, 2 answers of at most \d+ tokens after a "
        r"prompt of \d+, default sampling, streamed",
        chat,
    )
    assert basis.startswith("estimates: formula")
    assert [line for line in rest if line.startswith(("power: not measured (", "pp32: "))]
    assert [line for line in rest if line.startswith("peak memory: ")]
    assert rest[-1].startswith("RAM: planned ")


def test_the_document_holds_what_was_measured(localllm: Command, toy_model: Path) -> None:
    outcome = localllm(
        *("bench", str(toy_model), "-p", "32", "-n", "8", "-d", "0,16"),
        *("-r", "3", "-t", "1", "--json"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    *rows, chat = json.loads(outcome.out)
    assert (chat["kind"], chat["n_depth"]) == ("chat", 0)
    assert [(r["n_prompt"], r["n_gen"], r["n_depth"]) for r in rows] == [
        (32, 0, 0),
        (0, 8, 0),
        (32, 0, 16),
        (0, 8, 16),
    ]
    for row in rows:
        assert len(row["samples_ns"]) == len(row["samples_ts"]) == 3
        assert min(row["samples_ns"]) > 0
        assert row["measured_bytes"] > 0
        assert row["peak_rss_bytes"] > row["measured_bytes"]
        assert row["content_id"] and row["machine"]
        assert (row["kind"], row["complete"], row["quick"]) == ("test", True, False)
        assert (row["n_batch"], row["n_ubatch"]) == (2048, 512)
        assert row["model_filename"] == str(toy_model)


def test_finished_tests_are_kept_beside_their_estimates(
    localllm: Command, toy_model: Path, tmp_path: Path
) -> None:
    tests = ("-p", "64", "-n", "16", "-pg", "64,16", "-d", "0,32", "-r", "2", "-t", "1", "--json")
    outcome = localllm("bench", str(toy_model), *tests, "--no-chat")
    assert (outcome.code, outcome.err) == (0, "")
    rows = [row for row in json.loads(outcome.out) if not (row["n_prompt"] and row["n_gen"])]
    path = tmp_path / "state" / "measurements.jsonl"
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["phase"], one["n_tokens"], one["depth"]) for one in kept] == [
        ("pp", 64, 0),
        ("tg", 16, 0),
        ("pp", 64, 32),
        ("tg", 16, 32),
    ]
    for row, one in zip(rows, kept, strict=True):
        assert one["measured_tok_s"] == pytest.approx(row["avg_ts"])
        assert one["predicted_tok_s"] == pytest.approx(row["predicted_ts"])
        assert row["predicted_ts_low"] < row["predicted_ts"] < row["predicted_ts_high"]


def test_measurements_that_cannot_be_kept_are_a_note(
    localllm: Command, toy_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    outcome = localllm("bench", str(toy_model), "-p", "64,128", "-n", "0", "-r", "1", "-t", "1")
    assert outcome.code == 0
    assert "pp128" in outcome.out
    assert outcome.err.startswith("note: What was measured could not be kept: ")
    assert outcome.err.count("note:") == 1


def test_lines_of_json_are_one_per_test(localllm: Command, toy_model: Path) -> None:
    outcome = localllm(
        *("bench", str(toy_model), "-p", "8", "-n", "4", "-r", "1", "-t", "1"),
        *("-o", "jsonl", "--no-chat"),
    )
    assert [json.loads(line)["n_gen"] for line in outcome.out.splitlines()] == [0, 4]


def test_what_does_not_fit_is_not_loaded(localllm: Command, llama_3_8b_file: Path) -> None:
    outcome = localllm("bench", str(llama_3_8b_file), "--ram-budget", "1G")
    assert (outcome.code, outcome.out) == (3, "")
    assert "does not fit: short of" in outcome.err


@pytest.fixture
def llama_3_8b_file(request: pytest.FixtureRequest) -> Path:
    path = request.getfixturevalue("llama_3_8b")
    assert isinstance(path, Path)
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-p", "0", "-n", "0"], "Nothing to measure."),
        (["-c", "64"], "The tests need a context of 512 tokens; --ctx allows 64."),
        (["-p", "x"], "--n-prompt: 'x' is not a list, such as 512,2048 or 0-8192+1024."),
        (["-t", "4-1"], "--threads: '4-1' has a range that ends before it begins."),
        (["-sm", "row"], "--split-mode: 'row' asks for split mode row, which localllm does not"),
        (["-lm", "dio"], "--load-mode: 'dio' asks for load mode dio, which localllm does not"),
        (["-mmp", "1", "--no-mmap"], "--mmap, --no-mmap and -lm say the same."),
        (["-ot", "exps=CPU"], "localllm decides itself which tensors lie where: -ot is not taken."),
        (["--quick", "--steady"], "--quick and --steady are opposites."),
        (["-t", "1-100", "-b", "1-60"], "That makes 12,000 tests."),
        (["-ctv", "f16,q8_0"], "type_v q8_0: 16 elements are not whole blocks of q8_0"),
        (["--plot", "speed.png"], "speed.png: pictures are written as SVG."),
        (["--save", "nowhere/run.json"], "There is no folder nowhere."),
        (["-pg", "512"], "--n-prompt-gen: '512' is not a pair of numbers, such as 512,128."),
        (["-r", "0"], "--repetitions: '0' is not a whole number above 0."),
    ],
)
def test_wishes_that_make_no_sense_are_usage_errors(
    localllm: Command, toy_model: Path, flags: list[str], message: str
) -> None:
    outcome = localllm("bench", str(toy_model), *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {message}")


PP, TG = BenchTest(n_prompt=32, n_gen=0, repetitions=2), BenchTest(n_prompt=0, n_gen=8)
DONE_PP = tuple(BenchSample(test=PP, repetition=i, ns=10**6, began_s=1.0) for i in range(3))


def scripted(monkeypatch: pytest.MonkeyPatch, end: Event | BaseException) -> None:
    """Bench ends this way after one test and half of the next; loading is real."""

    def bench(self: session.Session, tests: tuple[BenchTest, ...]) -> Iterator[Event]:
        if tests[0].n_prompt:
            yield from DONE_PP
            yield BenchDone()
            return
        yield BenchSample(test=TG, repetition=0, ns=10**6)
        yield BenchSample(test=TG, repetition=1, ns=10**6)
        if isinstance(end, BaseException):
            raise end
        yield end

    monkeypatch.setattr(session.Session, "bench", bench)


@pytest.mark.parametrize(
    ("form", "end", "code", "message"),
    [
        ("md", KeyboardInterrupt(), 130, "interrupted\n"),
        ("csv", KeyboardInterrupt(), 130, "interrupted\n"),
        (
            *("json", Failed(error="EngineError", message="llama_decode failed")),
            *(6, "error: llama_decode"),
        ),
        (
            "sql",
            Died(
                message="It was killed.",
                hint="h",
                phase="bench",
                signal="SIGKILL",
                out_of_memory=True,
            ),
            6,
            "error: It was killed.\nhint: h\n",
        ),
    ],
)
def test_finished_tests_survive_an_early_end(
    localllm: Command,
    monkeypatch: pytest.MonkeyPatch,
    toy_model: Path,
    form: str,
    end: Event | BaseException,
    code: int,
    message: str,
) -> None:
    scripted(monkeypatch, end)
    outcome = localllm("bench", str(toy_model), "-p", "32", "-n", "8", "-r", "2", "-o", form)
    assert outcome.code == code
    assert outcome.err.startswith(message)
    if form == "md":
        assert [line for line in outcome.out.splitlines() if "pp32" in line]
        assert "tg8" not in outcome.out
    elif form == "json":
        assert [row["samples_ns"] for row in json.loads(outcome.out)] == [[10**6, 10**6]]
    else:
        assert outcome.out.count("[1000000, 1000000]") == 1


def test_an_engine_that_is_killed_is_exit_6_with_its_rows_kept(toy_model: Path) -> None:
    command = [sys.executable, "-m", "localllm", "bench", str(toy_model)]
    with subprocess.Popen(
        [*command, "-p", "8", "-n", "2000", "-r", "100", "-t", "1", "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        # The first line says that the engine is in the middle of its tests.
        assert running.stdout is not None
        first = running.stdout.readline()
        time.sleep(0.1)
        (child,) = psutil.Process(running.pid).children()
        child.kill()
        rest, complaint = running.communicate(timeout=30)
    assert running.returncode == 6
    assert json.loads(first)["n_prompt"] == 8
    assert rest == ""
    assert complaint.startswith("error: ")
    assert "\nhint: " in complaint


def test_the_depth_counts_when_the_plan_is_checked(
    localllm: Command, llama_3_8b_file: Path
) -> None:
    """128 KiB of KV a token: 7,168 tokens more take 896 MiB more."""
    model = str(llama_3_8b_file)
    document = json.loads(localllm("plan", model, "-c", "512", "-ngl", "0", "--json").out)
    host = document["devices"][-1]
    terms = ("model", "context", "compute", "overhead", "headroom")
    needed = sum(host[f"{term}_bytes"] for term in terms)
    budget = ("-ngl", "0", "--ram-budget", str(needed + 300 * MiB))
    assert localllm("plan", model, "-c", "512", *budget).code == 0
    assert localllm("bench", model, "-d", "7000", *budget).code == 3
