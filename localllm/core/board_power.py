"""What one GPU board draws, and what a cap on its power costs in speed. All of it is an estimate.

A board in a run draws its idle power, a share of its range for being awake, so much per byte that
its memory moves and so much for its arithmetic, and never more than its limit. A board that waits
for another place (the next card of a layer split, the CPU of a partly offloaded model) stays awake:
far below its limit, far above idle. The mean over a step is weighted by time. What a byte takes
belongs to a class of memory (``energy_constants.py``), whatever the limit of the card around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from localllm.core import rates
from localllm.core.energy_constants import CONSTANTS
from localllm.core.hardware import Device, Host
from localllm.core.steps import Work
from localllm.errors import UsageError

PowerClass = Literal["gddr", "hbm", "unified"]

_LEAST_SPEED = 0.15
"""What is left under a cap near the board's floor: six RTX 3090 at 100 W each keep a sixth of their
decode and a seventh of their prefill (llmgarage.ai, February 2026)."""
_LEAST_CAP = 0.2
"""Of the way from idle to the limit: no cap may be lower. Assumed, since no probe or profile knows
the card's own minimum: drivers refuse caps below some 22 to 50 % of the limit, as 100 of an RTX
3090's 350 W and 200 of an H100's 700, so this refuses only what they surely refuse."""

_PROMPT_TOKENS = 32
"""Steps of so many tokens are prompts: matrix units work, and weights in RAM are streamed."""
_PROMPT_SHARE = 0.95
"""Of the way to the limit in prefill: an RTX 3090 draws 327 of 350 W and 381 of 390, an RTX 5090
600 of 600 (club-3090)."""

_TYPICAL_USE: Mapping[PowerClass, float] = {"gddr": 0.65, "hbm": 0.45, "unified": 0.6}
"""Of the memory's peak in decode by llama.cpp: 0.6 to 0.9 on GDDR, 0.33 to 0.54 on HBM in builds of
2024. Where a power cap begins to bind, before a model is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What the formulas need to know of one GPU, assumptions included."""

    idle_w: float
    limit_w: float
    kind: PowerClass
    assumed: tuple[str, ...] = ()
    """What nobody says of this board, and where the figure in its place comes from."""
    constants: Mapping[str, float] = field(default_factory=lambda: CONSTANTS, repr=False)

    def share(self, term: str) -> float:
        """A fitted constant of the board's class."""
        return self.constants[f"{self.kind} {term}"]

    def at(self, share: float) -> float:
        """Watts at a share of the way from idle to the limit."""
        return self.idle_w + (self.limit_w - self.idle_w) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class CapFactors:
    """Speed under a power cap as a share of the speed without it, in (0, 1]."""

    decode: float
    prefill: float


def power_class(device: Device) -> PowerClass:
    """Return whose constants hold: memory decides more than the maker does."""
    memory = (device.memory_type or "").upper()
    if memory.startswith("HBM"):
        return "hbm"
    if device.unified or device.kind == "igpu" or memory.startswith(("LPDDR", "DDR")):
        return "unified"
    return "gddr"


def board_of(
    device: Device, host: Host | None = None, *, constants: Mapping[str, float] = CONSTANTS
) -> Board | None:
    """Return a board's limits, or None where nothing says how much it may draw.

    Without a stated limit: a device that shares the processor's package has the package's; an Apple
    chip draws at most so much per TFLOPS of its GPU; other boards so much per GB/s of their memory.
    """
    kind = power_class(device)
    assumed: list[str] = []
    limit_w = device.power_limit_w
    if limit_w is None and kind == "unified" and host is not None:
        limit_w = host.power_limit_w
    if limit_w is None and device.backend == "metal" and device.fp32_tflops:
        limit_w = constants["apple limit_w_per_tflops"] * device.fp32_tflops
        assumed.append("limit from Apple's figures of like machines")
    if limit_w is None and device.memory_bandwidth_gb_s:
        limit_w = constants[f"{kind} limit_w_per_gb_s"] * device.memory_bandwidth_gb_s
        share = "its share of the card by bandwidth" if device.mig else "by bandwidth, as its class"
        assumed.append(f"limit assumed ({share})")
    if limit_w is None:
        return None
    idle_w = device.idle_power_w
    if idle_w is None:
        idle_w = constants[f"{kind} idle"] * limit_w
        assumed.append("idle power assumed as its class")
    return Board(
        idle_w=min(idle_w, limit_w),
        limit_w=limit_w,
        kind=kind,
        assumed=tuple(assumed),
        constants=constants,
    )


def working_w(board: Board, *, memory_gb_s: float, arithmetic_use: float) -> float:
    """Watts of a board at work.

    ``memory_gb_s``: what its memory moves, 10^9 bytes per second; ``arithmetic_use``: operations
    per second over the FP32 peak (more than 1 in prefill, where matrix units work).
    """
    awake_w = board.at(board.share("awake") + board.share("arithmetic") * arithmetic_use)
    return min(awake_w + board.share("watts_per_gb_s") * memory_gb_s, board.limit_w)


