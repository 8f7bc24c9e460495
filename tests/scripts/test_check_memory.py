"""The comparison with public load logs, over eleven of them (tests/fixtures/load_logs.jsonl).

Facts from public notebooks and issues; each record names its source.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _check.compare import Row, compare
from _check.logs import quant_name, read_run
from check_memory import as_document, ask_engine, check, record_lines, summary, summary_lines

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "tests" / "fixtures" / "load_logs.jsonl"
RECORDS: dict[str, dict[str, Any]] = {
    record["id"]: record for record in map(json.loads, LOGS.read_text().splitlines())
}


def rows_of(record_id: str, **changes: Any) -> dict[tuple[str, str], Row]:
    found = compare(read_run(RECORDS[record_id] | changes))
    return {(row.device, row.term): row for row in found.rows}


def within(row: Row, share: float) -> bool:
    return row.error is not None and abs(row.error) <= share


@pytest.mark.parametrize(
    "record_id", ["mem-0000", "mem-0102", "mem-0105", "mem-0155", "mem-0162", "mem-0186"]
)
def test_weights_and_cache_of_a_log_are_ours_to_a_tenth_of_a_percent(record_id: str) -> None:
    rows = [
        row
        for row in rows_of(record_id).values()
        if row.term in ("weights", "kv") and "span" not in (row.reason or "")
    ]
    assert rows
    assert {row.device: row.error for row in rows if not within(row, 0.002)} == {}


def test_compute_buffers_of_one_card_in_2024_are_ours() -> None:
    row = rows_of("mem-0102")["CUDA0", "compute"]
    assert row.logged_mib == 560.0
    assert within(row, 0.01), row


def test_pipeline_copies_of_2024_are_explained_by_the_graph_of_the_time() -> None:
    rows = rows_of("mem-0105")
    for device in ("CUDA0", "CUDA1", "host"):
        row = rows[device, "compute"]
        assert row.verdict in ("ok", "explained"), row


def test_figures_of_two_devices_that_were_exchanged_are_noticed() -> None:
    rows = rows_of("mem-0113")
    assert rows["CUDA2", "weights"].reason == (
        "exchanged with CUDA3: each has what the other should"
    )
    assert rows["CUDA1", "weights"].verdict == "ok"


def test_overrides_in_the_command_are_followed_tensor_by_tensor() -> None:
    assert within(rows_of("mem-0162")["CUDA0", "weights"], 0.001)


def test_overrides_that_the_record_lost_are_told_from_a_wrong_formula() -> None:
    row = rows_of("mem-0157")["CUDA0", "weights"]
    assert row.verdict == "explained" and "overrides" in (row.reason or "")
    half = rows_of("mem-0157", model_buffers_mib={"CUDA0": 41723.89, "CPU": 98000.0})
    assert half["CUDA0", "weights"].verdict == "unexplained", "together they hold too little"


def test_experts_in_ram_are_inferred_from_a_whole_number_of_layers() -> None:
    found = compare(read_run(RECORDS["mem-0212"]))
    assert "experts of 48 layers in RAM" in found.how
    assert all(
        within(row, 0.01) for row in found.rows if row.term == "weights" and row.device != "host"
    )


def test_before_2026_the_output_layer_was_offloaded_last() -> None:
    rows = rows_of("mem-0346")
    assert rows["CUDA0", "kv"].predicted_mib == 30.0, "15 blocks of 2 MiB, none is the output"
    later = rows_of("mem-0346", date="2026-01-01")
    assert later["CUDA0", "kv"].predicted_mib == 28.0


def test_what_does_not_compare_says_why() -> None:
    ik = rows_of("mem-0155")["CUDA0", "compute"]
    assert ik.verdict == "not compared" and "ik_llama.cpp" in (ik.reason or "")
    nameless = rows_of("mem-0268").values()
    assert {row.verdict for row in nameless} == {"not compared"}


def test_a_wrong_figure_is_an_unexplained_outlier() -> None:
    wrong = rows_of("mem-0102", model_buffers_mib={"CPU": 281.81, "CUDA0": 5000.0})
    assert wrong["CUDA0", "weights"].verdict == "unexplained"
    cache = rows_of("mem-0102", kv_buffers_mib={"CUDA0": 512.0})
    assert cache["CUDA0", "kv"].verdict == "unexplained"


def test_the_summary_counts_every_row_once() -> None:
    checked, broken = check(LOGS.read_text().splitlines())
    assert broken == 0
    compared = sum(row.error is not None for each in checked for row in each.rows)
    assert sum(group["rows"] for group in summary(checked)) == compared
    document = as_document(checked, broken)
    assert len(document["records"]) == len(RECORDS)
    assert any("llama.cpp" in line for line in summary_lines(checked, broken))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Q4_K - Medium", "Q4_K_M"),
        ("Q3_K - Large", "Q3_K_L"),
        ("IQ4_XS - 4.25 bpw", "IQ4_XS"),
        ("~Q4_K_M (17.28 GiB)", "Q4_K_M"),
        ("UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("mostly F16", "F16"),
        ("unknown, may not work", None),
    ],
)
def test_quantisations_are_read_as_people_write_them(text: str, name: str | None) -> None:
    assert quant_name(text) == name


def test_llama_cpp_itself_is_asked_about_what_nothing_explains() -> None:
    wrong = RECORDS["mem-0102"] | {"compute_buffers_mib": {"CUDA0": 300.0}}
    checked, _ = check([json.dumps(wrong)])
    (row,) = [row for row in checked[0].rows if row.verdict == "unexplained"]
    (asked,) = ask_engine(checked)
    (after,) = [each for each in asked.rows if each.device == row.device and each.term == row.term]
    assert after.verdict == "explained", after
    assert "llama.cpp's allocator here" in (after.reason or "")


ODD: list[Any] = [None, "", "?", -1, [], {}, "[1, 2]", 1e99, True, {"CUDA0": "x"}, {"": 3.0}, 3.7]


def test_no_record_is_too_odd() -> None:
    draw = random.Random(1)
    lines = ["", "no json", "[]"]
    for _ in range(60):
        record = dict(draw.choice(list(RECORDS.values())))
        for key in draw.sample(sorted(record), k=3):
            record[key] = draw.choice(ODD)
        lines.append(json.dumps(record))
    checked, broken = check(lines)
    assert (len(checked), broken) == (60, 2)
    assert not [each.found.how for each in checked if "failed" in each.found.how]
    assert all(list(record_lines(each, everything=True)) or not each.rows for each in checked)


def test_the_script_prints_its_table_without_anything_but_the_package() -> None:
    script = ROOT / "scripts" / "check_memory.py"
    done = subprocess.run(
        [sys.executable, script, LOGS, "--all"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "mem-0102" in done.stdout and "rows not compared" in done.stdout
