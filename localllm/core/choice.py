"""choose(models, hardware, policy) -> Choice: quantisation, KV type, context, batch and placement.

One model in the quantisations on offer; every choice that the policy leaves open is planned and
estimated by the formulas, and the best by the policy's preference (``preferences.py``) is taken.
Where layers go within one choice is decided in ``planner.py``, the batch in ``batches.py``.

Few choices are worked out in full. Compute buffers are what costs time; without them at least as
much fits on the GPUs, so that the answer is no worse than the full one: a bound. What even so ranks
below a choice that was worked out in full is proven worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from localllm.core import choice_words
from localllm.core.batches import with_best_batch
from localllm.core.breakdown import MemoryModel
from localllm.core.choice_space import Candidate, candidates
from localllm.core.estimate import Estimator
from localllm.core.hardware import Hardware, Host
from localllm.core.memory import N_CTX_PADDING
from localllm.core.model import ModelSpec
from localllm.core.placing import Problem
from localllm.core.plan import CostEstimate, PowerEstimate, SpeedEstimate
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.preferences import meets_wishes, rank, reads_along, tok_s
from localllm.core.quality import Fragility, Loss, fragility, loss_of
from localllm.core.quants import QUANTS, quant_named
from localllm.core.search import largest
from localllm.core.solution import Solution
from localllm.core.traffic import Traffic, traffic_of
from localllm.errors import UsageError

Rank = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One fixed choice, planned and estimated by the formulas."""

    model: ModelSpec
    """In its quantisation."""
    policy: Policy
    """With ``quant``, ``type_k``, ``type_v``, ``n_ctx`` and ``n_ubatch`` definite; ``n_gpu_layers``
    0 where the processors alone are faster than with the GPUs."""
    solution: Solution
    loss: Loss
    """Of the weights and the KV cache together."""
    speed: SpeedEstimate | None
    """None, as power and cost, where it does not fit."""
    power: PowerEstimate | None
    cost: CostEstimate | None

    @property
    def fits(self) -> bool:
        """Whether every device and the host have room."""
        return self.solution.verdict == "fits"

    @property
    def n_ctx(self) -> int:
        """Context in tokens."""
        return self.solution.settings.shape.n_ctx


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was taken, and what could be taken instead."""

    best: Option
    alternatives: tuple[Option, ...]
    """The Pareto front over quality, decode speed and context, the best quality first; ``best`` is
    among them. ``best`` alone where nothing fits, or where no alternatives were asked for."""
    n_considered: int
    """Fixed choices that were worked out, or proven worse."""
    reason: str
    """One sentence: why this one."""
    unmet: str | None
    """A wish (``min_tok_s``, ``max_j_per_token``) that nothing reaches, with what comes nearest."""


def choose(
    models: Sequence[ModelSpec], hardware: Hardware, policy: Policy, *, alternatives: bool = True
) -> Choice:
    """Return the best choice for one model in the quantisations on offer.

    What the policy fixes is kept: ``quant``, KV types, a context (never made smaller silently).
    Without ``alternatives`` only the best is worked out, which is several times quicker. Raises
    UsageError for wishes that contradict the model, the machine or each other.
    """
    return Chooser(models).choose(hardware, policy, alternatives=alternatives)


class Chooser:
    """``choose`` for one model on several machines: what no machine changes is summed once."""

    def __init__(self, models: Sequence[ModelSpec]) -> None:
        """Take one model in the quantisations on offer."""
        self.models = tuple(models)
        self._traffic: dict[int, Traffic] = {}
        self._fragility: dict[int, Fragility] = {}
        self._memory: list[tuple[int, Host, MemoryModel]] = []

    def choose(self, hardware: Hardware, policy: Policy, *, alternatives: bool = True) -> Choice:
        """Return the best choice on a machine, see ``choose``."""
        return _Search(self, hardware, policy).choice(alternatives=alternatives)

    def traffic(self, index: int) -> Traffic:
        """What a token touches of one of the models."""
        if index not in self._traffic:
            self._traffic[index] = traffic_of(self.models[index])
        return self._traffic[index]

    def memory(self, index: int, host: Host) -> MemoryModel:
        """The memory formulas of one of the models beside a host; machines often share theirs."""
        for known, where, memory in self._memory:
            if known == index and where == host:
                return memory
        made = MemoryModel(self.models[index], (), host)
        self._memory.append((index, host, made))
        return made

    def loss(self, candidate: Candidate, n_ctx: int) -> Loss:
        """What a choice costs in quality at a context."""
        model, policy = candidate.model, candidate.policy
        if candidate.index not in self._fragility:
            self._fragility[candidate.index] = fragility(model)
        return loss_of(
            self._fragility[candidate.index],
            model.quant if quant_named(model.quant) else _nearest_by_size(model),
            type_k=policy.type_k or "f16",
            type_v=policy.type_v or "f16",
            n_ctx=n_ctx,
        )


def _nearest_by_size(model: ModelSpec) -> str:
    """The quantisation with the bits per weight of a file that does not say which it is."""
    bits = 8 * sum(tensor.n_bytes for tensor in model.tensors) / max(model.n_params, 1)
    return min(QUANTS.values(), key=lambda quant: abs(quant.bits_per_weight - bits)).name


@dataclass(slots=True, kw_only=True)
class _Considered:
    """A candidate with its bound, and its full answer once it was worked out."""

    candidate: Candidate
    bound: Option
    full: Option | None = None


class _Search:
    """The search on one machine."""

    def __init__(self, chooser: Chooser, hardware: Hardware, policy: Policy) -> None:
        self._chooser = chooser
        self._hardware = hardware
        self._policy = policy
        self._estimators: dict[int, Estimator] = {}
        self._near: Solution | None = None
        self._considered: list[_Considered] = []

    def choice(self, *, alternatives: bool) -> Choice:
        """Find the best; then, where wanted or where a wish is not met, the front."""
        self._considered = self._bounds()
        best = self._best()
        unmet = best.fits and not meets_wishes(best, self._policy)
        front = self._front(best) if (alternatives or unmet) and best.fits else [best]
        batched = {id(option): self._with_batch(option) for option in front}
        chosen = batched[id(best)]
        return Choice(
            best=chosen,
            alternatives=tuple(batched.values()) if alternatives else (chosen,),
            n_considered=len(self._considered),
            reason=choice_words.reason(chosen, self._policy, better=self._next_better(best)),
            unmet=choice_words.unmet(front, self._policy) if unmet else None,
        )

    def _bounds(self) -> list[_Considered]:
        """Every candidate without its compute buffers. What llama.cpp refuses is left out."""
        found: list[_Considered] = []
        refusal: UsageError | None = None
        for candidate in candidates(self._chooser.models, self._hardware, self._policy):
            memory = self._chooser.memory(candidate.index, self._hardware.host)
            try:
                solution = self._solve(candidate, memory.with_compute(None), near=None)
            except UsageError as error:
                refusal = refusal or error
                continue
            found.append(_Considered(candidate=candidate, bound=self._option(candidate, solution)))
        if not found and refusal is not None:
            raise refusal
        return found

    def _best(self) -> Option:
        """Work out candidates from the highest bound down until no bound reaches the best."""
        # the energy of a bound is none: a GPU that holds more may draw more
        relaxed = replace(self._policy, max_j_per_token=None)
        bounds = [(rank(each.bound, relaxed), each) for each in self._considered]
        bounds.sort(key=lambda pair: pair[0], reverse=True)
        best: tuple[Rank, Option] | None = None
        for bound, each in bounds:
            if best is not None and best[0] >= bound:
                break
            option = self._full(each)
            found = rank(option, self._policy)
            if best is None or found > best[0]:
                best = found, option
        assert best is not None
        return best[1]

    def _front(self, best: Option) -> list[Option]:
        """Return what nothing beats in quality, speed and context at once, best quality first."""
        known = [each.full for each in self._considered if each.full is not None]
        for each in sorted(self._considered, key=lambda each: tok_s(each.bound), reverse=True):
            if each.full is None and not _beaten(each.bound, known):
                known.append(self._full(each))
        front: list[Option] = [best]
        ranked = sorted(known, key=lambda option: rank(option, self._policy), reverse=True)
        for option in ranked:
            if option is not best and not _beaten(option, front):
                front = [*(o for o in front if o is best or not _beaten(o, [option])), option]
        return sorted(front, key=lambda option: (option.loss.kld, -tok_s(option)))

    def _next_better(self, best: Option) -> Option | None:
        """Return the next quantisation of less loss with the same cache: what best is not."""
        policy = best.policy
        others = [
            each
            for each in self._considered
            if each.bound.loss.weights_kld < best.loss.weights_kld
            and (each.candidate.policy.type_k, each.candidate.policy.type_v)
            == (policy.type_k, policy.type_v)
        ]
        if not others:
            return None
        least = max(each.bound.loss.weights_kld for each in others)
        nearest = [each for each in others if each.bound.loss.weights_kld == least]
        return max(
            (self._full(each) for each in nearest), key=lambda option: rank(option, self._policy)
        )

    def _full(self, each: _Considered) -> Option:
        if each.full is None:
            candidate = each.candidate
            memory = self._chooser.memory(candidate.index, self._hardware.host)
            solution = self._solve(candidate, memory, near=self._near)
            if solution.devices:
                self._near = solution  # the next one's compute buffers are nearly the same
            each.full = self._option(candidate, solution)
        return each.full

    def _solve(
        self, candidate: Candidate, memory: MemoryModel, *, near: Solution | None
    ) -> Solution:
        """Plan a candidate; where context is preferred, with the longest that still reads along."""
        hardware, policy = self._hardware, candidate.policy
        base = solve(memory, hardware, policy, near=near)
        model, n_ctx = candidate.model, base.settings.shape.n_ctx
        if policy.prefer != "context" or policy.n_ctx is not None or model.n_ctx_train <= n_ctx:
            return base
        bearable = self._option(candidate, base)
        if not reads_along(bearable):
            return base
        meets = meets_wishes(bearable, policy)

        def trial(step: int) -> Solution | None:
            longer = replace(policy, n_ctx=min(step * N_CTX_PADDING, model.n_ctx_train))
            found = solve(memory, hardware, longer, near=near)
            option = self._option(candidate, found)
            kept = option.fits and reads_along(option)
            return found if kept and meets_wishes(option, policy) >= meets else None

        low, high = n_ctx // N_CTX_PADDING + 1, -(-model.n_ctx_train // N_CTX_PADDING)
        return trial(high) or largest(trial, low=low, high=high - 1, near=None) or base

    def _option(self, candidate: Candidate, solution: Solution) -> Option:
        """Estimate a solution, and make its policy definite."""
        index, model, shape = candidate.index, candidate.model, solution.settings.shape
        if index not in self._estimators:
            self._estimators[index] = Estimator(
                model, self._hardware, self._policy, traffic=self._chooser.traffic(index)
            )
        estimates = self._estimators[index].estimate(solution)
        asked = candidate.policy.n_ctx
        n_ctx = asked if isinstance(asked, int) and asked > shape.n_ctx - N_CTX_PADDING else None
        if n_ctx is None:
            n_ctx = min(shape.n_ctx, model.n_ctx_train or shape.n_ctx)
        return Option(
            model=model,
            policy=replace(candidate.policy, n_ctx=n_ctx, n_ubatch=shape.n_ubatch),
            solution=solution,
            loss=self._chooser.loss(candidate, shape.n_ctx),
            speed=estimates.speed,
            power=estimates.power,
            cost=estimates.cost,
        )

    def _with_batch(self, option: Option) -> Option:
        """Return an option with the batch that its prompts are best served by."""
        each = next(c for c in self._considered if c.full is option)
        index = each.candidate.index
        problem = Problem(
            memory=self._chooser.memory(index, self._hardware.host),
            hardware=self._hardware,
            policy=each.candidate.policy,
        )
        batched = with_best_batch(problem, option.solution, self._chooser.traffic(index))
        if batched is option.solution:
            return option
        return self._option(each.candidate, batched)


def _beaten(option: Option, others: Iterable[Option]) -> bool:
    """Whether another one is as good in quality, speed and context at once."""
    return any(
        other.loss.kld <= option.loss.kld
        and tok_s(other) >= tok_s(option)
        and other.n_ctx >= option.n_ctx
        for other in others
    )
