"""What bench writes, read back: CSV, SQL, a saved run, a comparison, a picture."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.cli.bench import delimited
from localllm.cli.bench.picture import bench_picture
from localllm.core.bench.row import bench_row
from localllm.core.metered.readings import Energy, Health
from localllm.metering import Meters
from tests.cli.conftest import Command
from tests.core.bench.test_bench_energy import constant
from tests.core.bench.test_bench_row import LLAMA_BENCH_FIELDS, PP512, setup
from tests.core.test_documents import plan_8b

QUICKLY = ("-p", "16", "-n", "8", "-r", "2", "-t", "1", "--no-chat")


@pytest.fixture
def odd_model(toy_model: Path, tmp_path: Path) -> Path:
    """A file whose name has everything that quoting must survive."""
    path = tmp_path / 'it\'s "odd", really; 100%.gguf'
    shutil.copy(toy_model, path)
    return path


def test_csv_is_read_back_as_it_was(localllm: Command, odd_model: Path) -> None:
    outcome = localllm("bench", str(odd_model), *QUICKLY, "-o", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    head, *lines = csv.reader(io.StringIO(outcome.out))
    assert head[:42] == LLAMA_BENCH_FIELDS
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(row["n_prompt"], row["n_gen"]) for row in rows] == [("16", "0"), ("0", "8")]
    for row in rows:
        assert row["model_filename"] == str(odd_model)
        assert (row["repack"], row["quick"], row["complete"]) == ("1", "0", "1")
        assert re.fullmatch(r"\d+\.\d{6}", row["avg_ts"])
        assert len(json.loads(row["samples_ns"])) == 2


def test_sql_is_read_back_by_a_database_that_also_takes_llama_benchs() -> None:
    """Its own statement names 42 fields; the others stay empty."""
    odd = replace(setup(plan_8b()), model_path='it\'s "odd"; --', name="é")
    row = bench_row(odd, PP512, [10**9, 2 * 10**9], test_time="")
    theirs = dict(list(row.items())[:42])
    with sqlite3.connect(":memory:") as database:
        database.executescript(delimited.sql_head(row) + delimited.sql_line(row))
        database.executescript(delimited.sql_line(theirs))
        columns = database.execute("PRAGMA table_info(llama_bench)").fetchall()
        found = database.execute(
            "SELECT model_filename, n_prompt, power_w, round(avg_ts), samples_ns FROM llama_bench"
        ).fetchall()
    database.close()
    assert [name for _, name, *_ in columns][:42] == LLAMA_BENCH_FIELDS
    types = {name: kind for _, name, kind, *_ in columns}
    assert (types["avg_ts"], types["n_batch"], types["type_k"]) == ("REAL", "INTEGER", "TEXT")
    assert (types["power_w"], types["complete"], types["power_scope"]) == (
        "REAL",
        "INTEGER",
        "TEXT",
    )
    assert found == [
        (odd.model_path, 512, None, 384.0, "[1000000000, 2000000000]"),
        (odd.model_path, 512, None, 384.0, None),
    ]


def test_a_run_is_saved_drawn_and_compared(
    localllm: Command, toy_model: Path, tmp_path: Path
) -> None:
    saved, picture = tmp_path / "run.json", tmp_path / "run.svg"
    swept = ("-p", "16", "-n", "8", "-d", "0,32", "-t", "1", "-ub", "64,128", "-r", "3")
    outcome = localllm(
        *("bench", str(toy_model), *swept, "--save", str(saved), "--plot", str(picture))
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count(" pp16 |") == outcome.out.count(" pp16 @ d32 |") == 2
    document = json.loads(saved.read_text())
    assert (document["schema"], document["mode"], document["ended"]) == (
        *("localllm.bench/1", "standard", "complete"),
    )
    assert [row["kind"] for row in document["rows"]] == (["test"] * 4 + ["chat"]) * 2
    assert [row["n_ubatch"] for row in document["rows"]] == [64] * 5 + [128] * 5

    texts = {element.text for element in ElementTree.parse(picture).iter() if element.text}
    assert {"pp16, n_ubatch 64", "tg8, n_ubatch 128", "tokens already in the context"} <= texts

    same = localllm("bench", "--compare", str(saved), str(saved))
    assert (same.code, same.err) == (0, "")
    assert same.out.count("no significant difference") == 8 + 2 - same.out.count("not judged")
    assert "not the same in both" not in same.out
    compared = json.loads(localllm("bench", "--compare", str(saved), str(saved), "--json").out)
    assert {test["speed"]["change"] for test in compared["tests"]} == {0.0}


def test_a_comparison_names_what_is_not_there(localllm: Command, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    missing = localllm("bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert (missing.code, missing.out) == (7, "")
    assert "a.json, test 1: n_prompt is no number of tokens" in missing.err
    gone = localllm("bench", "--compare", str(tmp_path / "c.json"), str(tmp_path / "b.json"))
    assert (gone.code, gone.out) == (5, "")


def test_a_quick_run_is_marked_in_every_form(
    localllm: Command, toy_model: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "quick.json"
    outcome = localllm("bench", str(toy_model), "--quick", "-t", "1", "--save", str(saved))
    assert outcome.code == 0
    assert "pp128" in outcome.out and "tg32" in outcome.out
    assert "quick run: few and short tests, not to be compared" in outcome.out
    document = json.loads(saved.read_text())
    assert document["quick"] is True
    assert all(row["quick"] and row["mode"] == "quick" for row in document["rows"])
    same = localllm("bench", "--compare", str(saved), str(saved))
    assert "not judged: A is a quick run" in same.out


def test_joules_stand_beside_the_tokens(
    localllm: Command, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that always draws 50 W, by a counter of 0.1 s: a second of tests is too short."""

    def energy(self: Meters, began_s: float, ended_s: float) -> Energy:
        seconds = ended_s - began_s
        return replace(constant(50), joules=50 * seconds, began_s=began_s, ended_s=ended_s)

    def health(self: Meters, began_s: float) -> tuple[Health, ...]:
        look = Health(t_s=began_s, device="CUDA0", temperature_c=61.0, clock_mhz=1980.0)
        return (replace(look, throttle=("power cap",), used_bytes=5 * 1024**3),)

    def trace(self: Meters, began_s: float, ended_s: float) -> tuple[tuple[float, float], ...]:
        return ((began_s, 50.0), (ended_s, 50.0))

    monkeypatch.setattr(Meters, "energy_between", energy)
    monkeypatch.setattr(Meters, "health_since", health)
    monkeypatch.setattr(Meters, "power_trace", trace)
    saved = tmp_path / "run.json"
    outcome = localllm("bench", str(toy_model), *QUICKLY, "--save", str(saved))
    assert (outcome.code, outcome.err) == (0, "")
    figure = r"~[\d.,]+"
    assert re.search(
        rf"^tg8: ~50 W, {figure} ± [\d.,]+ J/token \(stat\) ± 5 % \(sensor\), "
        r"NVML energy counter, GPU board$",
        outcome.out,
        re.MULTILINE,
    )
    assert "tg8: clocks held down by power cap, mean 1,980 MHz" in outcome.out
    assert "power: not measured" not in outcome.out
    document = json.loads(saved.read_text())
    assert document["power_trace"]["w"] == [50.0, 50.0]
    for row in document["rows"]:
        n_tokens = (row["n_prompt"] + row["n_gen"]) * 2
        assert row["power_w"] == pytest.approx(50)
        assert row["j_per_token"] == pytest.approx(row["energy_j"] / n_tokens)
        # Clearing the memory between two repetitions belongs to the window.
        assert row["energy_j"] >= 50 * sum(row["samples_ns"]) / 1e9 * 0.999
        assert (row["power_rough"], row["power_unknown"]) == (True, None)
        assert (row["temperature_c"], row["peak_device_bytes"]) == (61.0, 5 * 1024**3)


def test_watts_are_drawn_over_time_and_marks_lie_where_they_should() -> None:
    rows = [
        bench_row(setup(plan_8b()), replace(PP512, n_depth=depth), [ns], test_time="")
        for depth, ns in ((0, 10**9), (1024, 2 * 10**9))
    ]
    picture = ElementTree.fromstring(bench_picture(rows, [(100.0 + t, 200.0) for t in range(5000)]))
    svg = "{http://www.w3.org/2000/svg}"
    dots = [dot for dot in picture.iter(f"{svg}circle")]
    (x0, y0), (x1, y1) = ((float(d.get("cx", "")), float(d.get("cy", ""))) for d in dots)
    assert x0 < x1 and y0 < y1  # deeper is to the right, slower is lower
    curve = [path for path in picture.iter(f"{svg}path") if "L" in path.get("d", "")][-1]
    assert 100 < curve.get("d", "").count("L") < 1000  # thinned to what can be seen
    assert len({y for _, y in re.findall(r"([\d.]+) ([\d.]+)", curve.get("d", ""))}) == 1
    assert "power, W" in {element.text for element in picture.iter(f"{svg}text")}
