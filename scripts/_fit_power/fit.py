"""The fit: few constants, least squares of the logarithm, every source counted once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from _fit_power.facts import CapPoint, Fact, Reading, cap_points, device, readings, weights
from localllm.core.board_power import power_class
from localllm.probes.profile_names import profile_names
from localllm.probes.profiles import load_profile

KINDS = ("gddr", "hbm", "unified")
Constants = dict[str, float]

START: Constants = {
    "gddr awake": 0.3, "gddr watts_per_gb_s": 0.3, "gddr arithmetic": 0.4,
    "hbm awake": 0.1, "hbm watts_per_gb_s": 0.1, "hbm arithmetic": 0.3,
    "unified awake": 0.1, "unified watts_per_gb_s": 0.1, "unified arithmetic": 1.0,
    "cap floor": 0.2, "cap decode": 3.0, "cap prefill": 2.0,
}  # fmt: skip
"""Where the searches start. ``unified arithmetic`` stays: an M3 Ultra reaches its chip's maximum in
prefill, near its FP32 peak; there is no finer measurement."""

SUPPLY_EFFICIENCY = 0.9
"""Between Apple's figures at the socket and the chip."""


def fitted(facts: Sequence[Fact]) -> Constants:
    """All constants, to three digits."""
    constants = START | assumptions(facts)
    boards, served = readings(facts, "fit"), readings(facts, "serving")
    constants = fit_kind("hbm", served, constants)
    constants = fit_kind("gddr", boards, constants)
    constants["unified awake"] = constants["hbm awake"]
    constants = fit_kind("unified", boards, constants)
    constants = fit_caps(cap_points(facts), constants)
    found = left_out(facts, constants)
    spreads = [spread(found[kind]) for kind in ("gddr", "hbm")]
    # One machine says nothing of others, a serving engine little of one stream: the widest for all.
    constants["low"] = min(low for low, _ in spreads)
    constants["high"] = max(high for _, high in spreads)
    return {name: float(f"{value:.3g}") for name, value in sorted(constants.items())}


def fit_kind(kind: str, found: Sequence[Reading], constants: Constants) -> Constants:
    """The constants of one class of boards from its readings."""
    free = {
        "gddr": {"gddr awake": 1.0, "gddr watts_per_gb_s": 1.0, "gddr arithmetic": 1.0},
        "hbm": {"hbm awake": 1.0, "hbm watts_per_gb_s": 1.0, "hbm arithmetic": 1.0},
        "unified": {"unified watts_per_gb_s": 1.0},
    }[kind]
    own = [reading for reading in found if reading.kind == kind]
    share = weights([reading.source for reading in own])

    def loss(trial: Mapping[str, float]) -> float:
        return sum(
            weight * math.log(reading.predicted(trial) / reading.watts) ** 2
            for reading, weight in zip(own, share, strict=True)
        )

    return search(loss, free, constants)


def fit_caps(points: Sequence[CapPoint], constants: Constants) -> Constants:
    """What a power cap costs, from sweeps; every sweep counts once."""
    share = weights([point.series for point in points])

    def loss(trial: Mapping[str, float]) -> float:
        return sum(
            weight * math.log(point.predicted(trial) / point.speed) ** 2
            for point, weight in zip(points, share, strict=True)
        )

    return search(loss, {"cap floor": 0.4, "cap decode": 8.0, "cap prefill": 8.0}, constants)


def search(
    loss: Callable[[Mapping[str, float]], float], free: Mapping[str, float], start: Constants
) -> Constants:
    """Minimise by steps along each constant, halved when none helps. ``free``: upper bounds."""
    best, least, step = dict(start), loss(start), 0.25
    while step > 0.0005:
        improved = False
        for name, most in free.items():
            for change in (step, -step):
                trial = best | {name: min(max(best[name] + change * most, 0.0), most)}
                if (value := loss(trial)) < least - 1e-12:
                    best, least, improved = trial, value, True
        if not improved:
            step /= 2
    return best


def assumptions(facts: Iterable[Fact]) -> Constants:
    """Idle power and limits by class, for devices of which nobody says them."""
    facts = list(facts)
    result: Constants = {}
    cards = [
        d
        for name in profile_names()
        for d in load_profile(name).hardware.devices[:1]
        if d.power_limit_w and d.memory_bandwidth_gb_s
    ]
    for kind in KINDS:
        idle = [
            fact["watts"] / (device(fact["hardware"]).power_limit_w or math.nan)
            for fact in facts
            if fact["use"] == "idle" and power_class(device(fact["hardware"])) == kind
        ]
        result[f"{kind} idle"] = median(idle)
        result[f"{kind} limit_w_per_gb_s"] = median(
            (d.power_limit_w or 0) / (d.memory_bandwidth_gb_s or 1)
            for d in cards
            if power_class(d) == kind
        )
    result["apple limit_w_per_tflops"] = median(
        fact["watts"] * SUPPLY_EFFICIENCY / (device(fact["hardware"]).fp32_tflops or math.nan)
        for fact in facts
        if fact["use"] == "limit"
    )
    return result


def left_out(
    facts: Sequence[Fact], constants: Mapping[str, float]
) -> dict[str, list[tuple[Reading, float, float]]]:
    """By class: every reading, its prediction without its own group, and its weight."""
    result: dict[str, list[tuple[Reading, float, float]]] = {}
    for kind in KINDS:
        use = "serving" if kind == "hbm" else "fit"
        own = [reading for reading in readings(facts, use) if reading.kind == kind]
        groups = [reading.model if kind == "unified" else reading.source for reading in own]
        rows: list[tuple[Reading, float, float]] = []
        share = weights(groups)
        for group in dict.fromkeys(groups):
            kept = [r for r, name in zip(own, groups, strict=True) if name != group]
            without = fit_kind(kind, kept, dict(constants))
            rows += [
                (reading, reading.predicted(without), weight)
                for reading, name, weight in zip(own, groups, share, strict=True)
                if name == group
            ]
        result[kind] = rows
    return result


def spread(rows: Sequence[tuple[Reading, float, float]]) -> tuple[float, float]:
    """The 80 % range of measured over predicted, groups counted once.

    Of so few groups the next one may lie outside all: the shares are those that hold for it.
    """
    ratios = [(reading.watts / predicted, weight) for reading, predicted, weight in rows]
    n = sum(weight for _, weight in ratios)
    upper = min(0.9 * (n + 1) / n, 1.0)
    return min(quantile(ratios, 1 - upper), 1.0), max(quantile(ratios, upper), 1.0)


def quantile(values: Iterable[tuple[float, float]], share: float) -> float:
    """Weighted quantile."""
    ordered = sorted(values)
    total, reached = sum(weight for _, weight in ordered), 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= share * total:
            return value
    return ordered[-1][0]
