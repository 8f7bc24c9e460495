"""NVIDIA GPUs through NVML: an energy counter where there is one, else power.

Each GPU is found by its PCI address, never by a number: CUDA and NVML count differently. A GPU that
nobody wants or that sleeps gets no call, and where there is no other NVML is not even opened:
that alone would wake a laptop's GPU and keep it awake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localllm.core.metered.readings import Kind, MeterScope, Reading, Source
from localllm.power.meter import Meter, MeterLost, Missing, Opened, Wanted, Watcher
from localllm.power.nvml_card import ABSENT, PATIENCE, Card, is_anothers, open_card, sleeps
from localllm.power.nvml_health import NvmlWatcher
from localllm.system.nvml import Failure, NvmlUnavailable, SharedNvml
from localllm.system.pci import normal_pci_id

TOTAL_ENERGY = 83
POWER_AVERAGE = 185
POWER_INSTANT = 186
"""Numbers of NVML's fields (nvml.h, ``NVML_FI_DEV_...``)."""

OF_GPU, OF_MODULE = 0, 1
"""Scopes of a power field (nvml.h, ``NVML_POWER_SCOPE_...``)."""

PERIOD_S = 0.1
"""How often a new value comes. ML.ENERGY, "thermally stable profiling", for the energy counter;
Yang, Adámek, Armour, "Part-time Power Measurements" (SC24), for the power of most generations."""

AVERAGE_S = 1.0
"""What averages look back (NVML's reference, ``nvmlDeviceGetPowerUsage``)."""

DUTY_OF_GA100_AND_GH100 = 0.25
"""Share of the time at which an A100 or H100 samples its power at all ("Part-time Power
Measurements", abstract). The energy counter stands on the same sensor as far as is known."""

GAIN = 0.05
"""NVML's reference states ±5 % for Fermi and Kepler, and nothing for what came later."""

