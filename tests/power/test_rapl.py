"""RAPL on planted trees: wraps, what may be added, and why it cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.core.joules import energy
from localllm.core.metered.readings import Energy, Reading, Trace, Unmeasured
from localllm.power import rapl
from localllm.power.meter import Meter, MeterLost, Wanted
from localllm.power.rapl import LEAST_RANGE_UJ, MOST_W, counted_uj, open_rapl
from tests.support.trees import Files, plant, rapl_files

MAX_UJ = 262143328850
"""As on many Intel machines: 2^32 units of 61 µJ."""
NAME = "/sys/class/powercap/intel-rapl:0"
LINUX: Files = {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(root: Path, files: Files, clock: Clock | None = None) -> tuple[Meter, ...]:
    found = open_rapl(Wanted(root=plant(root, LINUX | files), clock=clock or Clock()))
    assert found.missing == ()
    return found.meters


def joules(reading: Reading | None) -> float:
    assert reading is not None
    assert reading.joules is not None
    return reading.joules


def test_a_wrap_is_undone_with_the_numbers_of_a_real_machine() -> None:
    assert counted_uj(262143300000, 50000, MAX_UJ, 1e9) == 78_851


@given(
    st.integers(0, MAX_UJ), st.integers(0, MAX_UJ // 2), st.sampled_from([MAX_UJ, 65_712_999_613])
)
def test_what_was_counted_is_found_again_whatever_the_start(
    start: int, gained: int, most: int
) -> None:
    earlier = start % (most + 1)
    gained = min(gained, most // 2)
    assert counted_uj(earlier, (earlier + gained) % (most + 1), most, most / 2) == gained


def test_a_fall_that_is_no_wrap_is_not_guessed() -> None:
    assert counted_uj(1000, 10, None, 1e12) is None  # no known range
    assert counted_uj(MAX_UJ // 2, 10, MAX_UJ, 1e9) is None  # 131 kJ in a moment: set back
    assert counted_uj(MAX_UJ + 5, 10, MAX_UJ, 1e12) is None  # beyond its own range


def test_a_meter_counts_on_over_a_wrap(tmp_path: Path) -> None:
    clock = Clock()
    (meter,) = opened(tmp_path, rapl_files(uj=262143300000, max_uj=MAX_UJ), clock)
    before = joules(meter.read())
    plant(tmp_path, {f"{NAME}/energy_uj": 50000})
    clock.now += 0.1
    assert joules(meter.read()) - before == pytest.approx(0.078851)


@pytest.mark.parametrize(
    ("max_uj", "rest_s", "uj"),
    [
        (None, 0.1, 10),  # fell, and the range is not known
        (MAX_UJ, 0.1, 10),  # set back by a suspend: no wrap adds 262 kJ in a moment
        (MAX_UJ, MAX_UJ / MOST_W / 1e6, 150 * 10**9),  # rested so long that it may have wrapped
        (None, LEAST_RANGE_UJ / MOST_W / 1e6, 150 * 10**9),
    ],
)
def test_what_cannot_be_known_breaks_the_count_and_no_window_over_it_has_an_energy(
    tmp_path: Path, max_uj: int | None, rest_s: float, uj: int
) -> None:
    clock = Clock()
    (meter,) = opened(tmp_path, rapl_files(uj=10**11, max_uj=max_uj), clock)
    readings = []
    for step in range(40):
        clock.now += 0.1
        if step == 20:
            clock.now += rest_s
            plant(tmp_path, {f"{NAME}/energy_uj": uj})
        else:
            before = int((tmp_path / NAME[1:] / "energy_uj").read_text())
            plant(tmp_path, {f"{NAME}/energy_uj": before + 2_000_000})  # 20 W
        reading = meter.read()
        assert reading is not None
        readings.append(reading)
    trace = Trace(source=meter.source, readings=tuple(readings))
    whole = energy(trace, readings[0].t_s, readings[-1].t_s)
    assert isinstance(whole, Unmeasured)
    after = energy(trace, readings[21].t_s, readings[-1].t_s)
    assert isinstance(after, Energy)
    assert after.mean_w == pytest.approx(20, rel=0.05)


def test_packages_and_their_memory_are_read_and_nothing_that_holds_or_is_part_of_them(
    tmp_path: Path,
) -> None:
    files = (
        rapl_files(uj=1, parts=("core", "uncore", "dram"))
        | rapl_files(1, name="package-1", uj=1, parts=("dram",))
        | rapl_files(2, name="psys", uj=1)
        | {
            "/sys/class/powercap/intel-rapl-mmio:0/name": "package-0",
            "/sys/class/powercap/intel-rapl-mmio:0/energy_uj": 1,
        }
    )
    meters = opened(tmp_path, files)
    assert [(m.source.scope, m.source.device, m.source.kind) for m in meters] == [
        ("CPU package", "package 0", "counter"),
        ("DRAM", "package 0", "counter"),
        ("CPU package", "package 1", "counter"),
        ("DRAM", "package 1", "counter"),
    ]
    assert {meter.source.name for meter in meters} == {"RAPL"}


def test_two_dies_of_one_package_are_told_apart(tmp_path: Path) -> None:
    files = rapl_files(name="package-0-die-0", uj=1) | rapl_files(1, name="package-0-die-1", uj=1)
    devices = [meter.source.device for meter in opened(tmp_path, files)]
    assert devices == ["package 0 die 0", "package 0 die 1"]


def test_on_amd_the_counter_is_called_a_model(tmp_path: Path) -> None:
    amd: Files = {"/proc/cpuinfo": "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2"}
    (meter,) = opened(tmp_path, rapl_files(uj=1) | amd)
    assert meter.source.note is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_that_only_root_may_read_is_refused_for_real(tmp_path: Path) -> None:
    plant(tmp_path, LINUX | rapl_files(uj=1))
    (tmp_path / NAME[1:] / "energy_uj").chmod(0)
    check_refusal(tmp_path)


def test_without_permission_there_is_a_reason_and_the_line_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, LINUX | rapl_files(uj=1, parts=("dram",)))

    def refuse(self: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may run as root, whom nobody refuses
    check_refusal(tmp_path)


def check_refusal(root: Path) -> None:
    found = open_rapl(Wanted(root=root))
    assert found.meters == ()
    for missing in found.missing:
        assert "only root may read RAPL" in missing.reason
        assert missing.fix == rapl.ENABLE
    assert "\n" not in rapl.ENABLE  # one line to copy


def test_a_counter_that_goes_away_ends_after_a_few_looks(tmp_path: Path) -> None:
    (meter,) = opened(tmp_path, rapl_files(uj=1))
    (tmp_path / NAME[1:] / "energy_uj").unlink()
    assert meter.read() is None
    assert meter.read() is None
    with pytest.raises(MeterLost, match="no longer"):
        meter.read()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu hypervisor avx2"}, "a virtual machine"),
        ({"/proc/cpuinfo": "Features\t: fp asimd"}, "no energy counter that Linux reads"),
        (LINUX, "driver is not loaded"),
        (LINUX | {"/sys/class/powercap/dtpm/name": "x"}, "Linux offers no energy counter"),
    ],
)
def test_a_machine_without_rapl_says_why_in_a_sentence(
    tmp_path: Path, files: Files, words: str
) -> None:
    found = open_rapl(Wanted(root=plant(tmp_path, {"/proc/cpuinfo": ""} | files)))
    (missing,) = found.missing
    assert words in missing.reason
    assert (missing.scope, missing.fix, found.meters) == ("CPU package", None, ())
