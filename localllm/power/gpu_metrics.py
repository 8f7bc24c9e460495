"""Why an AMD GPU's clocks are held down, from the table ``gpu_metrics`` of the amdgpu driver.

The table is binary and versioned; its layouts are in the kernel's ``kgd_pp_interface.h``. Version
1.3 (CDNA 1 and 2, RDNA 2 and others) ends with a mask of reasons that is the same for every chip
(``indep_throttle_status``; its bits are in ``amdgpu_smu.h``, ``SMU_THROTTLER_..._BIT``). Other
versions have no such mask, or somewhere else: they say nothing here.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<HBB")
"""Size of the table, format revision, content revision."""

_VERSION = (1, 3)
_SIZE = 120
_MASK = struct.Struct("<Q")
_MASK_OFFSET = 112
_NOT_FILLED = 0xFFFFFFFFFFFFFFFF
"""The driver begins with a table full of ones."""

_REASONS = (
    ("power cap", range(0, 8)),  # PPT0 .. PPT3, SPL, FPPT, SPPT, SPPT_APU
    ("current limit", range(16, 24)),  # TDC, EDC, APCC
    ("thermal", range(32, 46)),  # temperatures, hot voltage regulators
    ("hardware slowdown", range(46, 48)),  # PROCHOT
    ("reliability limit", range(57, 58)),  # FIT: failures in time
)


def throttle_reasons(table: bytes) -> tuple[str, ...] | None:
    """Return what holds the clocks down, empty for nothing; None where the table does not tell."""
    if len(table) < _SIZE:
        return None
    size, format_revision, content_revision = _HEADER.unpack_from(table)
    if (format_revision, content_revision) != _VERSION or size != _SIZE:
        return None
    (mask,) = _MASK.unpack_from(table, _MASK_OFFSET)
    if mask == _NOT_FILLED:
        return None
    return tuple(name for name, bits in _REASONS if any(mask >> bit & 1 for bit in bits))
