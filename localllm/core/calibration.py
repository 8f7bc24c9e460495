"""Own measurements move the speed estimate: how far, and how much narrower its range becomes.

What is learned is the log of measured over predicted speed, for decode and prompt apart. It is
taken to be a sum of three unknown parts and noise: one of this machine, one of where the weights
lie on it, one of the model there. Their variances are shares of what the estimate's own 80 % range
allows, so a formula that is sure of itself is moved less. Everything is Gaussian, and the parts
form a tree (machine, placement, model): the best guess is exact and takes one pass.

The same model in the same place thus counts most, other models there for about half, and runs in
another place hardly. What was measured long ago fades; what is absurdly far from the formula, or
from its fellows, is a throttled or disturbed run and hardly counts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

from localllm.core.plan import SpeedEstimate

Phase = Literal["tg", "pp"]

HALF_LIFE_DAYS = 60.0
"""After so long a measurement counts half: drivers, llama.cpp and cooling change."""

MACHINE_SHARE, PLACEMENT_SHARE, MODEL_SHARE = 0.1, 0.4, 0.5
"""What the formula's error is made of, as shares of its variance. Assumed: a bandwidth that is not
what the data sheet says belongs to a place; a kernel's efficiency belongs to a model's shapes."""

RUN_NOISE = 0.05
"""Standard deviation of the log speed between runs of the same thing: clocks, heat, other load."""

TOKEN_NOISE = 0.4
"""The same for a single token. A run of n has it over sqrt(n): 10 % of 16 tokens, 4 % of 128."""

NARROWEST = math.log(1.08)
"""Half a range is never less than 8 %: the next run's own noise."""

BELIEVABLE = math.log(2.5)
"""A ratio so far from 1, in either direction, counts half; five times off counts a hundredth. Only
what other days confirm is believed all the same: heat and other load pass, a wrong bandwidth in the
formula's books does not."""

_Z80 = 1.2816
"""80 % of a normal distribution lie within so many standard deviations."""
_SAME = math.log(1.5)
"""Ratios within this are alike enough to confirm each other."""
_SCATTER_PRIOR = 3.0
"""The usual noise weighs as much as so many runs, or repetitions, that show this machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured speed of a run whose estimate is known."""

    model_key: str
    """What makes two models equally fast: ``fingerprint.model_key``."""
    placement_key: str
    """Where the weights lay: ``fingerprint.placement_key``."""
    phase: Phase
    predicted_tok_s: float
    """By formula for this very run, before any measurement moved it."""
    measured_tok_s: float
    n_tokens: int
    """How many tokens were timed, all repetitions together."""
    age_days: float
    std_tok_s: float | None = None
    """Sample standard deviation between repetitions; None for a single one."""
    n_repetitions: int = 1


class _Gauss(NamedTuple):
    """What is known of one part of the error."""

    mean: float
    variance: float

    def told(self, messages: Iterable[_Gauss]) -> _Gauss:
        """Return what is known after further independent word of the same part."""
        precision, total = 1 / self.variance, self.mean / self.variance
        for message in messages:
            precision += 1 / message.variance
            total += message.mean / message.variance
        return _Gauss(total / precision, 1 / precision)

    def blurred(self, variance: float) -> _Gauss:
        """Return what this says of a part one step away in the tree."""
        return _Gauss(self.mean, self.variance + variance)


class _Run(NamedTuple):
    """One observation as the arithmetic needs it."""

    log_ratio: float
    noise: float
    """Standard deviation of ``log_ratio`` for a fresh and undisturbed run."""
    weight: float
    """From 0 to 1: how fresh and how believable."""


class _Group(NamedTuple):
    """What the runs of one model in one place say together."""

    said: _Gauss
    """Of the formula's error there, where runs scatter by ``RUN_NOISE``."""
    squares: float
    """Weighted squares of the distances from their mean, beyond what few tokens explain."""
    freedom: float
    """How many runs' worth of scatter ``squares`` holds."""


