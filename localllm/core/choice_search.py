"""The search behind a choice: the best of many candidates, with few of them worked out in full.

The loss of a candidate is known at once, as are weights beyond all memory; however fast the rest
were, its rank could not be higher: a first bound. Compute buffers are what costs time; without them
at least as much fits on the GPUs, so that this answer is no worse than the full one: a second
bound. What even so ranks below a candidate that was worked out in full is proven worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core import choice_words
from localllm.core.batches import with_best_batch
from localllm.core.breakdown import MemoryModel
from localllm.core.choice_space import Candidate, candidates
from localllm.core.estimate import Estimator
from localllm.core.groups import read_speed
from localllm.core.hardware import Device, Hardware
from localllm.core.memory import N_CTX_PADDING, padded_n_ctx
from localllm.core.offer import Offer
from localllm.core.option import Choice, Option
from localllm.core.placing import Problem
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.preferences import Merits, Rank, least_n_ctx, merits, order
from localllm.core.search import largest
from localllm.core.solution import Solution
from localllm.core.split import free_bytes
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration


class _Considered:
    """One candidate, as far as it was looked into."""

    def __init__(self, candidate: Candidate, bound: Merits) -> None:
        self.candidate = candidate
        self.bound = bound
        """No worse than the candidate itself."""
        self.is_placed = False
        """Whether the bound is that of its placement without compute buffers."""
        self.full: Option | None = None


class Search:
    """The search on one machine."""

    def __init__(
        self,
        offer: Offer,
        hardware: Hardware,
        policy: Policy,
        *,
        calibration: Calibration | None = None,
    ) -> None:
        """List the candidates. Raises UsageError for a quantisation or a context out of reach."""
        self._offer = offer
        self._calibration = calibration
        self._hardware = hardware
        self._policy = policy
        # the energy of a bound is not known: a GPU that holds more may draw more
        self._relaxed = replace(policy, max_j_per_token=None)
        self._estimators: dict[int, Estimator] = {}
        self._near: Solution | None = None
        self._refusal: UsageError | None = None
        self._considered = [
            _Considered(candidate, self._fastest(candidate))
            for candidate in candidates(offer.models, policy)
        ]

    def choice(self, *, alternatives: bool) -> Choice:
        """Find the best; and the front, where it is wanted or a wish is not met."""
        best = self._best()
        option = self._full(best)
        unmet = option.fits and not merits(option, self._policy).meets(self._policy)
        front = self._front(best) if option.fits and (alternatives or unmet) else [best]
        better = self._next_better(best)
        batched = {id(each): self._with_batch(each) for each in (front if alternatives else [best])}
        chosen = batched[id(best)]
        return Choice(
            best=chosen,
            alternatives=tuple(batched.values()),
            n_considered=len(self._considered),
            reason=choice_words.reason(
                chosen,
                self._policy,
                better=better,
                only_quant=len({each.candidate.index for each in self._considered}) == 1,
            ),
            unmet=choice_words.unmet([self._full(each) for each in front], self._policy)
            if unmet
            else None,
        )

    def _best(self) -> _Considered:
        """Look into the highest bound, until that is no bound any more but the option itself."""
        waiting = [(order(each.bound, self._relaxed), each) for each in self._considered]
        best: tuple[Rank, _Considered] | None = None
        while waiting:
            top = max(range(len(waiting)), key=lambda i: waiting[i][0])
            bound, each = waiting.pop(top)
            if best is not None and bound <= best[0]:
                break
            if not each.is_placed:
                if self._place(each):
                    waiting.insert(top, (order(each.bound, self._relaxed), each))
                continue
            found = order(merits(self._full(each), self._policy), self._policy)
            if best is None or found > best[0]:
                best = found, each
        if best is None:
            assert self._refusal is not None
            raise self._refusal
        return best[1]

    def _front(self, best: _Considered) -> list[_Considered]:
        """Return what nothing beats in quality, speed and context at once, best quality first."""
        known = [each for each in self._considered if each.full is not None]
        for each in sorted(self._considered, key=lambda each: each.bound.kld):
            if each.full is not None or not each.bound.fits:
                continue
            if not (each.is_placed or self._place(each)):
                continue
            if each.bound.fits and not _beaten(each.bound, map(self._merits, known)):
                self._full(each)
                known.append(each)
        ranked = sorted(
            (each for each in known if each is not best and self._merits(each).fits),
            key=lambda each: order(self._merits(each), self._policy),
            reverse=True,
        )
        front = [best]
        for each in ranked:
            here = self._merits(each)
            if not _beaten(here, map(self._merits, front)):
                kept = (o for o in front if o is best or not self._merits(o).beaten_by(here))
                front = [*kept, each]
        return sorted(front, key=lambda each: (self._merits(each).kld, -self._merits(each).tok_s))

    def _next_better(self, best: _Considered) -> choice_words.Other | None:
        """Return the next quantisation of less loss with the same cache: what the best is not."""
        ours = best.candidate.policy
        others = [
            each
            for each in self._considered
            if each.candidate.index != best.candidate.index
            and each.bound.kld < best.bound.kld
            and (each.candidate.policy.type_k, each.candidate.policy.type_v)
            == (ours.type_k, ours.type_v)
        ]
        if not others:
            return None
        least = max(each.bound.kld for each in others)
        others = [each for each in others if each.bound.kld == least]
        others = [each for each in others if each.is_placed or self._place(each)]
        if not others:
            return None
        nearest = max(others, key=lambda each: order(each.bound, self._relaxed))
        found = self._merits(nearest) if nearest.bound.fits else nearest.bound
        return choice_words.Other(nearest.candidate.policy, found)

    def _fastest(self, candidate: Candidate) -> Merits:
        """The merits of a candidate if it took no time, and held all that it might hold.

        Weights that are more than all memories together do not fit, and lack at least the rest.
        """
        model, wanted = candidate.model, least_n_ctx(candidate.model, self._policy)
        longest = max(wanted, padded_n_ctx(model.n_ctx_train))
        lacking = self._offer.weights_bytes(candidate.index) - self._capacity(candidate)
        return Merits(
            fits=lacking <= 0,
            missing_bytes=round(max(lacking, 0.0)),
            kld=self._least_kld(candidate),
            tok_s=math.inf,
            n_ctx=longest if self._is_open(candidate) else wanted,
            wanted_n_ctx=wanted,
        )

    def _capacity(self, candidate: Candidate) -> float:
        """Bytes of all memories that a candidate may use."""
        host, limit = self._hardware.host.available_bytes, candidate.policy.ram_budget_bytes
        room = float(host if limit is None else min(host, limit))
        if candidate.policy.n_gpu_layers != 0:
            for device in self._hardware.usable_devices:
                free = free_bytes(device, candidate.policy)
                room += math.inf if free is None else free
        return room

    def _is_open(self, candidate: Candidate) -> bool:
        """Whether the search decides about the context."""
        asked = candidate.policy.n_ctx
        return asked == "max" or (asked is None and candidate.policy.prefer == "context")

    def _least_kld(self, candidate: Candidate) -> float:
        """The loss at the shortest context that it may end with: caches lose more in a longer."""
        shortest = least_n_ctx(candidate.model, self._policy)
        if candidate.policy.n_ctx == "max":
            shortest = N_CTX_PADDING
        return self._offer.loss(candidate, shortest).kld

    def _place(self, each: _Considered) -> bool:
        """Make the bound that of the placement; False, and forgotten, where llama.cpp refuses."""
        candidate = each.candidate
        memory = self._offer.memory(candidate.index, self._hardware.host)
        try:
            solution = self._solve(candidate, memory.with_compute(None), near=None)
        except UsageError as error:
            self._refusal = self._refusal or error
            self._considered = [other for other in self._considered if other is not each]
            return False
        found = merits(self._option(candidate, solution), self._relaxed)
        each.bound = found._replace(kld=each.bound.kld)
        measured = self._calibration is not None
        if found.fits and (measured or _unlike(self._hardware.usable_devices)):
            # What was measured, and what another card would do, is of another placement.
            each.bound = each.bound._replace(tok_s=math.inf)
        each.is_placed = True
        return True

    def _full(self, each: _Considered) -> Option:
        if each.full is None:
            candidate = each.candidate
            memory = self._offer.memory(candidate.index, self._hardware.host)
            solution = self._solve(candidate, memory, near=self._near)
            if solution.devices:
                self._near = solution  # the next one's compute buffers are nearly the same
            each.full = self._option(candidate, solution)
        return each.full

    def _merits(self, each: _Considered) -> Merits:
        return merits(self._full(each), self._policy)

    def _solve(
        self, candidate: Candidate, memory: MemoryModel, *, near: Solution | None
    ) -> Solution:
        """Plan a candidate; where context is preferred, with the longest that still reads along."""
        hardware, policy = self._hardware, candidate.policy
        base = solve(memory, hardware, policy, near=near)
        limit, n_ctx = candidate.model.n_ctx_train, base.settings.shape.n_ctx
        if policy.n_ctx == "max" or not self._is_open(candidate) or limit <= n_ctx:
            return base
        ours = merits(self._option(candidate, base), policy)
        if not ours.fits or not ours.reads_along:
            return base

        def trial(step: int) -> Solution | None:
            longer = replace(policy, n_ctx=min(step * N_CTX_PADDING, limit))
            found = solve(memory, hardware, longer, near=near)
            theirs = merits(self._option(candidate, found), policy)
            bearable = theirs.fits and theirs.reads_along
            return found if bearable and theirs.meets(policy) >= ours.meets(policy) else None

        low, high = n_ctx // N_CTX_PADDING + 1, -(-limit // N_CTX_PADDING)
        return trial(high) or largest(trial, low=low, high=high - 1, near=None) or base

    def _option(self, candidate: Candidate, solution: Solution) -> Option:
        """Estimate a solution, and make its policy definite."""
        index, model, shape = candidate.index, candidate.model, solution.settings.shape
        if index not in self._estimators:
            self._estimators[index] = Estimator(
                model,
                self._hardware,
                self._policy,
                calibration=self._calibration,
                traffic=self._offer.traffic(index),
            )
        estimates = self._estimators[index].estimate(solution)
        asked = candidate.policy.n_ctx
        if not isinstance(asked, int):
            asked = min(shape.n_ctx, model.n_ctx_train or shape.n_ctx)
        return Option(
            model=model,
            policy=replace(candidate.policy, n_ctx=asked, n_ubatch=shape.n_ubatch),
            solution=solution,
            loss=self._offer.loss(candidate, shape.n_ctx),
            speed=estimates.speed,
            power=estimates.power,
            cost=estimates.cost,
        )

    def _with_batch(self, each: _Considered) -> Option:
        """Return an option with the batch that its prompts are best served by."""
        candidate, option = each.candidate, self._full(each)
        problem = Problem(
            memory=self._offer.memory(candidate.index, self._hardware.host),
            hardware=self._hardware,
            policy=candidate.policy,
        )
        traffic = self._offer.traffic(candidate.index)
        batched = with_best_batch(problem, option.solution, traffic)
        return option if batched is option.solution else self._option(candidate, batched)


def _unlike(devices: Sequence[Device]) -> bool:
    """Whether less room may lead to faster devices: two where one slow card held it all."""
    return len({read_speed(device) for device in devices}) > 1


def _beaten(here: Merits, others: Iterable[Merits]) -> bool:
    return any(here.beaten_by(other) for other in others)