_AMPERE = 7  # NVML_DEVICE_ARCH_AMPERE
_NOT_AVAILABLE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # nvml.h: NVML_VALUE_NOT_AVAILABLE is -1
_MODULE_NOTE = "the whole module: its CPU's power is included"
_MIG_NOTE = "a MIG slice: the whole card's power"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way to measure a GPU: a call that gives mJ or mW, and what its answer means."""

    ask: Callable[[Any], int]
    name: str
    kind: Kind
    scope: MeterScope = "GPU board"
    note: str | None = None


class NvmlMeter:
    """The energy or the power of one GPU."""

    def __init__(
        self, card: Card, source: Source, ask: Callable[[Any], int], clock: Callable[[], float]
    ) -> None:
        """Hold NVML open; ``ask`` gives mJ for a counter and mW for anything else."""
        self._card = card
        self._source = source
        self._ask = ask
        self._clock = clock
        self._failed = 0
        self._release = card.share()

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        return self._source

    def read(self) -> Reading | None:
        """Look once; None for a value that is not there. Raises MeterLost with the GPU.

        The reading's time is the middle of the call: a busy driver may take its time.
        """
        began_s = self._clock()
        value, failure = self._card.attempt(self._ask)
        t_s = (began_s + self._clock()) / 2
        if self._card.lost is not None:
            raise MeterLost(self._card.lost)
        if failure is not None:
            self._failed = 0 if failure[0] in ABSENT else self._failed + 1
            if self._failed >= PATIENCE:
                raise MeterLost(f"{failure[1]}, {PATIENCE} times in a row")
            return None
        self._failed = 0
        if value is None or not _is_value(value, self._source.kind):
            return None
        if self._source.kind == "counter":
            return Reading(t_s=t_s, joules=value / 1000)
        return Reading(t_s=t_s, watts=value / 1000)

    def close(self) -> None:
        """Let go of NVML."""
        self._release()


def open_nvml(wanted: Wanted) -> Opened:
    """Open the meter and the watcher of each wanted NVIDIA GPU."""
    addresses = [normal_pci_id(pci_id) for pci_id in wanted.pci_ids]
    # Two virtual devices of llama.cpp are one card.
    ours = [
        pci_id
        for pci_id in dict.fromkeys(addresses)
        if pci_id is not None and not is_anothers(wanted.root, pci_id)
    ]
    asleep = [pci_id for pci_id in ours if sleeps(wanted.root, pci_id)]
    missing = [_missing(pci_id, "the GPU sleeps; reading it would wake it") for pci_id in asleep]
    awake = [pci_id for pci_id in ours if pci_id not in asleep]
    if not awake:
        return Opened(missing=tuple(missing))
    try:
        shared = SharedNvml(wanted.root)
    except NvmlUnavailable as error:
        missing += [_missing(pci_id, error.reason) for pci_id in awake]
        return Opened(missing=tuple(missing))
    meters: list[Meter] = []
    watchers: list[Watcher] = []
    try:
        for pci_id in awake:
            card, reason = open_card(shared, pci_id)
            if card is None:
                missing.append(_missing(pci_id, reason))
                continue
            meter = _open_meter(card, wanted.clock)
            if isinstance(meter, NvmlMeter):
                meters.append(meter)
            else:
                missing.append(meter)
            if card.lost is None:
                watchers.append(NvmlWatcher(card, wanted.root, wanted.clock))
    finally:
        shared.release()
    return Opened(meters=tuple(meters), watchers=tuple(watchers), missing=tuple(missing))


def averages(capability: tuple[int, int] | None, architecture: int | None) -> bool:
    """Whether ``nvmlDeviceGetPowerUsage`` gives a 1 s average, rather than the moment's power.

    It does on Ampere and newer, except on GA100, compute capability 8.0 (NVML's reference). Where
    neither number is known an average is assumed: its error is the larger one.
    """
    if capability is not None:
        return capability > (8, 0)
    return architecture is None or architecture >= _AMPERE


def _open_meter(card: Card, clock: Callable[[], float]) -> NvmlMeter | Missing:
    """Return a meter by the best way that answers."""
    api = card.session.api
    capability = card.attempt(api.nvmlDeviceGetCudaComputeCapability)[0]
    pair = None if capability is None else (int(capability[0]), int(capability[1]))
    first: Failure | None = None
    for way in _ways(card, pair):
        value, failure = card.attempt(way.ask)
        if card.lost is not None:
            return Missing(scope="GPU board", device=card.device, reason=card.lost)
        if value is not None and _is_value(value, way.kind):
            return NvmlMeter(card, _source(card, way, pair), way.ask, clock)
        first = first or failure
    reason = first[1] if first is not None else "the driver gives 0 W"
    return Missing(
        scope="GPU board", device=card.device, reason=f"the GPU tells no power: {reason}"
    )


def _ways(card: Card, capability: tuple[int, int] | None) -> list[_Way]:
    """Return the ways to measure a GPU, the best first.

    On a Grace Hopper module the GPU's own scope may be missing; the module's holds the CPU too.
    """
    session, api = card.session, card.session.api

    def field(number: int, scope: int) -> Callable[[Any], int]:
        return lambda handle: session.field(handle, number, scope)

    def power(number: int, kind: Kind, scope: int) -> _Way:
        whole: MeterScope = "whole chip" if scope == OF_MODULE else "GPU board"
        note = _MODULE_NOTE if scope == OF_MODULE else None
        return _Way(ask=field(number, scope), name="NVML power", kind=kind, scope=whole, note=note)

    counter = "NVML energy counter"
    return [
        _Way(ask=api.nvmlDeviceGetTotalEnergyConsumption, name=counter, kind="counter"),
        _Way(ask=field(TOTAL_ENERGY, OF_GPU), name=counter, kind="counter"),
        power(POWER_INSTANT, "instant", OF_GPU),
        power(POWER_AVERAGE, "average", OF_GPU),
        _Way(
            ask=api.nvmlDeviceGetPowerUsage,
            name="NVML power",
            kind=_kind_of_power_usage(card, capability),
        ),
        power(POWER_INSTANT, "instant", OF_MODULE),
        power(POWER_AVERAGE, "average", OF_MODULE),
    ]


def _kind_of_power_usage(card: Card, capability: tuple[int, int] | None) -> Kind:
    architecture = None
    if capability is None:
        architecture, _ = card.attempt(card.session.api.nvmlDeviceGetArchitecture)
    return "average" if averages(capability, architecture) else "instant"


def _source(card: Card, way: _Way, capability: tuple[int, int] | None) -> Source:
    api = card.session.api
    mode, _ = card.attempt(api.nvmlDeviceGetMigMode)
    divided = mode is not None and mode[0] == api.NVML_DEVICE_MIG_ENABLE
    notes = [note for note in (way.note, _MIG_NOTE if divided else None) if note is not None]
    return Source(
        name=way.name,
        scope=way.scope,
        kind=way.kind,
        device=card.device,
        pci_id=card.pci_id,
        period_s=PERIOD_S,
        window_s=AVERAGE_S if way.kind == "average" else 0.0,
        duty=DUTY_OF_GA100_AND_GH100 if capability in ((8, 0), (9, 0)) else 1.0,
        gain=GAIN,
        note="; ".join(notes) or None,
    )


def _is_value(value: int, kind: Kind) -> bool:
    """Whether an answer is one: a board that answers draws more than 0 W."""
    return value not in _NOT_AVAILABLE and (kind == "counter" or value > 0)


def _missing(pci_id: str, reason: str) -> Missing:
    return Missing(scope="GPU board", device=pci_id, reason=reason)
