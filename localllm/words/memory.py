"""Memory in words: what a place is called, what is missing or in use, how far the next cliff is."""

from __future__ import annotations

from localllm.core.plan import DeviceMemory, Plan
from localllm.core.text import printable
from localllm.units import format_bytes


def place_name(row: DeviceMemory) -> str:
    """Return what a person calls a row of the plan: the device's name, or RAM."""
    return "RAM" if row.kind == "host" else printable(row.name)


def shortage(row: DeviceMemory) -> str | None:
    """Return how much a device is short of, or None where nothing is known to be missing."""
    spare = row.spare_bytes
    return f"{format_bytes(-spare)} short" if spare is not None and spare < 0 else None


def capacity(row: DeviceMemory, *, in_use: str = "") -> str:
    """Return what a device has, and how much of it others use, if any.

    ``in_use``: the glyph that stands for that beside a bar, with a space after it.
    """
    total = row.total_bytes or 0
    used = total - (row.free_bytes or 0)
    beside = f" ({in_use}{format_bytes(used)} used)" if used > 0 else ""
    return f"of {format_bytes(total)}{beside}"


def taken(planned_bytes: int, measured_bytes: int) -> str:
    """Return measured beside planned memory in short: ``7.10 GiB (7.01 planned)``."""
    measured, planned = format_bytes(measured_bytes), format_bytes(planned_bytes)
    if measured.split()[-1] == planned.split()[-1]:
        planned = planned.split()[0]
    return f"{measured} ({planned} planned)"


def at_place(name: str) -> str:
    """Return where something is that lies on a row of the plan: ``in RAM``, ``on CUDA0``."""
    return "in RAM" if name == "host" else f"on {printable(name)}"


def cliff_sentence(plan: Plan) -> str | None:
    """Return the distance to the next change of the plan, and what it is."""
    cliff = plan.cliff
    if cliff is None:
        return None
    return f"{format_bytes(abs(cliff.bytes))} {at_place(cliff.device)}: {cliff.consequence}."


def mapped_pages(plan: Plan) -> str | None:
    """Say which part of RAM's model is pages of the mapped file, if any is."""
    n_bytes = plan.host.mapped_bytes
    return f"of RAM's model column {format_bytes(n_bytes)} are the mapped file" if n_bytes else None


def cached_pages(plan: Plan) -> str | None:
    """Say how much more of the file the page cache keeps, if it does."""
    n_bytes = plan.host.cached_bytes
    if not n_bytes:
        return None
    return (
        f"{format_bytes(n_bytes)} more of the file stay in the page cache until "
        f"somebody needs the memory: their weights were copied"
    )
