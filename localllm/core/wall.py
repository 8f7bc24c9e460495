"""The machine around the GPUs: processors, memory modules, board, power supply, socket, circuit.

What the profile knows of the processors is taken; the rest is assumed by kind of machine, from the
vendors' figures named beside each. Nobody measures these parts while a model runs, so they are the
roughest of the estimates: within a third for the host, much better for the sum with its GPUs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from localllm.core.hardware import Host

PlatformKind = Literal["desktop", "server", "laptop", "compact", "mac", "small board"]

CPU_DECODE_LOAD = 0.8
"""Share of the way from idle to the limit while all cores decode: they wait for memory much of the
time. Assumed; prefill on the processors is taken as full load."""
CPU_LOW, CPU_HIGH = 0.6, 1.25
"""80 % range of the processors' watts: assumed, there are no public readings with tokens/s."""

_DIMM_W = 3.0
"""A DDR4 or DDR5 module under load, 2 to 5 W by its makers' calculators; one per channel."""

_US_15_A_W, _US_20_A_W = 1_440, 1_920
"""Continuous loads may take 80 % of a breaker's rating (NEC 210.20): 120 V at 15 and 20 A."""
_EU_16_A_W = 3_680
"""230 V at 16 A."""

_SUPPLY_SIZES_W = (450, 550, 650, 750, 850, 1000, 1200, 1300, 1500, 1600, 2000)
_SUPPLY_MARGIN = 1.2
"""Over the sum of all limits. Intel's own example for ATX 3 takes 1.0 (750 W for 300 W of card, 300
of processor and 150 of rest); supplies are quietest and best at half to four fifths of their load.
Cards may peak at twice their limit for 100 µs, which ATX 3 supplies bear and older ones may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A kind of machine, with what stands in for what its profile does not say."""

    kind: PlatformKind
    core_w: float
    """Limit of the processors per physical core."""
    least_w: float
    most_w: float
    """Limits of one such processor lie between these."""
    idle: float
    """Idle watts of the processors as a share of their limit."""
    one_core_w: float
    """What one busy core adds: the thread that feeds the GPU."""
    base_w: float
    """Mainboard, fans, drive."""
    efficiency: float
    """Of the power supply, watts out per watt in."""
    modules: bool = True
    """Memory in modules of its own, not in the package's figures."""


_DESKTOP = Platform(
    kind="desktop", core_w=11, least_w=65, most_w=253, idle=0.15, one_core_w=12, base_w=20,
    efficiency=0.90,
)  # fmt: skip
_SERVER = Platform(
    kind="server", core_w=4.2, least_w=120, most_w=500, idle=0.25, one_core_w=12, base_w=60,
    efficiency=0.93,
)  # fmt: skip
_LAPTOP = Platform(
    kind="laptop", core_w=5.5, least_w=15, most_w=65, idle=0.1, one_core_w=8, base_w=10,
    efficiency=0.88, modules=False,
)  # fmt: skip
_COMPACT = Platform(
    kind="compact", core_w=4, least_w=35, most_w=140, idle=0.08, one_core_w=8, base_w=12,
    efficiency=0.90, modules=False,
)  # fmt: skip
_MAC = Platform(
    kind="mac", core_w=3, least_w=15, most_w=100, idle=0.03, one_core_w=4, base_w=6,
    efficiency=0.90, modules=False,
)  # fmt: skip
_SMALL_BOARD = Platform(
    kind="small board", core_w=2, least_w=5, most_w=30, idle=0.3, one_core_w=1.5, base_w=3,
    efficiency=0.88, modules=False,
)  # fmt: skip
"""Where the figures come from. Desktop: 8 cores of AMD's 65 W class may take 88 W, 16 cores 142 to
230 W, Intel's 24 cores 253 W; a Core i7-13700K without a card idles at 27 W at the socket
(roatech.jp); 80 PLUS Gold gives 90 % at half load, 115 V. Server: 360 W for 96 cores (EPYC 9654),
280 for 64 (7763), 350 for 56 (Xeon 8480+); four RTX 4090 at 450 W in a machine with two Xeons and
16 modules took 2,080 W by its own meter (server-gear.com); 80 PLUS Platinum at 230 V. Mac: about
25 W of CPU for the 10 cores of an M1 Max and 48 W for the 16 of an M4 Max (techradar.com); a Mac
Studio idles at 9 to 13 W at the socket (support.apple.com/102027). Compact: a DGX Spark idles at 22
to 25 W at the socket. Small board: a Raspberry Pi 5 with its 27 W supply."""

_SERVER_NAMES = re.compile(r"epyc|xeon|threadripper|altra|graviton|neoverse|grace", re.IGNORECASE)
_LAPTOP_NAMES = re.compile(
    r"laptop|mobile|\bi[3579]-\d{4,5}(u|p|h|hx|hk|hs|g\d)\b|ryzen.* \d{4}(u|h|hs|hx|c)\b"
    r"|ultra \d \d{3}(u|h|hx|v)\b|snapdragon",
    re.IGNORECASE,
)
_COMPACT_NAMES = re.compile(r"ryzen ai max|cortex-x925|gb10", re.IGNORECASE)
_SERVER_CHANNELS, _SERVER_CORES = 6, 33


