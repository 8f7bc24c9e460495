"""THE power estimate: boards, processors and the machine at the socket, for the steps of a run.

What a board draws is in ``board_power.py``, the machine around the boards in ``wall.py``, money in
``cost.py``; the constants are fitted by ``scripts/fit_power.py``. All of it is an estimate.
"""

from __future__ import annotations

from dataclasses import replace

from localllm.core import wall
from localllm.core.board_power import (
    Board,
    CapFactors,
    board_of,
    check_power_limit,
    mean_w,
    power_class,
    power_limited,
)
from localllm.core.energy_constants import CONSTANTS
from localllm.core.hardware import Device, Hardware
from localllm.core.plan import DevicePower, PowerEstimate, Scope
from localllm.core.steps import Run, Step, Work

__all__ = ["CapFactors", "check_power_limit", "power_estimate", "power_limited", "power_unknown"]


def power_unknown(run: Run) -> str | None:
    """Return why no power can be estimated, or None where it can."""
    for device in run.devices:
        if board_of(device, run.host) is None:
            why = device.unknown.get(
                "power_limit_w", "neither its limit nor its bandwidth is known"
            )
            return f"no estimate of power: {device.name}: {why}"
    return None


def power_estimate(
    hardware: Hardware,
    run: Run,
    *,
    decode: Step,
    prefill: Step | None,
    power_limit_w: float | None = None,
) -> PowerEstimate | None:
    """Return what a run draws: boards, processors, the machine at the socket; None if unknown.

    ``decode`` and ``prefill`` are the steps as they run under ``power_limit_w``, a cap on each GPU.
    GPUs of ``hardware`` that the run does not use idle: they count at the socket only.
    """
    check_power_limit(power_limit_w, run.devices, run.host)
    if power_unknown(run) is not None:
        return None
    boards = [board for device in run.devices if (board := board_of(device, run.host))]
    rows = tuple(
        DevicePower(
            name=device.name,
            idle_w=board.idle_w,
            decode_w=_board_w(power_limit_w, device, board, decode),
            prefill_w=_prefill_w(power_limit_w, device, board, prefill),
            limit_w=_least(board.limit_w, power_limit_w),
        )
        for device, board in zip(run.devices, boards, strict=True)
    )
    cpu = _cpu(run, decode, prefill)
    if any(board.kind == "unified" for board in boards):
        rows, cpu = _one_package(rows, cpu)
    idle_w = _idle_elsewhere_w(hardware, run)
    limits = [row.limit_w or 0.0 for row in rows]
    name, scope = _scope(rows, cpu, boards, decode)
    low, high = (CONSTANTS["low"], CONSTANTS["high"]) if rows else (wall.CPU_LOW, wall.CPU_HIGH)
    wall_w = wall.socket_w(run.host, _total((*rows, cpu)).decode_w + idle_w)
    # The limit of a MIG slice's card is not known here, and others may use the rest of the card:
    # no peak rather than too small a one, also where the run leaves the slice alone.
    sliced = any(device.mig for device in hardware.devices)
    peak_w = wall.socket_w(run.host, sum(limits) + (cpu.limit_w or 0.0) + idle_w)
    return PowerEstimate(
        board_w=scope.decode_w,
        j_per_token=scope.decode_w / decode.tok_s,
        basis=_basis(run, boards, power_limit_w),
        scope=name,
        board_low_w=max(scope.decode_w * low, scope.idle_w),
        board_high_w=min(scope.decode_w * high, scope.limit_w or scope.decode_w),
        prefill_board_w=None if prefill is None else scope.prefill_w,
        prefill_j_per_token=None if prefill is None else scope.prefill_w / prefill.tok_s,
        wall_w=wall_w,
        wall_peak_w=None if sliced else peak_w,
        circuit=None if sliced else wall.circuit(run.host, limits, peak_w),
        devices=(*rows, cpu) if cpu.limit_w else rows,
        cpu_w=cpu.decode_w if cpu.limit_w else None,
        wall_j_per_token=wall_w / decode.tok_s,
    )


def _scope(
    rows: tuple[DevicePower, ...], cpu: DevicePower, boards: list[Board], decode: Step
) -> tuple[Scope, DevicePower]:
    """Whose watts count: the boards', and the processors' where they compute a part of a token."""
    if not rows:
        return "CPU package", cpu
    if any(board.kind == "unified" for board in boards):
        return "whole chip", _total(rows)
    if any(work.kind == "host" for work in decode.works) and cpu.limit_w:
        return "GPU boards and CPU", _total((*rows, cpu))
    return "GPU boards", _total(rows)


