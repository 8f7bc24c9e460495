"""Memory beside its plan: what llama.cpp allocated, and what is in use at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from localllm.tui.chat.side.figures import MemoryFigures, PlaceFigures
from localllm.words.memory import place_name

if TYPE_CHECKING:
    from localllm.core.generation import Loaded
    from localllm.core.metered.readings import Health
    from localllm.core.plan import DeviceMemory, Plan
    from localllm.core.reconcile import Comparison, Reconciled

NOT_TOLD = "use not told"


def memory_of(
    plan: Plan,
    loaded: Loaded,
    compared: Sequence[Comparison],
    healths: Sequence[Health],
    resident_bytes: int | None,
) -> MemoryFigures:
    """Return what each place of a plan holds, beside what it should.

    ``resident_bytes``: of the engine's process.
    """
    by_name = {row.device: row.reconciled for row in compared}
    by_address = {health.pci_id: health for health in healths if health.pci_id is not None}
    devices = {device.name: device for device in plan.hardware.devices}
    places = []
    for row in plan.devices:
        if row.kind == "host":
            places.append(_ram(row, by_name.get(row.name), resident_bytes))
            continue
        device = devices.get(row.name)
        # A slice of a card has its address, and what is told there is of the whole card.
        pci_id = device.pci_id if device is not None and device.mig is None else None
        health = None if pci_id is None else by_address.get(pci_id)
        places.append(_board(row, by_name.get(row.name), health))
    return MemoryFigures(places=tuple(places), unknown=loaded.memory_unknown)


def _board(row: DeviceMemory, allocated: Reconciled | None, health: Health | None) -> PlaceFigures:
    expected = None
    if row.total_bytes is not None and row.free_bytes is not None:
        expected = row.total_bytes - row.free_bytes + row.needed_bytes
    used = None if health is None else health.used_bytes
    return PlaceFigures(
        name=place_name(row),
        is_host=False,
        total_bytes=row.total_bytes,
        used_bytes=used,
        used_unknown=NOT_TOLD if used is None else None,
        expected_bytes=expected,
        allocated=allocated,
    )


def _ram(
    row: DeviceMemory, allocated: Reconciled | None, resident_bytes: int | None
) -> PlaceFigures:
    return PlaceFigures(
        name=place_name(row),
        is_host=True,
        total_bytes=row.total_bytes,
        used_bytes=resident_bytes,
        used_unknown=NOT_TOLD if resident_bytes is None else None,
        expected_bytes=row.needed_bytes + row.cached_bytes + row.shared_bytes,
        allocated=allocated,
    )
