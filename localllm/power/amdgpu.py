"""AMD GPUs: power, temperature and clocks that the amdgpu driver publishes through hwmon.

Reading them would wake a card that sleeps, so each look first asks the kernel whether it does,
which wakes nothing. Files and units: the kernel's "amdgpu hwmon interfaces".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localllm.core.metered.readings import Health, Kind, MeterScope, Reading, Source
from localllm.power.gpu_metrics import throttle_reasons
from localllm.power.meter import Meter, MeterLost, Missing, Opened, Wanted, Watcher
from localllm.system.pci import AMD, displays, normal_pci_id
from localllm.system.sysfiles import folders, read_int, read_text

PERIOD_S = 0.1
AVERAGE_S = 1.0
"""Neither is documented: the firmware's filter differs by generation. A second is cautious."""

_ASLEEP = "the GPU sleeps; reading it would wake it"
_PATIENCE = 3
_POWER_FILES: tuple[tuple[str, Kind], ...] = (
    ("power1_average", "average"),
    ("power1_input", "instant"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One card's folder on the PCI bus, and that of its sensors."""

    folder: Path
    hwmon: Path
    device: str
    pci_id: str

    @property
    def asleep(self) -> bool:
        return read_text(self.folder / "power/runtime_status") in ("suspended", "suspending")


class AmdgpuMeter:
    """The power of one card, or of a whole chip with the CPU in it."""

    def __init__(self, card: _Card, source: Source, file: str, clock: Callable[[], float]) -> None:
        """``file`` is the sensor's, in µW."""
        self._card = card
        self._source = source
        self._file = card.hwmon / file
        self._clock = clock
        self._failed = 0

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        return self._source

    def read(self) -> Reading | None:
        """Look once; None while the card sleeps. Raises MeterLost when it is gone."""
        if self._card.asleep:
            return None
        began_s = self._clock()
        microwatts = read_int(self._file)
        t_s = (began_s + self._clock()) / 2
        if microwatts is None or microwatts <= 0:  # 0: a virtual machine's card
            if not self._card.folder.is_dir():
                raise MeterLost("the GPU is gone from the bus")
            self._failed += 1
            if self._failed >= _PATIENCE:
                raise MeterLost("amdgpu no longer tells the power")
            return None
        self._failed = 0
        return Reading(t_s=t_s, watts=microwatts / 1e6)

    def close(self) -> None:
        """There is nothing to let go of: the file is opened for each look."""


class AmdgpuWatcher:
    """Temperature, clocks and what holds them down, of one card."""

    def __init__(self, card: _Card, clock: Callable[[], float]) -> None:
        """Take a card."""
        self._card = card
        self._clock = clock

    def health(self) -> Health | None:
        """Look once; None while the card sleeps."""
        card = self._card
        if card.asleep:
            return None
        cap_uw = read_int(card.hwmon / "power1_cap")
        throttle = throttle_reasons(_read_bytes(card.folder / "gpu_metrics"))
        return Health(
            t_s=self._clock(),
            device=card.device,
            temperature_c=_scaled(card.hwmon / "temp1_input", 1e-3),
            clock_mhz=_scaled(card.hwmon / "freq1_input", 1e-6),
            clock_max_mhz=_fastest_mhz(read_text(card.folder / "pp_dpm_sclk")),
            memory_clock_mhz=_scaled(card.hwmon / "freq2_input", 1e-6),
            power_limit_w=cap_uw / 1e6 if cap_uw else None,
            throttle=throttle or (),
            throttle_told=throttle is not None,
            used_bytes=read_int(card.folder / "mem_info_vram_used"),
            utilisation=_scaled(card.folder / "gpu_busy_percent", 1e-2),
            pci_id=card.pci_id,
        )

    def close(self) -> None:
        """There is nothing to let go of."""


def open_amdgpu(wanted: Wanted) -> Opened:
    """Open the wanted cards that the amdgpu driver runs; others are left alone, and asleep."""
    ours = {normal_pci_id(pci_id) for pci_id in wanted.pci_ids}
    meters: list[Meter] = []
    watchers: list[Watcher] = []
    absent: list[Missing] = []
    on_bus = [
        display
        for display in displays(wanted.root, AMD)
        if (_folder(wanted.root, display.pci_id) / "mem_info_vram_total").exists()
    ]
    for index, display in enumerate(on_bus):  # numbered as the probe numbers them
        if display.pci_id not in ours:
            continue
        folder = _folder(wanted.root, display.pci_id)
        device = f"amd{index}"
        hwmon = next(iter(folders(folder / "hwmon", "hwmon*")), None)
        if display.asleep or hwmon is None:
            reason = _ASLEEP if display.asleep else "amdgpu publishes no sensors for this card"
            absent.append(Missing(scope="GPU board", device=device, reason=reason))
            continue
        card = _Card(folder=folder, hwmon=hwmon, device=device, pci_id=display.pci_id)
        meter = _open(card, wanted.clock)
        if isinstance(meter, Missing):
            absent.append(meter)
        else:
            meters.append(meter)
        watchers.append(AmdgpuWatcher(card, wanted.clock))
    return Opened(meters=tuple(meters), watchers=tuple(watchers), missing=tuple(absent))


def _open(card: _Card, clock: Callable[[], float]) -> AmdgpuMeter | Missing:
    # "On APUs this includes the CPU", says the kernel of both; only APUs have this label.
    apu = read_text(card.hwmon / "in1_label") == "vddnb"
    scope: MeterScope = "whole chip" if apu else "GPU board"
    for file, kind in _POWER_FILES:
        if not read_int(card.hwmon / file):
            continue
        average = kind == "average"
        source = Source(
            name="amdgpu hwmon",
            scope=scope,
            kind=kind,
            device=card.device,
            pci_id=card.pci_id,
            period_s=PERIOD_S,
            window_s=AVERAGE_S if average else 0.0,
            note="the driver does not say over how long it averages" if average else None,
        )
        return AmdgpuMeter(card, source, file, clock)
    reason = "amdgpu gives neither power1_average nor power1_input for this card"
    return Missing(scope=scope, device=card.device, reason=reason)


def _folder(root: Path, pci_id: str) -> Path:
    return root / "sys/bus/pci/devices" / pci_id


def _scaled(path: Path, factor: float) -> float | None:
    value = read_int(path)
    return None if value is None else value * factor


def _fastest_mhz(levels: str | None) -> float | None:
    """Return the highest of ``0: 500Mhz``, ``1: 2371Mhz *``; None where there is none."""
    speeds = [word[:-3] for word in (levels or "").split() if word.lower().endswith("mhz")]
    return max((float(speed) for speed in speeds if speed.isdecimal()), default=None)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
