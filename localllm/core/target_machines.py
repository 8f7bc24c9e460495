"""Which other machine reaches a target: the smallest that does, and the nearest where none does.

All machines are looked at, by size: bounds and one estimate with one cache leave most of them
without a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.choice import Chooser
from localllm.core.choice_words import label
from localllm.core.counterfactuals import FIXED
from localllm.core.groups import read_speed
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.model_bounds import Bounds, least_bytes
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.core.preferences import merits
from localllm.core.quality import fragility, grade, loss_of
from localllm.core.rates import host_bandwidth
from localllm.core.target_values import Step
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

DESKTOP_RAM_BYTES_PER_S = 150e9
"""Beyond two channels of the fastest DDR5: a workstation or a server."""

_CACHE_GAIN = 1.5
"""So many times as fast a denser cache may make a model at most, by room for its weights."""

_CACHE_SHARE = 0.5
"""Of the weights, at most so much may be short where a denser cache could still make room."""

_LOOKED_INTO = 4
"""Machines of which each quantisation is tried to find the nearest."""

RELEASED = FIXED | {"n_threads": "the threads left to the planner"}


class MachineSearch:
    """A target, and the machines that might reach it."""

    def __init__(
        self,
        models: Sequence[ModelSpec],
        hardware: Hardware,
        wish: Policy,
        now: Option,
        calibration: Calibration | None = None,
        on_machine: Callable[[str], None] | None = None,
    ) -> None:
        """Take a policy that has the target among its wishes, and what would be run now.

        ``calibration``: what was measured on ``hardware``, and moved ``now``; ``on_machine`` is
        told the name of each machine that is looked at.
        """
        self._on_machine = on_machine or (lambda _name: None)
        self._models = models
        self._hardware = hardware
        self._calibration = calibration
        self._now = now
        self._wish = replace(wish, quant=None)
        self._one = Chooser([now.model])
        self._traits = fragility(now.model)
        self._choosers: dict[str, Chooser] = {}
        self._rough: dict[tuple[str, str], Option | None] = {}

    def meets(self, option: Option) -> bool:
        """Whether an option fits and reaches the target, by the estimate."""
        return option.fits and merits(option, self._wish).meets(self._wish)

    def loses_much(self, step: Step) -> bool:
        """Whether a change brings a large loss that is not there now."""
        then, now = step.option.loss.kld, self._now.loss.kld
        return grade(then) == "large" and then > now

    def nearest(self, machines: Sequence[Hardware]) -> Step | None:
        """Return what comes nearest of all: any quantisation, here and on any machine.

        Each machine is estimated with the densest quantisation without a large loss; of those that
        come out best every one is looked into.
        """
        wish = replace(self._open(), prefer="speed", type_k=None, type_v=None)
        here = replace(self._wish, prefer="speed", type_k=None, type_v=None)
        every, densest = Chooser(self._models), min(self._bearable(), key=weights_bytes)
        roughly: list[tuple[float, Hardware]] = []
        for hardware in self._others(machines):
            self._on_machine(hardware.name)
            option = self._roughly(densest, hardware)
            if option is not None and option.fits:
                roughly.append((self._short_of(option), hardware))
        best = [hardware for _, hardware in sorted(roughly, key=lambda pair: pair[0])]
        tried: list[Step] = []
        own = self.chosen(every, here, self._hardware)
        if own is not None and own.fits:
            change = label(own.policy)
            tried.append(
                Step(kind="quantisation", change=change, option=own, hardware=self._hardware)
            )
        for hardware in best[:_LOOKED_INTO]:
            option = self.chosen(every, wish, hardware, elsewhere=True)
            if option is not None and option.fits:
                change = f"{label(option.policy)} on {hardware.name}"
                tried.append(Step(kind="machine", change=change, option=option, hardware=hardware))
        return min(tried, key=lambda step: self._short_of(step.option), default=None)

    def _short_of(self, option: Option) -> float:
        """What an option is compared by where none reaches the target: less is nearer."""
        if self._wish.max_j_per_token is not None and self._wish.min_tok_s is None:
            return joules(option)
        return -option.tok_s

    def _bearable(self) -> list[ModelSpec]:
        """The models whose loss is not large; else the least lossy there is."""
        bearable = [
            m for m in self._models if grade(loss_of(self._traits, m.quant, n_ctx=1).kld) != "large"
        ]
        return bearable or [max(self._models, key=weights_bytes)]

    def machine_steps(self, machines: Sequence[Hardware]) -> Iterator[Step]:
        """The smallest machine that will do, without a greater loss; else with what it takes.

        A machine alone is to be the change: another quantisation comes with it only where the
        present one loses much, or where nothing reaches the target with it; a large loss comes
        last of all.
        """
        now = self._now.loss
        kept = [self._now.model]
        if grade(now.kld) == "large":
            kept += [m for m in self._models if weights_bytes(m) > weights_bytes(kept[0])]
        passes = ((kept, False), (self._bearable(), False), (self._models, True))
        for models, at_any_loss in passes:
            if step := self._smallest(machines, models, at_any_loss=at_any_loss):
                yield step
                return

    def _smallest(
        self, machines: Sequence[Hardware], models: Sequence[ModelSpec], *, at_any_loss: bool
    ) -> Step | None:
        """The first of the machines by size that reaches the target with one of some models."""
        wish, chooser = replace(self._open(), prefer="quality"), Chooser(models)
        smallest = min(models, key=weights_bytes)
        for hardware in sorted(self._others(machines), key=_size):
            self._on_machine(hardware.name)
            if not self._may_reach(Bounds(hardware, wish), smallest):
                continue
            if self._too_hungry(smallest, hardware):
                continue
            quick = self._roughly(smallest, hardware)
            if quick is None or not self._is_near(quick):
                continue
            option = self.chosen(chooser, wish, hardware, elsewhere=True)
            if option is not None and self.meets(option):
                change = f"{hardware.name}, {label(option.policy)}"
                step = Step(kind="machine", change=change, option=option, hardware=hardware)
                if at_any_loss or not self.loses_much(step):
                    return step
        return None

    def _others(self, machines: Sequence[Hardware]) -> list[Hardware]:
        """Machines that one may change to: no laptop is what a desktop lacks."""
        portable = _is_laptop(self._hardware)
        return [m for m in machines if m.name != self._hardware.name and portable >= _is_laptop(m)]

    def _open(self) -> Policy:
        """The wish for another machine: what was fixed for this one says nothing there."""
        wish = self._wish
        for name in RELEASED:
            wish = replace(wish, **{name: None})  # type: ignore[arg-type]  # None is open
        return wish

    def _roughly(self, model: ModelSpec, hardware: Hardware) -> Option | None:
        """A model on another machine with one cache, which is a fraction of the work."""
        key = hardware.name, model.quant
        if key not in self._rough:
            wish = replace(self._open(), min_tok_s=None, max_j_per_token=None, prefer="quality")
            wish = replace(wish, type_k=_one(wish.type_k), type_v=_one(wish.type_v))
            chooser = self._choosers.setdefault(model.quant, Chooser([model]))
            self._rough[key] = self.chosen(chooser, wish, hardware, elsewhere=True)
        return self._rough[key]

    def _too_hungry(self, model: ModelSpec, hardware: Hardware) -> bool:
        """Whether a larger model's energy on a machine rules a smaller one out.

        In one place energy falls no faster than the bytes do, but for what an estimate is off by.
        """
        most = self._wish.max_j_per_token
        for larger in self._models:
            known = self._rough.get((hardware.name, larger.quant))
            if most is None or known is None or not known.fits:
                continue
            in_one_place = known.solution.whole or not hardware.usable_devices
            share = weights_bytes(model) / weights_bytes(larger)
            if in_one_place and share < 1 and joules(known) * share > most * _CACHE_GAIN:
                return True
        return False

    def _is_near(self, option: Option) -> bool:
        """Whether another cache might bring an option to the target."""
        it = merits(option, self._wish)
        if not it.fits:
            return it.missing_bytes <= _CACHE_SHARE * weights_bytes(option.model)
        least, most = self._wish.min_tok_s, self._wish.max_j_per_token
        if least is not None and it.tok_s * _CACHE_GAIN < least:
            return False
        known = it.j_per_token is not None
        return most is None or (known and (it.j_per_token or 0.0) <= most * _CACHE_GAIN)

    def _may_reach(self, bounds: Bounds, model: ModelSpec) -> bool:
        """Whether weights fit into all memory, and are read fast enough by the bound."""
        if least_bytes(model, model.quant) > bounds.room_bytes:
            return False
        fastest = bounds.fastest(model, self._traits, model.quant)
        return fastest >= (self._wish.min_tok_s or 0.0)

    def chosen(
        self, chooser: Chooser, wish: Policy, hardware: Hardware, *, elsewhere: bool = False
    ) -> Option | None:
        """What is best under some wishes; ``elsewhere`` own measurements say nothing."""
        own = None if elsewhere else self._calibration
        try:
            return chooser.choose(hardware, wish, alternatives=False, calibration=own).best
        except UsageError:
            return None  # a wish that this hardware cannot take


def weights_bytes(model: ModelSpec) -> int:
    """Return the bytes of all tensors of a model."""
    return sum(tensor.n_bytes for tensor in model.tensors)


def _one(cache: str | None) -> str:
    """A cache as it was asked for, where that is one; else the usual one."""
    return "f16" if cache in (None, "auto") else str(cache)


def _is_laptop(hardware: Hardware) -> bool:
    """Whether a machine is one to carry; by its name or its graphics', as nothing else says so."""
    names = (hardware.name, *(device.description for device in hardware.usable_devices))
    return any("laptop" in name.lower() for name in names)


def _size(hardware: Hardware) -> tuple[bool, int, float]:
    """What a machine costs, roughly: memory of its GPUs, then how fast it reads; servers last."""
    gpus = hardware.usable_devices
    shared = any(device.unified for device in gpus)
    ram = host_bandwidth(hardware.host)
    server = not shared and ram > DESKTOP_RAM_BYTES_PER_S
    fastest = max((read_speed(device) for device in gpus), default=ram)
    return server, sum(device.total_bytes or 0 for device in gpus), fastest


def joules(option: Option) -> float:
    """Return joules per token; what is not known is more than anything."""
    return option.power.j_per_token if option.power else math.inf