class Calibration:
    """What the measurements of one machine say. Made once, it moves any number of estimates."""

    def __init__(self, observations: Iterable[Observation]) -> None:
        """Take the observations of one machine (``records.measured.observations``)."""
        usable = [o for o in observations if _is_usable(o)]
        self._n = Counter(o.placement_key for o in usable)
        self._tg = _places(o for o in usable if o.phase == "tg")
        self._pp = _places(o for o in usable if o.phase == "pp")

    def applied(
        self, estimate: SpeedEstimate, *, model_key: str, placement_key: str
    ) -> SpeedEstimate:
        """Return the estimate moved; the very same one where there is nothing to move it by.

        The range is never wider than before and never less than 8 % either way; ``basis`` says how
        many measurements of the place took part, or of all places where it has none; ``decode``
        and ``prefill`` stay the formula's.
        """
        key = (placement_key, model_key)
        tg = _moved((estimate.tg_low, estimate.tg_tok_s, estimate.tg_high), self._tg, key)
        pp = _moved((estimate.pp_low, estimate.pp_tok_s, estimate.pp_high), self._pp, key)
        if tg is None and pp is None:
            return estimate
        n = self._n[placement_key] or self._n.total()
        basis = f"{estimate.basis}, moved by {n:,} own measurement{'s' * (n != 1)}"
        moved = replace(estimate, basis=basis)
        if tg is not None:
            moved = replace(moved, tg_low=tg[0], tg_tok_s=tg[1], tg_high=tg[2])
        if pp is not None:
            moved = replace(moved, pp_low=pp[0], pp_tok_s=pp[1], pp_high=pp[2])
        return moved


def typical_ratio(observations: Iterable[Observation], phase: Phase) -> float | None:
    """Return the median of measured over predicted speed, or None without a measurement."""
    ratios = [
        o.measured_tok_s / o.predicted_tok_s
        for o in observations
        if o.phase == phase and _is_usable(o)
    ]
    if not ratios:
        return None
    from statistics import median  # 4 ms that a plan need not wait for

    return median(ratios)


_Places = Mapping[str, Mapping[str, _Group]]
"""Groups by placement, then by model."""


def _is_usable(observation: Observation) -> bool:
    values = (observation.predicted_tok_s, observation.measured_tok_s, observation.n_tokens)
    return all(math.isfinite(value) and value > 0 for value in values) and math.isfinite(
        observation.age_days
    )


