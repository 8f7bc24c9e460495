"""The speed formulas as sums of constants times quantities, fitted to facts and judged on others.

``core/speed.py`` gives each fact's quantities; here they are named by the constants that price
them, which are few: none belongs to a row, a card or a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from _fit.facts import Fact
from _fit.least_squares import Observation, Place, fit, predicted
from _fit.parameters import PRIORS, Parameter
from localllm.core.pricing import Terms, constant_name, part_of
from localllm.core.speed import prefill_batches, step_terms
from localllm.core.traffic import Traffic, traffic_of
from localllm.core.traits import device_traits

PULL = 0.05
"""How many rows a prior is worth: it only decides what the data does not."""
MAX_GROUP_WEIGHT = 12.0
"""A source with many rows counts as no more than so many: they share its machine and its habits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fact with its quantities by place and constant."""

    fact: Fact
    seconds: float
    """Measured, for one step: a token, or a whole prompt."""
    places: tuple[Place, ...]

    def error(self, constants: Mapping[str, float]) -> float:
        """Natural logarithm of predicted over measured tokens per second."""
        return math.log(self.seconds / predicted(self.places, constants))


def rows_of(facts: Iterable[Fact], *, constants: Iterable[str] = PRIORS) -> list[Row]:
    """Return the facts' rows; the traffic of a model is counted once."""
    names = frozenset(constants)
    counted: dict[int, Traffic] = {}
    rows = []
    for fact in facts:
        traffic = counted.get(id(fact.model))
        if traffic is None:
            traffic = counted[id(fact.model)] = traffic_of(fact.model)
        rows.append(_row(fact, traffic, names))
    return rows


def _row(fact: Fact, traffic: Traffic, names: frozenset[str]) -> Row:
    if fact.phase == "tg":
        batches: tuple[tuple[int, int, int], ...] = ((1, 1, fact.mean_depth),)
    else:
        batches = prefill_batches(fact.n_tokens, fact.run.shape.n_ubatch, depth=fact.depth)
    n_batches = sum(count for count, _, _ in batches)
    places: list[Place] = []
    for count, n_tokens, depth in batches:
        terms = step_terms(traffic, fact.run, n_tokens=n_tokens, depth=depth)
        pipelined = (
            len(terms) > 1
            and all(term.kind == "gpu" for term in terms)
            and all(device_traits(device).pipelines for device in fact.run.devices)
        )
        # Equal stages: all but the first batch wait for one of them only.
        share = (1.0 + (n_batches - 1.0) / len(terms)) / n_batches if pipelined else 1.0
        places += (_place(fact, term, names, count * share, len(terms) > 1) for term in terms)
    measured = 1.0 if fact.phase == "tg" else float(fact.n_tokens)
    return Row(fact=fact, seconds=measured / fact.tok_s, places=tuple(places))


def _place(fact: Fact, place: Terms, names: frozenset[str], times: float, several: bool) -> Place:
    """One place's quantities, so many times, by the constants that price them."""
    parts: dict[str, dict[str, float]] = {"memory": {}, "compute": {}, "rest": {}}
    for term, amount in place.quantities.items():
        name = constant_name(names, place.keys, term) if amount else None
        if name is None:
            continue
        scaled = times * amount * (fact.weights_scale if term in _OF_WEIGHTS else 1.0)
        part = parts[part_of(term)]
        for each in (name, _of_old_times(fact, term, several=several)):
            if each in names:
                part[each] = part.get(each, 0.0) + scaled
    return Place(**parts)


def _of_old_times(fact: Fact, term: str, *, several: bool) -> str:
    """The constant that prices a term again for a measurement of another time."""
    if not fact.run.devices or fact.run.devices[0].backend != "cuda":
        return ""
    if fact.phase == "tg" and term == "matrices" and several:
        return f"{fact.era} several matrices"
    if term == "matmul float":
        return ""
    return f"{fact.era} {term.partition(' ')[0]}"


_OF_WEIGHTS = ("weights", "latency", "stream")
"""Terms that grow with the file where it is larger than our recipe's."""


def fitted(
    rows: Sequence[Row],
    parameters: Mapping[str, Parameter] = PRIORS,
    *,
    start: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return the constants that the rows give; ``start`` saves time where they are near."""
    sizes: dict[str, int] = {}
    for row in rows:
        key = f"{row.fact.group} {row.fact.phase}"
        sizes[key] = sizes.get(key, 0) + 1
    observations = []
    for row in rows:
        n = sizes[f"{row.fact.group} {row.fact.phase}"]
        weight = min(1.0, MAX_GROUP_WEIGHT / n) * (1.0 if row.fact.tier in "AB" else 0.3)
        observations.append(Observation(seconds=row.seconds, places=row.places, weight=weight))
    priors = {name: parameter.prior for name, parameter in parameters.items()}
    least = {name: parameter.least for name, parameter in parameters.items()}
    return fit(observations, priors, least, pull=PULL, start=start)


def left_out_errors(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return every row's error under constants fitted without its source."""
    errors, whole = [], fitted(rows)
    for group in sorted({row.fact.group for row in rows}):
        constants = fitted([row for row in rows if row.fact.group != group], start=whole)
        errors += [(row, row.error(constants)) for row in rows if row.fact.group == group]
    return errors