def _total(rows: tuple[DevicePower, ...]) -> DevicePower:
    """Several rows as one."""
    return DevicePower(
        name="together",
        idle_w=sum(row.idle_w for row in rows),
        decode_w=sum(row.decode_w for row in rows),
        prefill_w=sum(row.prefill_w for row in rows),
        limit_w=sum(row.limit_w or 0.0 for row in rows),
    )


def _idle_elsewhere_w(hardware: Hardware, run: Run) -> float:
    """Watts of the machine's GPUs that the run does not use.

    Graphics inside the processor's package are in the processor's figures.
    """
    others = (device for device in hardware.devices if device not in run.devices)
    boards = (board_of(device, run.host) for device in others)
    return sum(board.idle_w for board in boards if board and board.kind != "unified")


def _one_package(
    rows: tuple[DevicePower, ...], cpu: DevicePower
) -> tuple[tuple[DevicePower, ...], DevicePower]:
    """GPU and processors in one package, under one limit: one row, and none for the processors.

    A shared-memory GPU's own figures hold for the whole chip with one core busy; what the
    processors take beyond that comes on top.
    """
    first, *others = rows
    limit_w = first.limit_w or 0.0
    shared = replace(
        first,
        decode_w=min(first.decode_w + cpu.decode_w, limit_w),
        prefill_w=min(first.prefill_w + cpu.prefill_w, limit_w),
    )
    return (shared, *others), replace(cpu, idle_w=0.0, decode_w=0.0, prefill_w=0.0, limit_w=None)


def _board_w(cap_w: float | None, device: Device, board: Board, step: Step) -> float:
    """Mean watts of a board in a step that already runs under a cap."""
    work = _work_of(step, device.name)
    watts = mean_w(device, board, work, step.seconds, n_tokens=step.n_tokens)
    # A cap slows a step only to where it still takes the whole cap, so the slowed step says enough.
    return _least(watts, cap_w)


def _prefill_w(cap_w: float | None, device: Device, board: Board, step: Step | None) -> float:
    """Mean watts in prefill; of a prefill that nobody described, the limit, which it reaches."""
    if step is None:
        return _least(board.limit_w, cap_w)
    return _board_w(cap_w, device, board, step)


def _cpu(run: Run, decode: Step, prefill: Step | None) -> DevicePower:
    """The processors' row. Beside a GPU in the same package only what they compute counts."""
    host = run.host
    limit_w = wall.cpu_limit_w(host)
    threads = min(run.n_threads / max(host.n_cores_physical or run.n_threads, 1), 1.0)
    inside = any(power_class(device) == "unified" for device in run.devices)

    def mean(step: Step | None, load: float) -> float:
        if step is None:
            return limit_w
        work = _work_of(step, "host")
        duty = min(work.seconds / step.seconds, 1.0) if work is not None else 0.0
        feeding_w = wall.cpu_w(host, duty=0.0, load=0.0)
        watts = wall.cpu_w(host, duty=duty, load=load * threads)
        return watts - feeding_w if inside else watts

    return DevicePower(
        name="host",
        idle_w=wall.cpu_idle_w(host),
        decode_w=mean(decode, wall.CPU_DECODE_LOAD),
        prefill_w=mean(prefill, 1.0),
        limit_w=limit_w,
    )


def _work_of(step: Step, place: str) -> Work | None:
    return next((work for work in step.works if work.place == place), None)


def _least(limit_w: float, cap_w: float | None) -> float:
    return limit_w if cap_w is None else min(limit_w, cap_w)


def _basis(run: Run, boards: list[Board], cap_w: float | None) -> str:
    """Name the formula, and everything that was assumed."""
    if not boards:
        return f"estimate: share of the processors' limit, {wall.cpu_source(run.host)}"
    names = {"gddr": "GDDR", "hbm": "HBM", "unified": "shared-memory"}
    kinds = " and ".join(dict.fromkeys(names[board.kind] for board in boards))
    said = [f"estimate: formula fitted to public readings of {kinds} devices"]
    said += dict.fromkeys(text for board in boards for text in board.assumed)
    if any(device.mig for device in run.devices):
        said.append("a MIG slice: the board's power is that of the whole card")
    if cap_w is not None:
        said.append(f"capped to {cap_w:g} W each")
    return "; ".join(said)
