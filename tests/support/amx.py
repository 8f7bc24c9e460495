"""Whether this CPU has Intel's matrix unit, for which llama.cpp rearranges weights by other rules.

``core.weights.repacks`` does not know them: there the engine's figures stand alone, and tests that
hold formula and engine together leave rearranging out, or skip.
"""

from __future__ import annotations

from pathlib import Path


def _has_amx() -> bool:
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


AMX = _has_amx()