def platform(host: Host) -> Platform:
    """Return the kind of machine, by the processor's name, then by cores and memory channels."""
    if host.cpu.startswith("Apple") or host.os == "darwin":
        return _MAC
    if _COMPACT_NAMES.search(host.cpu):
        return _COMPACT
    if _SERVER_NAMES.search(host.cpu):
        return _SERVER
    if _LAPTOP_NAMES.search(host.cpu):
        return _LAPTOP
    if host.machine in ("aarch64", "arm64") and (host.n_cores_physical or 4) <= 8:
        return _SMALL_BOARD
    many = (host.n_memory_channels or 0) >= _SERVER_CHANNELS
    return _SERVER if many or (host.n_cores_physical or 0) >= _SERVER_CORES else _DESKTOP


def cpu_limit_w(host: Host) -> float:
    """What the processors may draw for long, in watts: stated, or by cores and kind of machine."""
    if host.power_limit_w is not None:
        return host.power_limit_w
    kind = platform(host)
    cores = _cores(host)
    return min(max(kind.core_w * cores, kind.least_w), kind.most_w)


def _cores(host: Host) -> int:
    """Physical cores; where nobody told them, two threads are taken for one."""
    return host.n_cores_physical or max(host.n_threads_logical // 2, 1)


def cpu_source(host: Host) -> str:
    """Say where the processors' limit comes from."""
    if host.power_limit_w is not None:
        return f"{host.power_limit_w:g} W as stated"
    cores = _cores(host)
    return f"{cpu_limit_w(host):.0f} W assumed for {cores} cores of a {platform(host).kind}"


def cpu_idle_w(host: Host) -> float:
    """Watts of the processors with nothing to do."""
    return platform(host).idle * cpu_limit_w(host)


def cpu_w(host: Host, *, duty: float, load: float) -> float:
    """Mean watts of the processors that compute for ``duty`` of the time at ``load``.

    The rest of the time one core is busy: it feeds the GPU. ``load``: share of the way from idle to
    the limit, all cores together.
    """
    limit_w, idle_w = cpu_limit_w(host), cpu_idle_w(host)
    one_core_w = min(idle_w + platform(host).one_core_w, limit_w)
    computing_w = max(idle_w + (limit_w - idle_w) * load, one_core_w)
    return duty * computing_w + (1 - duty) * one_core_w


def rest_w(host: Host) -> float:
    """Watts of mainboard, fans, drive and memory modules."""
    kind = platform(host)
    channels = host.n_memory_channels or 2
    return kind.base_w + (_DIMM_W * channels if kind.modules else 0.0)


def socket_w(host: Host, parts_w: float) -> float:
    """Watts at the socket for ``parts_w`` of GPUs and processors, with the rest and the supply."""
    return (parts_w + rest_w(host)) / platform(host).efficiency


def circuit(host: Host, limits_w: Sequence[float], peak_w: float) -> str:
    """Say in one sentence what the peak means for circuit and power supply.

    ``limits_w``: of each GPU in use; ``peak_w``: at the socket with these and the
    processors at their limits.
    """
    cards = [
        f"{n} x {watts:.0f} W" if n > 1 else f"{watts:.0f} W"
        for watts, n in Counter(limits_w).items()
    ]
    text = f"{' + '.join([*cards, 'host'])}: about {_watts(peak_w)} at the socket at most; "
    text += _breaker(peak_w)
    size = _supply(host, peak_w)
    return f"{text}; {size}." if size and limits_w else f"{text}."


def _breaker(peak_w: float) -> str:
    """What circuit bears so much for long."""
    if peak_w <= _US_15_A_W:
        return "fits a 120 V, 15 A circuit (1.44 kW for long)"
    if peak_w <= _US_20_A_W:
        return "too much for a 120 V, 15 A circuit (1.44 kW for long); 20 A or 230 V bear it"
    if peak_w <= _EU_16_A_W:
        return "too much for 120 V circuits (1.44 kW at 15 A, 1.92 kW at 20 A); 230 V, 16 A bear it"
    n = -(-round(peak_w) // _EU_16_A_W)
    return f"more than a 230 V, 16 A circuit (3.68 kW): spread over {n}, or a data centre's supply"


def _supply(host: Host, peak_w: float) -> str:
    """What power supply to look for, where the machine does not come with its own."""
    kind = platform(host)
    if kind.kind != "desktop":
        return ""
    needed_w = peak_w * kind.efficiency * _SUPPLY_MARGIN
    size = next((size for size in _SUPPLY_SIZES_W if size >= needed_w), None)
    if size is None:
        return "more than one power supply"
    return f"power supply of {size:,} W or more, ATX 3 for the cards' short peaks"


def _watts(watts: float) -> str:
    """``1.1 kW``, ``620 W``: what an estimate is good for."""
    if watts >= 1000:
        return f"{watts / 1000:.1f} kW"
    return f"{round(watts, -1):.0f} W" if watts >= 100 else f"{watts:.0f} W"
