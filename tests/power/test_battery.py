"""The battery: the whole laptop's watts, and only while it runs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.power.battery import open_battery
from localllm.power.meter import MeterLost, Wanted
from tests.support.trees import Files, battery_files, plant

BAT0 = "/sys/class/power_supply/BAT0"


@pytest.mark.parametrize(
    ("files", "watts"),
    [
        (battery_files(power_uw=11_500_000), 11.5),
        (battery_files(power_uw=-11_500_000), 11.5),  # some drivers sign it
        (battery_files(power_uw=None, current_ua=1_000_000, voltage_uv=11_400_000), 11.4),
        (
            battery_files(power_uw=8_000_000)
            | battery_files("BAT1", power_uw=3_500_000)
            | battery_files("hidpp_battery_0", power_uw=9, scope="Device"),  # a mouse
            11.5,
        ),
        (
            battery_files(power_uw=11_500_000)
            | battery_files("BAT1", status="Not charging", power_uw=0),
            11.5,
        ),
    ],
)
def test_a_discharging_battery_tells_what_the_whole_laptop_takes(
    tmp_path: Path, files: Files, watts: float
) -> None:
    (meter,) = open_battery(Wanted(root=plant(tmp_path, files))).meters
    reading = meter.read()
    assert reading is not None
    assert reading.watts == pytest.approx(watts)
    assert (meter.source.scope, meter.source.kind) == ("whole laptop", "instant")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (battery_files(status="Charging", power_uw=30_000_000), "mains power (battery: Charging)"),
        (battery_files(status="Full", power_uw=0), "mains power (battery: Full)"),
        (battery_files(power_uw=0), "neither power nor current"),
        ({f"{BAT0}/type": "Battery"}, "cannot be read"),
    ],
)
def test_otherwise_there_is_a_reason_and_no_zero(tmp_path: Path, files: Files, words: str) -> None:
    found = open_battery(Wanted(root=plant(tmp_path, files)))
    (missing,) = found.missing
    assert found.meters == ()
    assert words in missing.reason


def test_a_machine_without_a_battery_is_no_news(tmp_path: Path) -> None:
    plant(tmp_path, {"/sys/class/power_supply/AC/type": "Mains"})
    found = open_battery(Wanted(root=tmp_path))
    assert (found.meters, found.missing) == ((), ())


def test_plugging_in_ends_the_readings(tmp_path: Path) -> None:
    (meter,) = open_battery(Wanted(root=plant(tmp_path, battery_files(power_uw=1)))).meters
    plant(tmp_path, {f"{BAT0}/status": "Charging"})
    with pytest.raises(MeterLost, match="mains power"):
        meter.read()


def test_a_battery_that_stops_telling_ends_after_a_few_looks(tmp_path: Path) -> None:
    (meter,) = open_battery(Wanted(root=plant(tmp_path, battery_files(power_uw=1)))).meters
    plant(tmp_path, {f"{BAT0}/power_now": 0})
    assert (meter.read(), meter.read()) == (None, None)
    with pytest.raises(MeterLost, match="no longer tells"):
        meter.read()