def waiting_w(board: Board) -> float:
    """Watts of a board that waits for another place in the middle of a step."""
    return board.at(board.share("awake"))


def mean_w(
    device: Device,
    board: Board,
    work: Work | None,
    step_s: float,
    *,
    n_tokens: int = 1,
) -> float:
    """Mean watts of a board over a step of ``n_tokens`` that takes ``step_s``.

    Without work it idles.
    """
    if work is None or step_s <= 0:
        return board.idle_w
    busy_s = _busy_s(work)
    if busy_s <= 0:
        return waiting_w(board)
    at_work = working_w(
        board,
        memory_gb_s=work.memory_bytes / busy_s / 1e9,
        arithmetic_use=work.flops / busy_s / rates.fp32_rate(device),
    )
    if n_tokens >= _PROMPT_TOKENS:
        # Bound by arithmetic a board is busy all over, however far its kernels stay from the peak.
        awake = board.share("awake")
        computing = min(work.compute_s / busy_s, 1.0)
        at_work = max(at_work, board.at(awake + (_PROMPT_SHARE - awake) * computing))
    duty = min(busy_s / step_s, 1.0)
    return duty * at_work + (1 - duty) * waiting_w(board)


def _busy_s(work: Work) -> float:
    """Seconds that a board works: bus and host leave it waiting, its own parts do not."""
    return min((work.memory_s + work.compute_s + work.launch_s) or work.seconds, work.seconds)


def power_limited(
    device: Device,
    limit_w: float | None,
    *,
    duty: float = 1.0,
    host: Host | None = None,
    work: Work | None = None,
    constants: Mapping[str, float] = CONSTANTS,
) -> CapFactors:
    """Return what a power cap (``nvidia-smi -pl``) leaves of the speed of decode and of prefill.

    A cap lowers the clocks of the multiprocessors, hardly that of the memory. Decode draws less
    than the limit to begin with, so it loses nothing until the cap is below that. ``duty``: the
    share of a step in which the board works; one of four cards of a layer split rests long enough
    that a cap on its mean rarely binds. ``host``: of a device in the processors' package, whose
    limit it has. ``work``: what the board does in a step without the cap, so that its traffic is
    known; else a typical share of the memory's peak stands in.

    A lower cap never gives more speed, and of two boards alike the one with more bandwidth is never
    slower under the same cap: a cap pays for so much traffic, whatever the peak. Raises UsageError
    for a cap that is none, or below what the board can be held to.
    """
    check_power_limit(limit_w, (device,), host, constants=constants)
    board = board_of(device, host, constants=constants)
    if limit_w is None or board is None:
        return CapFactors(decode=1.0, prefill=1.0)
    traffic_gb_s = _TYPICAL_USE[board.kind] * rates.bandwidth(device) / 1e9
    arithmetic_use = 0.0
    if work is not None and (busy_s := _busy_s(work)) > 0:
        traffic_gb_s = work.memory_bytes / busy_s / 1e9
        arithmetic_use = work.flops / busy_s / rates.fp32_rate(device)
        duty = duty * busy_s / work.seconds
    decode_w = working_w(board, memory_gb_s=traffic_gb_s, arithmetic_use=arithmetic_use)
    # Above the waiting board's watts a floor would take traffic away from boards that demand more.
    floor_w = min(board.at(constants["cap floor"]), waiting_w(board))

    def left(full_w: float, exponent: float) -> float:
        whole_w = duty * full_w + (1 - duty) * waiting_w(board)
        if limit_w >= whole_w:
            return 1.0
        missing = (whole_w - limit_w) / max(whole_w - floor_w, whole_w - limit_w)
        return max(1.0 - math.pow(missing, exponent), _LEAST_SPEED)

    return CapFactors(
        decode=left(decode_w, constants["cap decode"]),
        prefill=left(board.limit_w, constants["cap prefill"]),
    )


def least_cap_w(board: Board) -> float:
    """Watts below which a cap on a board is refused, see ``_LEAST_CAP``."""
    return board.at(_LEAST_CAP)


def check_power_limit(
    limit_w: float | None,
    devices: Iterable[Device] = (),
    host: Host | None = None,
    *,
    constants: Mapping[str, float] = CONSTANTS,
) -> None:
    """Raise UsageError for a power limit that makes no sense, at all or on one of ``devices``."""
    if limit_w is None:
        return
    if not (math.isfinite(limit_w) and limit_w > 0):
        raise UsageError(
            f"A power limit of {limit_w:g} W makes no sense.",
            hint="Give watts per GPU, such as 280; nvidia-smi -q -d POWER shows what a card takes.",
        )
    for device in devices:
        board = board_of(device, host, constants=constants)
        if board is not None and limit_w < (least_w := least_cap_w(board)):
            raise UsageError(
                f"A power limit of {limit_w:g} W is too low for {device.description}: it idles at "
                f"{board.idle_w:.0f} W and may draw {board.limit_w:.0f} W.",
                hint=f"Give {math.ceil(least_w)} W or more: a fifth of the way from idle to the "
                "limit, assumed as the least that a driver takes. The card's own minimum is often "
                "higher: nvidia-smi -q -d POWER shows it.",
            )
