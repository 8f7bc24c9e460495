"""What the power formulas are worth: errors by class, left out by source, and the checks.

Readings at the socket fit nothing. They are compared with the machine of the profile that they
name, idle or with every board at its limit; machines differ, so within a third is what to expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from _fit_power.facts import Fact, Reading, cap_points, readings, weights
from _fit_power.fit import KINDS, left_out, quantile
from localllm.core import wall
from localllm.core.board_power import board_of
from localllm.probes.named import named_hardware


def report(facts: Sequence[Fact], constants: Mapping[str, float]) -> Iterator[str]:
    """Lines for a person."""
    yield "decode watts of one board, every source left out in turn (J/token errs the same):"
    found = left_out(facts, constants)
    for kind in KINDS:
        rows = found[kind]
        errors = [(abs(predicted / r.watts - 1), weight) for r, predicted, weight in rows]
        low, high = constants["low"], constants["high"]
        inside = sum(w for r, p, w in rows if low * p <= r.watts <= high * p)
        total = sum(w for _, _, w in rows)
        yield (
            f"  {kind:8} {len(rows):3} rows, {total:.0f} groups: median {_percent(errors, 0.5)}, "
            f"90th {_percent(errors, 0.9)}, {inside / total:.0%} within [{low:.2f}, {high:.2f}]"
        )
    for kind in KINDS:
        yield from _by_group(kind, found[kind])
    yield "power caps, share of the full speed:"
    yield from _caps(facts, constants)
    yield "checks, not fitted:"
    for reading in readings(facts, "check"):
        predicted = reading.predicted(constants)
        yield (
            f"  {reading.device.description[:28]:28} {reading.model[:34]:34} "
            f"{reading.watts:5.0f} W, here {predicted:5.0f} ({predicted / reading.watts - 1:+.0%})"
        )
    yield "at the socket, not fitted:"
    for fact in facts:
        if fact["use"] == "wall" and fact["phase"] in ("idle", "burn"):
            watts = at_the_socket(fact, constants)
            yield (
                f"  {fact['hardware']:20} {fact['phase']:5} {fact['watts']:5.0f} W, "
                f"here {watts:5.0f} ({watts / fact['watts'] - 1:+.0%})"
            )


def at_the_socket(fact: Fact, constants: Mapping[str, float]) -> float:
    """Watts at the socket of a machine that idles, or burns on all its boards."""
    machine = named_hardware([fact["hardware"]])
    host = replace(machine.host, **fact.get("host", {}))
    boards = [board_of(device, host, constants=constants) for device in machine.devices]
    shared = any(board is not None and board.kind == "unified" for board in boards)
    cpu_w = 0.0 if shared else wall.cpu_idle_w(host)
    if fact["phase"] == "idle":
        return wall.socket_w(host, cpu_w + sum(board.idle_w for board in boards if board))
    cpu_w = 0.0 if shared else wall.cpu_w(host, duty=0.0, load=0.0)
    return wall.socket_w(host, cpu_w + sum(board.limit_w for board in boards if board))


def _by_group(kind: str, rows: Iterable[tuple[Reading, float, float]]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for reading, predicted, _ in rows:
        key = (reading.source, reading.model)
        groups.setdefault(key, []).append((reading.watts, predicted))
    for (source, model), pairs in groups.items():
        measured = sum(a for a, _ in pairs) / len(pairs)
        predicted = sum(b for _, b in pairs) / len(pairs)
        yield (
            f"    {kind:8} {source[:44]:44} {model[:30]:30} {measured:5.0f} W, "
            f"left out {predicted:5.0f} ({predicted / measured - 1:+.0%})"
        )


def _caps(facts: Sequence[Fact], constants: Mapping[str, float]) -> Iterator[str]:
    points = cap_points(facts)
    for phase in ("decode", "prefill"):
        own = [point for point in points if point.phase == phase]
        share = weights([point.series for point in own])
        errors = [
            (abs(point.predicted(constants) / point.speed - 1), weight)
            for point, weight in zip(own, share, strict=True)
        ]
        yield (
            f"  {phase:8} {len(own):3} points, {sum(share):.0f} sweeps: "
            f"median {_percent(errors, 0.5)}, 90th {_percent(errors, 0.9)}"
        )


def _percent(errors: Iterable[tuple[float, float]], share: float) -> str:
    return f"{quantile(errors, share):.0%}"
