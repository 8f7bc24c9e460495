"""Apple's energy counters: names and units to joules, and a reader process that may fail.

The process itself needs a Mac; a stand-in that speaks its protocol takes its place here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from localllm.power import apple, apple_ioreport
from localllm.power.apple import NoAnswer, chip_joules, counters_of, joules_of, open_apple
from localllm.power.meter import MeterLost, Opened, Wanted

M2 = (
    ("ECPU", "mJ", 400),
    ("PCPU", "mJ", 600),
    ("CPU Energy", "mJ", 1000),
    ("GPU Energy", "nJ", 2_000_000_000),
    ("ANE", "mJ", 500),
    ("DRAM", "mJ", 9000),
)


@pytest.mark.parametrize(
    ("value", "unit", "joules"),
    [
        (1500, "mJ", 1.5),
        (1500, "uJ", 0.0015),
        (1500, "nJ ", 1.5e-6),
        (1500, "mW", None),
        (1500, "", None),
        (-1, "mJ", None),
    ],
)
def test_units_become_joules_or_nothing(value: int, unit: str, joules: float | None) -> None:
    found = joules_of(value, unit)
    assert found == (None if joules is None else pytest.approx(joules))


def test_the_chip_is_its_cpu_gpu_and_neural_engine_and_no_part_counts_twice() -> None:
    assert chip_joules(M2) == pytest.approx(1.0 + 2.0 + 0.5)


def test_both_dies_of_an_ultra_count() -> None:
    dies = [(f"DIE_{die}_CPU Energy", "mJ", 1000) for die in (0, 1)]
    engines = [(f"ANE0_{die}", "mJ", 250) for die in (0, 1)]
    assert chip_joules([*dies, *engines, ("GPU Energy", "nJ", 10**9)]) == pytest.approx(3.5)


@pytest.mark.parametrize(
    "counters",
    [
        (),
        (("CPU Energy", "mJ", 1),),  # no GPU: the chip would be short of a part
        (("CPU Energy", "mJ", 1), ("GPU Energy", "furlongs", 1)),
    ],
)
def test_a_chip_that_is_not_whole_has_no_energy(counters: tuple[apple.Counter, ...]) -> None:
    assert chip_joules(counters) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b'[["a", "b"]]', b'[["a", "b", "c"]]'])
def test_an_answer_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(NoAnswer):
        counters_of(line)


def stand_in(tmp_path: Path, body: str) -> tuple[str, ...]:
    script = tmp_path / "reader.py"
    script.write_text(f"import json, sys, time\n{body}\n")
    return (sys.executable, "-I", "-S", str(script))


ANSWERS = """
for mj in (1000, 1250, 90_000_000, 90_000_100):
    sys.stdin.readline() or sys.exit()
    rows = [["CPU Energy", "mJ", mj], ["GPU Energy", "nJ", 0]]
    print(json.dumps(rows), flush=True)
"""


def test_the_meter_counts_what_the_process_answers_and_breaks_over_a_jump(tmp_path: Path) -> None:
    opened = apple.open_child(stand_in(tmp_path, ANSWERS), time.monotonic, 20.0)
    (meter,) = opened.meters
    assert (meter.source.scope, meter.source.kind) == ("whole chip", "counter")
    counted = [meter.read(), meter.read(), meter.read()]
    # 1.00 J at the start; 90 kJ in a moment was no energy; 0.1 J after it is.
    assert [r.joules for r in counted if r is not None] == pytest.approx([1.25, 0.0, 0.1])
    with pytest.raises(MeterLost, match="does not give"):
        meter.read()
    meter.close()


@pytest.mark.parametrize(
    ("body", "answer_s", "words"),
    [
        ("sys.exit(1)", 20.0, "does not give"),
        ("import os; os.kill(os.getpid(), 9)", 20.0, "does not give"),
        ("sys.stdin.readline(); time.sleep(60)", 0.01, "do not answer"),
        ('sys.stdin.readline(); print("[]", flush=True); sys.stdin.readline()', 20.0, "not among"),
        ('sys.stdin.readline(); print("?", flush=True); sys.stdin.readline()', 20.0, "be read"),
    ],
)
def test_a_reader_that_fails_is_a_missing_meter_with_a_reason(
    tmp_path: Path, body: str, answer_s: float, words: str
) -> None:
    opened = apple.open_child(stand_in(tmp_path, body), time.monotonic, answer_s)
    assert opened.meters == ()
    assert words in opened.missing[0].reason


def test_a_command_that_does_not_exist_is_a_missing_meter() -> None:
    opened = apple.open_child(("/does/not/exist",), time.monotonic)
    assert "cannot be read" in opened.missing[0].reason


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has its counters")
def test_elsewhere_there_is_no_such_meter_and_the_real_reader_says_so() -> None:
    assert open_apple(Wanted()) == Opened()
    opened = apple.open_child(
        (sys.executable, "-I", "-S", apple_ioreport.__file__), time.monotonic, 20.0
    )
    assert "does not give" in opened.missing[0].reason
