"""What one probe found: devices, and sentences for a person."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.hardware import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Devices in the probe's own order, with ``backend`` still ``none``: llama.cpp decides that."""

    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    absent: str | None = None
    """Why there is no device of this kind, worth saying where no probe found any."""
