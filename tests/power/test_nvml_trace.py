"""Recording the driver's answers, and replaying them: the meters see what they saw then.

No recording of a real GPU is among the fixtures yet: put one into ``fixtures/nvml``, and it is
tested. Until then there is a synthetic one, of the fake driver itself through the real binding: it
proves the way there and back, and nothing about any GPU.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from record_nvml import Line, Recorder, Recording, head

from localllm.core.joules import energy
from localllm.core.metered.readings import Energy, Health, Reading, Trace
from localllm.power.meter import Meter, Watcher
from tests.support.fake_nvml import FakeDriver, Scenario, rtx_4090
from tests.support.fake_nvml.held import Bench, close
from tests.support.fake_nvml.plant import Plant
from tests.support.fake_nvml.replay import Recorded, load, replay

PCI = "0000:c1:00.0"
EVERY_S = 0.1
BEGAN_S = 1000.0
SCRIPT = Path(__file__).parents[2] / "scripts/record_nvml.py"
REAL = sorted((Path(__file__).parents[1] / "fixtures/nvml").glob("*.jsonl"))

PHASES = (
    # name, seconds, W at first, W at last, temperature, SM clock, reasons, MiB in use
    ("idle", 2.0, 18.0, 18.0, 38, 210, 0x1, 4),
    ("load", 1.5, 55.0, 75.0, 41, 1800, 0x0, 5200),
    ("prefill", 1.5, 320.0, 440.0, 58, 2610, 0x4, 5900),
    ("decode", 3.0, 265.0, 255.0, 63, 2745, 0x0, 5900),
    ("idle", 2.0, 24.0, 20.0, 55, 210, 0x1, 5900),
)


def record_synthetic(nvml: Bench, path: Path) -> tuple[list[Reading], list[Health]]:
    """Record the fake driver going through ``PHASES``; return what the meters saw meanwhile."""
    supply = nvml.plant.gpus[0]
    supply.power(18.0, at_s=900.0)
    supply.curve(*((seconds, first, last) for _, seconds, first, last, *_ in PHASES))
    lines: list[Line] = []
    readings: list[Reading] = []
    healths: list[Health] = []
    nvml.machine(rtx_4090())
    opened = nvml.open(PCI)  # holds NVML open, so that the binding can be wrapped
    import pynvml

    lines.append(head(pynvml, [PCI], synthetic=True))
    with Recorder(pynvml, lines.append, clock=nvml.plant.clock) as recorder:
        watched = nvml.open(PCI)
        recording = Recording(pynvml, watched, nvml.plant.clock)
        for name, seconds, _, _, temperature, clock, reasons, used in PHASES:
            recorder.mark(name)
            nvml.machine(
                rtx_4090(
                    temperature_c=temperature,
                    clock_mhz=clock,
                    max_clock_mhz=3105,
                    memory_clock_mhz=10501,
                    event_reasons=reasons,
                    used_mib=used,
                )
            )
            for _ in range(round(seconds / EVERY_S)):
                recording.look()
                keep(watched.meters[0], watched.watchers[0], readings, healths)
                nvml.plant.advance(EVERY_S)
        close(watched)
    close(opened)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return readings, healths


def keep(meter: Meter, watcher: Watcher, readings: list[Reading], healths: list[Health]) -> None:
    reading, health = meter.read(), watcher.health()
    assert reading is not None and health is not None
    readings.append(reading)
    healths.append(health)


def played(recorded: Recorded, nvml: Bench, began_s: float) -> Iterator[tuple[Meter, Watcher]]:
    """Replay a recording of one GPU; yield its meter and its watcher at each moment."""
    moments = replay(recorded, nvml, began_s=began_s, every_s=EVERY_S)
    next(moments)
    opened = nvml.open(*recorded.pci_ids)
    yield opened.meters[0], opened.watchers[0]
    for _ in moments:
        yield opened.meters[0], opened.watchers[0]
    close(opened)


def test_a_replay_gives_what_was_seen_when_it_was_recorded(nvml: Bench, tmp_path: Path) -> None:
    began_s = nvml.plant.clock()
    readings, healths = record_synthetic(nvml, tmp_path / "trace.jsonl")
    nvml.plant.gpus[0].sensor()  # nothing is left of the power: all that follows is the recording's

    again: list[Reading] = []
    healths_again: list[Health] = []
    recorded = load(tmp_path / "trace.jsonl")
    for meter, watcher in played(recorded, nvml, began_s):
        keep(meter, watcher, again, healths_again)

    assert again == readings
    assert healths_again == healths


def test_an_error_is_replayed_as_an_error(nvml: Bench) -> None:
    gpu = {"name": "GPU", "compute_capability": "8.9"}
    call = {"fn": "nvmlDeviceGetTotalEnergyConsumption", "device": PCI}
    recorded = Recorded(
        about={"gpus": {PCI: gpu}, "driver": "560.35.03"},
        lines=(
            {"t": 0.0, **call, "ret": 0, "out": [5000]},
            {"t": 0.1, **call, "ret": 999},
            {"t": 0.2, **call, "ret": 0, "out": [5060]},
        ),
    )

    seen = [meter.read() for meter, _ in played(recorded, nvml, 2000.0)]

    assert [reading and reading.joules for reading in seen] == [5.0, None, 5.06]


@pytest.mark.parametrize("real", [None, *REAL], ids=lambda path: path.stem if path else "synthetic")
def test_counter_and_power_of_a_recording_tell_the_same_energy(
    nvml: Bench, tmp_path: Path, real: Path | None
) -> None:
    if real is None:
        record_synthetic(nvml, tmp_path / "trace.jsonl")
        nvml.plant.gpus[0].sensor()
    recorded = load(real or tmp_path / "trace.jsonl")
    without_counter = replace(
        recorded,
        lines=tuple(
            {**line, "ret": 3} if line.get("fn") == "nvmlDeviceGetTotalEnergyConsumption" else line
            for line in recorded.lines
        ),
    )

    counter, power = trace_of(recorded, nvml), trace_of(without_counter, nvml)

    assert (counter.source.kind, power.source.kind) == ("counter", "instant")
    for name, began_s, ended_s in recorded.phases():
        by_counter = energy(counter, BEGAN_S + began_s, BEGAN_S + ended_s)
        by_power = energy(power, BEGAN_S + began_s, BEGAN_S + ended_s)
        assert isinstance(by_counter, Energy) and isinstance(by_power, Energy), name
        room_j = 3 * math.hypot(by_counter.sigma_j, by_power.sigma_j)
        assert by_counter.joules == pytest.approx(by_power.joules, abs=room_j), name


def test_the_script_records_a_command_with_its_marks(driver: FakeDriver, tmp_path: Path) -> None:
    Scenario(gpus=(rtx_4090(temperature_c=44),)).write(driver.scenario_file)
    plant = Plant(driver.plant_file)
    plant.gpus[0].power(60.0, at_s=plant.clock() - 5.0)
    out = tmp_path / "trace.jsonl"
    says = "print('mark prefill', flush=True); import time; time.sleep(0.3)"

    command = [sys.executable, str(SCRIPT), "--out", str(out), "--idle", "0.1"]
    done = subprocess.run(
        [*command, "--", sys.executable, "-c", says],
        env=driver.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    recorded = load(out)
    assert not recorded.about["synthetic"]
    assert [name for name, *_ in recorded.phases()] == ["idle", "command", "prefill", "idle"]
    answers = [line["out"][0] for line in recorded.lines if "Energy" in line.get("fn", "")]
    assert answers == sorted(answers) and answers[-1] - answers[0] >= 0.2 * 60_000
    assert {line["device"] for line in recorded.lines if "Temp" in line.get("fn", "")} == {PCI}


def test_without_a_driver_the_script_says_so(driver: FakeDriver, tmp_path: Path) -> None:
    Scenario(system={"code.nvmlInitWithFlags": 9}).write(driver.scenario_file)

    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path / "trace.jsonl")],
        env=driver.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == "nothing to record: the NVIDIA driver is not loaded\n"
    assert not (tmp_path / "trace.jsonl").exists()


def trace_of(recorded: Recorded, nvml: Bench) -> Trace:
    readings: list[Reading] = []
    for meter, _ in played(recorded, nvml, BEGAN_S):
        reading = meter.read()
        source = meter.source
        if reading is not None:
            readings.append(reading)
    return Trace(source=source, readings=tuple(readings))
