"""recommend(...): which of many models a machine runs well, by what the person states.

No opinion on which model answers better: models are ordered by a figure (parameters, speed,
context, joules), and only those are named that reach a usable speed with a loss that is not large.
Each model gets the choice of ``choice.py``.

Most models are left without a plan: weights that no memory here holds, and weights that cannot be
read often enough a second even at the peak of every memory. Both are bounds, so that nothing is
missed; where models are ordered by size the search ends with the last row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from localllm.core.board_power import check_power_limit
from localllm.core.calibration import Calibration
from localllm.core.choice import Choice, Chooser, Option
from localllm.core.comparison import option_document
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.model_bounds import Bounds, least_bytes, least_bytes_of
from localllm.core.policy import Policy
from localllm.core.preferences import (
    LARGE_KLD,
    READING_TOK_S,
    RUNS_TOK_S,
    UNNOTICED_KLD,
    USABLE_TOK_S,
    merits,
)
from localllm.core.quality import Fragility, fragility, loss_of
from localllm.core.quant_mix import DEFAULT_TYPES
from localllm.core.quants import OFFERED
from localllm.core.requantise import requantised
from localllm.errors import UsageError

RECOMMEND_SCHEMA = "localllm.recommend/1"

Sort = Literal["size", "speed", "context", "j-per-token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model that can be recommended. Its header is made when it is needed."""

    name: str
    n_params: int
    spec: Callable[[], ModelSpec]
    """The model in any quantisation: the one it was published in, if that is not 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What rows there are to be, and in which order."""

    sort: Sort = "size"
    limit: int = 10
    max_file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model that runs well."""

    name: str
    also: tuple[str, ...]
    """Other models of the same shape, whose plan is the same."""
    choice: Choice
    n_params_active: int
    """Parameters that one token passes."""

    @property
    def option(self) -> Option:
        """What was chosen."""
        return self.choice.best


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Rows in the order that was asked for, and what became of the other models."""

    rows: tuple[Row, ...]
    n_known: int
    too_large: int
    """Hold in no memory here, or are larger than was asked for."""
    too_slow: int
    """Fit, and do not reach the usable speed, or the energy, without a large loss."""
    not_reached: int
    """Were not looked at: the rows were full, and these come after them."""


OnProgress = Callable[[int, int], None]
"""Models done, and models in all."""


def least_tok_s(policy: Policy) -> float:
    """How fast a model must decode to be named: as wished, else as its preference calls usable."""
    if policy.min_tok_s is not None:
        return policy.min_tok_s
    by_preference = {"quality": RUNS_TOK_S, "context": READING_TOK_S}
    return by_preference.get(policy.prefer, USABLE_TOK_S)


