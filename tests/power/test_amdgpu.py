"""AMD cards on planted trees: power, health, and cards that are left asleep."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from localllm.power.amdgpu import open_amdgpu
from localllm.power.gpu_metrics import throttle_reasons
from localllm.power.meter import MeterLost, Opened, Wanted
from tests.support.trees import Files, amdgpu_sensors, plant

CARD = "0000:03:00.0"
OTHER = "0000:0a:00.0"
FOLDER = f"/sys/bus/pci/devices/{CARD}"
HWMON = f"{FOLDER}/hwmon/hwmon4"


def opened(root: Path, files: Files, *pci_ids: str) -> Opened:
    return open_amdgpu(Wanted(root=plant(root, files), pci_ids=pci_ids or (CARD,)))


def table(mask: int, *, size: int = 120, content: int = 3) -> bytes:
    head = struct.pack("<HBB", size, 1, content)
    return head + b"\xff" * (112 - len(head)) + struct.pack("<Q", mask) + b"\0" * (size - 120)


@pytest.mark.parametrize(
    ("sensors", "kind", "window_s", "scope"),
    [
        ({"power1_average": 203_000_000}, "average", 1.0, "GPU board"),
        ({"power1_input": 203_000_000}, "instant", 0.0, "GPU board"),
        ({"power1_input": 1, "power1_average": 203_000_000}, "average", 1.0, "GPU board"),
        ({"power1_average": 203_000_000, "in1_label": "vddnb"}, "average", 1.0, "whole chip"),
    ],
)
def test_power_is_read_with_its_kind_and_scope(
    tmp_path: Path, sensors: Files, kind: str, window_s: float, scope: str
) -> None:
    (meter,) = opened(tmp_path, amdgpu_sensors(CARD, sensors)).meters
    reading = meter.read()
    assert reading is not None
    assert reading.watts == pytest.approx(203.0)
    source = meter.source
    assert (source.kind, source.window_s, source.scope) == (kind, window_s, scope)
    assert (source.device, source.pci_id, source.name) == ("amd0", CARD, "amdgpu hwmon")


def test_only_wanted_cards_are_read_and_numbered_as_the_probe_numbers_them(tmp_path: Path) -> None:
    files = amdgpu_sensors(CARD, {"power1_input": 5}) | amdgpu_sensors(OTHER, {"power1_input": 7})
    found = opened(tmp_path, files, f"0000{OTHER.upper()}")
    assert [meter.source.device for meter in found.meters] == ["amd1"]
    assert len(found.watchers) == 1
    assert opened(tmp_path, files, "0000:ff:00.0") == Opened()


def test_a_sleeping_card_is_left_asleep(tmp_path: Path) -> None:
    found = opened(tmp_path, amdgpu_sensors(CARD, {"power1_input": 5}, status="suspended"))
    assert (found.meters, found.watchers) == ((), ())
    assert "sleeps" in found.missing[0].reason


def test_a_card_that_falls_asleep_is_not_asked_any_more(tmp_path: Path) -> None:
    found = opened(tmp_path, amdgpu_sensors(CARD, {"power1_input": 5}))
    plant(tmp_path, {f"{FOLDER}/power/runtime_status": "suspended"})
    for name in ("power1_input", "temp1_input"):  # whoever reads these now would wake it
        path = tmp_path / f"{HWMON}/{name}"[1:]
        path.unlink(missing_ok=True)
        path.mkdir()
    assert found.meters[0].read() is None
    assert found.watchers[0].health() is None


@pytest.mark.parametrize("sensors", [{}, {"power1_average": 0}])
def test_a_card_without_a_power_sensor_has_a_reason_and_no_zero(
    tmp_path: Path, sensors: Files
) -> None:
    found = opened(tmp_path, amdgpu_sensors(CARD, sensors))
    assert found.meters == ()
    assert "power1_average" in found.missing[0].reason


def test_a_card_that_is_gone_ends_its_readings(tmp_path: Path) -> None:
    (meter,) = opened(tmp_path, amdgpu_sensors(CARD, {"power1_input": 5})).meters
    shutil.rmtree(tmp_path / FOLDER[1:])
    with pytest.raises(MeterLost, match="gone from the bus"):
        meter.read()


def test_a_sensor_that_stops_ends_after_a_few_looks(tmp_path: Path) -> None:
    (meter,) = opened(tmp_path, amdgpu_sensors(CARD, {"power1_input": 5})).meters
    plant(tmp_path, {f"{HWMON}/power1_input": 0})
    assert (meter.read(), meter.read()) == (None, None)
    with pytest.raises(MeterLost, match="no longer tells"):
        meter.read()


def test_health_is_what_the_driver_tells_and_the_rest_is_absent(tmp_path: Path) -> None:
    files = amdgpu_sensors(
        CARD,
        {
            "temp1_input": 61000,
            "freq1_input": 2_371_000_000,
            "freq2_input": 1_249_000_000,
            "power1_cap": 303_000_000,
        },
    ) | {
        f"{FOLDER}/pp_dpm_sclk": "0: 500Mhz\n1: 2371Mhz *\n2: 2500Mhz",
        f"{FOLDER}/gpu_metrics": table(1 << 0 | 1 << 36),
        f"{FOLDER}/mem_info_vram_used": 4096,
        f"{FOLDER}/gpu_busy_percent": 97,
    }
    health = opened(tmp_path, files).watchers[0].health()
    assert health is not None
    assert (health.device, health.temperature_c, health.power_limit_w) == ("amd0", 61.0, 303.0)
    assert health.clock_mhz == pytest.approx(2371)
    assert (health.clock_max_mhz, health.used_bytes) == (2500.0, 4096)
    assert (health.utilisation, health.pci_id) == (0.97, CARD)
    assert (health.throttle, health.throttle_told) == (("power cap", "thermal"), True)

    (tmp_path / "bare").mkdir()
    bare = opened(tmp_path / "bare", amdgpu_sensors(CARD, {})).watchers[0].health()
    assert bare is not None
    assert (bare.temperature_c, bare.clock_mhz, bare.power_limit_w) == (None, None, None)
    assert (bare.throttle, bare.throttle_told) == ((), False)


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (table(0), ()),
        (table(1 << 16), ("current limit",)),
        (table(1 << 47), ("hardware slowdown",)),
        (table(2**64 - 1), None),  # never filled in
        (table(1, content=1), None),  # an older layout
        (table(1)[:119], None),  # cut short
        (b"", None),
    ],
)
def test_throttling_is_told_where_the_table_is_known(
    data: bytes, reasons: tuple[str] | None
) -> None:
    assert throttle_reasons(data) == reasons
