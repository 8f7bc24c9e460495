"""llama.cpp's own memory breakdown after a load: its rows summed by device, the host last."""

from __future__ import annotations

from localllm.core.buffers import BufferMemory
from localllm.engine.llama import devices
from localllm.engine.rows import (
    Row,
    Unreadable,
    breakdown_rows,
    device_of,
    known_buffer_types,
    mapped_buffer_type,
)

__all__ = ["Unreadable", "memory_breakdown"]


def memory_breakdown(model: int, context: int) -> tuple[BufferMemory, ...]:
    """Return bytes per device in llama.cpp's order, the host last. Raises ``Unreadable``.

    The rows themselves come in the order of their addresses, which changes from run to run.
    """
    mapped = mapped_buffer_type()
    by_device: dict[str, list[Row]] = {}
    for row in breakdown_rows(model, context, known_buffer_types()):
        by_device.setdefault(device_of(row.buffer_type), []).append(row)
    names = [name for name in (*devices(), "host") if name in by_device]
    return tuple(
        BufferMemory(
            name=name,
            model_bytes=sum(row.model_bytes for row in by_device[name]),
            context_bytes=sum(row.context_bytes for row in by_device[name]),
            compute_bytes=sum(row.compute_bytes for row in by_device[name]),
            mapped_bytes=sum(
                row.model_bytes for row in by_device[name] if row.buffer_type == mapped
            ),
        )
        for name in names
    )