def recommend(
    known: Sequence[Known],
    hardware: Hardware,
    policy: Policy,
    wish: Wish,
    *,
    calibration: Calibration | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Recommendation:
    """Return what a machine runs well. ``calibration``: what was measured on it.

    Raises UsageError for wishes that the machine cannot take with any model, and for an unknown
    quantisation.
    """
    if policy.quant is not None and policy.quant not in DEFAULT_TYPES:
        raise UsageError(
            f'"{policy.quant}" is no quantisation that llama.cpp makes.',
            hint=f"Known are {', '.join(DEFAULT_TYPES)}.",
        )
    check_power_limit(policy.power_limit_w, hardware.usable_devices, hardware.host)
    search = _Search(hardware, policy, wish, calibration)
    by_size = sorted(known, key=lambda model: (-model.n_params, model.name))
    last = 0
    for index, model in enumerate(by_size):
        on_progress(index, len(by_size))
        if wish.sort == "size" and search.full and model.n_params < last:
            break
        search.look_at(model)
        last = model.n_params
    looked_at = search.n_rows + search.too_large + search.too_slow
    if search.refusal is not None and not search.n_rows and search.n_refused == looked_at:
        raise search.refusal
    rows = sorted(search.rows(), key=lambda row: _order(row, wish.sort))
    cut = sum(1 + len(row.also) for row in rows[wish.limit :])
    return Recommendation(
        rows=tuple(rows[: wish.limit]),
        n_known=len(by_size),
        too_large=search.too_large,
        too_slow=search.too_slow,
        not_reached=len(by_size) - looked_at + cut,
    )


def recommendation_document(
    found: Recommendation, *, hardware: Hardware, version: str, commands: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return it as its JSON document; ``commands`` are those that plan each row."""
    return {
        "schema": RECOMMEND_SCHEMA,
        "localllm": version,
        "hardware": {"name": hardware.name, "source": hardware.source},
        "estimate": True,
        "n_known": found.n_known,
        "too_large": found.too_large,
        "too_slow": found.too_slow,
        "not_reached": found.not_reached,
        "rows": [
            {
                "name": row.name,
                "also": list(row.also),
                "n_params": row.option.model.n_params,
                "n_params_active": row.n_params_active,
                "reason": row.choice.reason,
                **option_document(row.option),
                "plan_command": list(command),
            }
            for row, command in zip(found.rows, commands, strict=True)
        ],
    }


class _Search:
    """Rows found so far, and why other models have none."""

    def __init__(
        self,
        hardware: Hardware,
        policy: Policy,
        wish: Wish,
        calibration: Calibration | None,
    ) -> None:
        self._hardware, self._policy, self._wish = hardware, policy, wish
        self._calibration = calibration
        self._bounds = Bounds(hardware, policy, measured=calibration is not None)
        self._rows: dict[object, tuple[Choice, int, list[str]]] = {}
        self._fates: dict[object, str] = {}
        self._least_tok_s = least_tok_s(policy)
        self.too_large = self.too_slow = self.n_refused = 0
        self.refusal: UsageError | None = None

    @property
    def full(self) -> bool:
        """Whether there are as many rows as were asked for, and a further one would be new."""
        return len(self._rows) >= self._wish.limit

    @property
    def n_rows(self) -> int:
        """Models in rows, those of equal shape counted."""
        return sum(len(names) for _, _, names in self._rows.values())

    def rows(self) -> list[Row]:
        """What was found."""
        return [
            Row(name=names[0], also=tuple(names[1:]), choice=choice, n_params_active=active)
            for choice, active, names in self._rows.values()
        ]

    def look_at(self, known: Known) -> None:
        """Choose for one model, unless a bound says that it is no use."""
        if least_bytes_of(known.n_params) > self._bounds.room_bytes:
            self.too_large += 1
            return
        spec = known.spec()
        shape = _shape_key(spec)
        if shape in self._rows:
            self._rows[shape][2].append(known.name)
            return
        if shape not in self._fates:
            self._fates[shape] = self._decide(known, spec, shape)
        self.too_large += self._fates[shape] == "too large"
        self.too_slow += self._fates[shape] == "too slow"

    def _decide(self, known: Known, spec: ModelSpec, shape: object) -> str:
        traits = fragility(spec)
        fitting = self._fitting(spec, traits)
        if not fitting:
            return "too large"
        worth = [
            quant
            for quant in fitting
            if loss_of(traits, quant, n_ctx=1).kld < LARGE_KLD
            and self._bounds.fastest(spec, traits, quant) >= self._least_tok_s
        ]
        if not worth:
            return "too slow"
        try:
            choice = self._choose(spec, traits, worth)
        except UsageError as error:
            self.refusal = self.refusal or error
            self.n_refused += 1
            return "too slow"
        if choice is None or not choice.best.fits:
            return "too large"
        best = choice.best
        if not self._runs_well(best):
            return "too slow"
        self._rows[shape] = choice, traits.n_params_active, [known.name]
        return "row"

    def _choose(self, spec: ModelSpec, traits: Fragility, quants: Sequence[str]) -> Choice | None:
        """Choose among quantisations; first among those whose loss nobody notices.

        Where one of these runs well with the context wanted, none that loses more is better by
        quality or balance. None where every file is larger than wished.
        """
        unnoticed = [q for q in quants if loss_of(traits, q, n_ctx=1).kld <= UNNOTICED_KLD]
        if unnoticed and self._policy.prefer in ("quality", "balanced"):
            choice = self._among(spec, unnoticed)
            if choice is not None and self._runs_well(choice.best):
                it = merits(choice.best, self._policy)
                if it.kld <= UNNOTICED_KLD and it.n_ctx >= it.wanted_n_ctx:
                    return choice
        return self._among(spec, quants)

    def _among(self, spec: ModelSpec, quants: Sequence[str]) -> Choice | None:
        most = self._wish.max_file_bytes
        models = [spec if quant == spec.quant else requantised(spec, quant) for quant in quants]
        models = [model for model in models if most is None or model.file_bytes <= most]
        if not models:
            return None
        return Chooser(models).choose(
            self._hardware, self._policy, alternatives=False, calibration=self._calibration
        )

    def _runs_well(self, option: Option) -> bool:
        """Whether it is fast and frugal enough, at a loss that is not large."""
        it = merits(option, self._policy)
        return it.tok_s >= self._least_tok_s and it.meets(self._policy) and it.bearable

    def _fitting(self, spec: ModelSpec, traits: Fragility) -> list[str]:
        """Quantisations on offer whose weights may fit into all memory together."""
        offered = (spec.quant,) if traits.published else OFFERED
        if self._policy.quant is not None:
            offered = (self._policy.quant,)
        room = min(self._bounds.room_bytes, self._wish.max_file_bytes or self._bounds.room_bytes)
        return [q for q in offered if least_bytes(spec, q) <= room]


def _order(row: Row, sort: Sort) -> tuple[float, ...]:
    option = row.option
    if sort == "speed":
        return (-option.tok_s,)
    if sort == "context":
        return (-option.n_ctx, -option.model.n_params)
    if sort == "j-per-token":
        power = option.power
        return (power.j_per_token if power else float("inf"), -option.model.n_params)
    return (-option.model.n_params, -option.tok_s)


def _shape_key(spec: ModelSpec) -> object:
    """Equal for models that differ in their weights and their name only."""
    named = ("name", "source", "file_bytes", "metadata", "has_chat_template", "tensors")
    values = (getattr(spec, f.name) for f in fields(spec) if f.name not in named)
    return *values, tuple((t.name, t.type, t.shape) for t in spec.tensors)