def _places(observations: Iterable[Observation]) -> _Places:
    groups: dict[str, dict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for observation in observations:
        groups[observation.placement_key][observation.model_key].append(observation)
    return {
        place: {model: _group(_runs(of_model)) for model, of_model in models.items()}
        for place, models in groups.items()
    }


def _moved(
    formula: tuple[float | None, float | None, float | None],
    places: _Places,
    key: tuple[str, str],
) -> tuple[float, float, float] | None:
    """Return low, middle and high after what was seen of one phase, or None to leave them."""
    low, middle, high = formula
    if not places or low is None or middle is None or high is None:
        return None
    if not 0 < low <= middle <= high or low == high:
        return None
    below, above = math.log(middle / low), math.log(high / middle)
    sigma = (below + above) / (2 * _Z80)
    error, scatter = _error(places, key, sigma)
    shrunk = min(1.0, math.sqrt(error.variance + scatter) / sigma)
    middle *= math.exp(error.mean)
    return (
        middle / math.exp(min(below, max(below * shrunk, NARROWEST))),
        middle,
        middle * math.exp(min(above, max(above * shrunk, NARROWEST))),
    )


def _error(places: _Places, key: tuple[str, str], sigma: float) -> tuple[_Gauss, float]:
    """Return the formula's error for ``key`` (placement, model), and the variance of a run.

    ``sigma`` is the deviation that the formula's range stands for, a run's noise included.
    """
    placement, model = key
    bias = max(sigma**2 - RUN_NOISE**2, sigma**2 / 4)
    here = places.get(placement, {})
    scatter = _scatter(here.values())
    louder = max(1.0, scatter / RUN_NOISE**2)

    machine = _Gauss(0.0, MACHINE_SHARE * bias).told(
        _unknown().told(_of_place(models.values(), bias)).blurred(PLACEMENT_SHARE * bias)
        for name, models in places.items()
        if name != placement
    )
    others = [group for name, group in here.items() if name != model]
    place = machine.blurred(PLACEMENT_SHARE * bias).told(_of_place(others, bias, louder))
    own = [_quieter(here[model].said, louder)] if model in here else []
    return place.blurred(MODEL_SHARE * bias).told(own), scatter


def _unknown() -> _Gauss:
    return _Gauss(0.0, math.inf)


def _of_place(groups: Iterable[_Group], bias: float, louder: float = 1.0) -> Iterator[_Gauss]:
    """Yield what each model's runs say of the place that they ran in."""
    for group in groups:
        yield _quieter(group.said, louder).blurred(MODEL_SHARE * bias)


def _quieter(said: _Gauss, louder: float) -> _Gauss:
    """Return the same from runs that scatter ``louder`` times as much."""
    return _Gauss(said.mean, said.variance * louder)


def _runs(observations: Sequence[Observation]) -> list[_Run]:
    """Return the runs of one model in one place, sorted by their ratio."""
    ratios = [math.log(o.measured_tok_s) - math.log(o.predicted_tok_s) for o in observations]
    ages = [max(o.age_days, 0.0) for o in observations]
    days: dict[int, set[int]] = defaultdict(set)
    for log_ratio, age in zip(ratios, ages, strict=True):
        days[round(log_ratio / _SAME)].add(int(age))
    return sorted(
        _Run(
            log_ratio,
            math.hypot(RUN_NOISE, _own_noise(observation)),
            0.5 ** min(age / HALF_LIFE_DAYS, 64.0)
            / (1 + (log_ratio / BELIEVABLE) ** 8 / len(days[round(log_ratio / _SAME)]) ** 2),
        )
        for observation, log_ratio, age in zip(observations, ratios, ages, strict=True)
    )


def _own_noise(observation: Observation) -> float:
    """Return the standard deviation of a run's log speed that its few tokens are to blame for.

    Repetitions show it: their scatter, as an error of their mean, is pooled with what a run of so
    many tokens usually has, which weighs as ``_SCATTER_PRIOR`` repetitions do.
    """
    usual = TOKEN_NOISE / math.sqrt(observation.n_tokens)
    std, n = observation.std_tok_s, observation.n_repetitions
    if std is None or n < 2 or not (math.isfinite(std) and std >= 0):
        return usual
    seen = min(1.0, std / observation.measured_tok_s / math.sqrt(n))
    freedom = n - 1
    pooled = (_SCATTER_PRIOR * usual**2 + freedom * seen**2) / (_SCATTER_PRIOR + freedom)
    return math.sqrt(pooled)


def _group(runs: Sequence[_Run]) -> _Group:
    steadied = _steadied(runs)
    said = _unknown().told(_Gauss(r.log_ratio, r.noise**2 / r.weight) for r in steadied)
    total = sum(run.weight for run in steadied)
    mean = sum(run.weight * run.log_ratio for run in steadied) / total
    squares = 0.0
    for run in steadied:
        few_tokens = run.noise**2 - RUN_NOISE**2  # no fault of the machine
        squares += run.weight * max(0.0, (run.log_ratio - mean) ** 2 - few_tokens)
    freedom = total - sum(run.weight**2 for run in steadied) / total  # one is lost to the mean
    return _Group(said, squares, freedom)


def _steadied(runs: Sequence[_Run]) -> list[_Run]:
    """Return a model's runs in one place with those that stand apart from the others faded."""
    if len(runs) < 3:
        return list(runs)
    centre = _weighted_median(runs)
    return [
        run._replace(weight=run.weight / (1 + ((run.log_ratio - centre) / (4 * run.noise)) ** 2))
        for run in runs
    ]


def _weighted_median(runs: Sequence[_Run]) -> float:
    half, passed = sum(run.weight for run in runs) / 2, 0.0
    for run, after in pairwise(runs):
        passed += run.weight
        if passed > half:
            return run.log_ratio
        if passed == half:
            return (run.log_ratio + after.log_ratio) / 2
    return runs[-1].log_ratio


def _scatter(groups: Iterable[_Group]) -> float:
    """Return the variance between runs of one model in one place, as this machine shows it."""
    weights, squares = _SCATTER_PRIOR, _SCATTER_PRIOR * RUN_NOISE**2
    for group in groups:
        weights += group.freedom
        squares += group.squares
    return squares / weights
