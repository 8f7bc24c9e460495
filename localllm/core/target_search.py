"""What is tried to reach a target, in the order of what it takes from the person.

Other settings, a smaller quantisation, more of the same card, faster RAM, another machine: of each
kind the least that will do, planned for real.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.choice import Chooser
from localllm.core.choice_words import label
from localllm.core.counterfactuals import FIXED, another
from localllm.core.groups import read_speed
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.model_bounds import Bounds, least_bytes
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.core.preferences import merits
from localllm.core.quality import describe_loss, fragility, grade, loss_of
from localllm.core.rates import host_bandwidth
from localllm.core.target_values import Step
from localllm.errors import UsageError
from localllm.units import format_bytes

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

MOST_CARDS = 8
"""What the largest common servers hold."""

MOST_TIMES_RAM = 4.0
"""Faster RAM is suggested up to so many times: from two channels of DDR4 to eight of DDR5."""

DESKTOP_RAM_BYTES_PER_S = 150e9
"""Beyond two channels of the fastest DDR5: a workstation or a server."""

_CACHE_GAIN = 1.5
"""So many times as fast a denser cache may make a model at most, by room for its weights."""

_CACHE_SHARE = 0.5
"""Of the weights, at most so much may be short where a denser cache could still make room."""

_LOOKED_INTO = 4
"""Machines of which each quantisation is tried to find the nearest."""

_RELEASED = FIXED | {"n_threads": "the threads left to the planner"}


class TargetSearch:
    """Changes, tried one kind after the other."""

    def __init__(
        self,
        models: Sequence[ModelSpec],
        hardware: Hardware,
        wish: Policy,
        now: Option,
        calibration: Calibration | None = None,
    ) -> None:
        """Take a policy that has the target among its wishes, and what would be run now.

        ``calibration``: what was measured on ``hardware``, and moved ``now``.
        """
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

    def steps(self, machines: Sequence[Hardware]) -> Iterator[Step]:
        """Yield what reaches the target, what takes least from the person first.

        What costs a large loss comes last: bought with answers, no change is a small one.
        """
        found = [
            *self._settings(),
            *self._smaller(),
            *self._cards(),
            *self._faster_ram(),
            *self._machines(machines),
        ]
        yield from sorted(found, key=self._loses_much)

    def _loses_much(self, step: Step) -> bool:
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
        every, densest = Chooser(self._models), min(self._bearable(), key=_weights_bytes)
        roughly: list[tuple[float, Hardware]] = []
        for hardware in self._others(machines):
            option = self._roughly(densest, hardware)
            if option is not None and option.fits:
                roughly.append((self._short_of(option), hardware))
        best = [hardware for _, hardware in sorted(roughly, key=lambda pair: pair[0])]
        tried: list[Step] = []
        own = self._chosen(every, here, self._hardware)
        if own is not None and own.fits:
            change = label(own.policy)
            tried.append(
                Step(kind="quantisation", change=change, option=own, hardware=self._hardware)
            )
        for hardware in best[:_LOOKED_INTO]:
            option = self._chosen(every, wish, hardware, elsewhere=True)
            if option is not None and option.fits:
                change = f"{label(option.policy)} on {hardware.name}"
                tried.append(Step(kind="machine", change=change, option=option, hardware=hardware))
        return min(tried, key=lambda step: self._short_of(step.option), default=None)

    def _short_of(self, option: Option) -> float:
        """What an option is compared by where none reaches the target: less is nearer."""
        if self._wish.max_j_per_token is not None and self._wish.min_tok_s is None:
            return _joules(option)
        return -option.tok_s

    def _bearable(self) -> list[ModelSpec]:
        """The models whose loss is not large; else the least lossy there is."""
        bearable = [
            m for m in self._models if grade(loss_of(self._traits, m.quant, n_ctx=1).kld) != "large"
        ]
        return bearable or [max(self._models, key=_weights_bytes)]

    def _settings(self) -> Iterator[Step]:
        """Another cache; else what the person fixed left to the planner, as little as will do."""
        denser = replace(self._wish, type_k=None, type_v=None)
        found = self._found(denser)
        if found is not None and _settings(found) != _settings(self._now):
            yield Step(
                kind="settings",
                change=_cache_change(self._now, found),
                option=found,
                hardware=self._hardware,
            )
            return
        for name, words in _RELEASED.items():
            if getattr(self._wish, name) is None:
                continue
            if found := self._found(replace(self._wish, **{name: None})):  # type: ignore[arg-type]  # None is open
                yield Step(kind="settings", change=words, option=found, hardware=self._hardware)
                return

    def _smaller(self) -> Iterator[Step]:
        """The smaller quantisation of least loss that will do."""
        own = _weights_bytes(self._now.model)
        smaller = [model for model in self._models if _weights_bytes(model) < own]
        if not smaller:
            return
        wish = replace(self._wish, type_k=None, type_v=None, prefer="quality")
        option = self._chosen(Chooser(smaller), wish, self._hardware)
        if option is not None and self.meets(option):
            size = format_bytes(option.model.file_bytes)
            yield Step(
                kind="quantisation",
                change=f"{label(option.policy)} ({size}; loss: {describe_loss(option.loss)})",
                option=option,
                hardware=self._hardware,
            )

    def _cards(self) -> Iterator[Step]:
        """The fewest more of the largest card here; nothing is measured with them."""
        cards = [d for d in self._hardware.usable_devices if not d.unified]
        if not cards or self._wish.tensor_split is not None:
            return
        twin = max(cards, key=lambda d: d.total_bytes or 0)
        for n in range(1, MOST_CARDS - len(cards) + 1):
            more = tuple(another(twin, index) for index in range(1, n + 1))
            hardware = replace(self._hardware, devices=(*self._hardware.devices, *more))
            found = self._found(self._wish, hardware, elsewhere=True)
            if found is not None and self._gains(found):
                words = "one more" if n == 1 else f"{n} more"
                yield Step(
                    kind="cards",
                    change=f"{words} {twin.description}{self._with_cache(found)}",
                    option=found,
                    hardware=hardware,
                )
                return
            if self._now.solution.whole:
                return  # layers over several cards do not decode faster

    def _faster_ram(self) -> Iterator[Step]:
        """The least bandwidth that will do, to 5 GB/s, where RAM is what decode waits for."""
        now, host = self._now, self._hardware.host
        shared = any(device.unified for device in now.solution.devices)
        if shared or now.speed is None or now.speed.bound_by != "host bandwidth":
            return
        own = host_bandwidth(host) / 1e9

        def trial(gb_s: float) -> tuple[Hardware, Option | None]:
            # A peak, as ``own`` is: what was measured here is no word of other modules.
            other = replace(host, memory_bandwidth_gb_s=gb_s, memory_bandwidth_basis=None)
            faster = replace(self._hardware, host=other)
            return faster, self._found(self._wish, faster)

        low, high = own, own * MOST_TIMES_RAM
        hardware, found = trial(high)
        while found is not None and high - low > 5:
            middle = (low + high) / 2
            other, option = trial(middle)
            if option is None:
                low = middle
            else:
                high, hardware, found = middle, other, option
        if found is not None:
            yield Step(
                kind="RAM",
                change=f"RAM of {math.ceil(high):,} GB/s instead of {own:,.0f}"
                f"{self._with_cache(found)}",
                option=found,
                hardware=hardware,
            )

    def _machines(self, machines: Sequence[Hardware]) -> Iterator[Step]:
        """The smallest machine that will do, without a greater loss; else with what it takes.

        A machine alone is to be the change: another quantisation comes with it only where the
        present one loses much, or where nothing reaches the target with it; a large loss comes
        last of all.
        """
        now = self._now.loss
        kept = [self._now.model]
        if grade(now.kld) == "large":
            kept += [m for m in self._models if _weights_bytes(m) > _weights_bytes(kept[0])]
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
        smallest = min(models, key=_weights_bytes)
        for hardware in sorted(self._others(machines), key=_size):
            if not self._may_reach(Bounds(hardware, wish), smallest):
                continue
            if self._too_hungry(smallest, hardware):
                continue
            quick = self._roughly(smallest, hardware)
            if quick is None or not self._is_near(quick):
                continue
            option = self._chosen(chooser, wish, hardware, elsewhere=True)
            if option is not None and self.meets(option):
                change = f"{hardware.name}, {label(option.policy)}"
                step = Step(kind="machine", change=change, option=option, hardware=hardware)
                if at_any_loss or not self._loses_much(step):
                    return step
        return None

    def _others(self, machines: Sequence[Hardware]) -> list[Hardware]:
        """Machines that one may change to: no laptop is what a desktop lacks."""
        portable = _is_laptop(self._hardware)
        return [m for m in machines if m.name != self._hardware.name and portable >= _is_laptop(m)]

    def _open(self) -> Policy:
        """The wish for another machine: what was fixed for this one says nothing there."""
        wish = self._wish
        for name in _RELEASED:
            wish = replace(wish, **{name: None})  # type: ignore[arg-type]  # None is open
        return wish

    def _roughly(self, model: ModelSpec, hardware: Hardware) -> Option | None:
        """A model on another machine with one cache, which is a fraction of the work."""
        key = hardware.name, model.quant
        if key not in self._rough:
            wish = self._open()
            wish = replace(wish, type_k=_one(wish.type_k), type_v=_one(wish.type_v))
            chooser = self._choosers.setdefault(model.quant, Chooser([model]))
            self._rough[key] = self._chosen(chooser, wish, hardware, elsewhere=True)
        return self._rough[key]

    def _too_hungry(self, model: ModelSpec, hardware: Hardware) -> bool:
        """Whether the present model's energy on a machine rules a smaller one out.

        On a GPU that holds both, energy falls no faster than the bytes do, but for what an estimate
        is off by.
        """
        most, known = (
            self._wish.max_j_per_token,
            self._rough.get((hardware.name, self._now.model.quant)),
        )
        if most is None or known is None or not (known.fits and known.solution.whole):
            return False
        share = min(_weights_bytes(model) / _weights_bytes(known.model), 1.0)
        return _joules(known) * share > most * _CACHE_GAIN

    def _is_near(self, option: Option) -> bool:
        """Whether another cache might bring an option to the target."""
        it = merits(option, self._wish)
        if not it.fits:
            return it.missing_bytes <= _CACHE_SHARE * _weights_bytes(option.model)
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

    def _with_cache(self, found: Option) -> str:
        """The cache of an option, where it is another one than now."""
        now, then = self._now.policy, found.policy
        return "" if now.type_k == then.type_k and now.type_v == then.type_v else f", {label(then)}"

    def _gains(self, found: Option) -> bool:
        """Whether a target is reached by the change, not by leaving what was measured aside."""
        if self._calibration is None or not self._now.tok_s:
            return True
        formula = self._chosen(self._one, self._now.policy, self._hardware, elsewhere=True)
        if formula is None or not formula.tok_s:
            return True
        if self._wish.max_j_per_token is not None:
            now, most = _joules(self._now), self._wish.max_j_per_token
            return _joules(found) * now <= most * _joules(formula)
        least = self._wish.min_tok_s or 0.0
        return found.tok_s * self._now.tok_s >= least * formula.tok_s

    def _found(
        self, wish: Policy, hardware: Hardware | None = None, *, elsewhere: bool = False
    ) -> Option | None:
        """The model as it is under other wishes or elsewhere, where that reaches the target."""
        option = self._chosen(self._one, wish, hardware or self._hardware, elsewhere=elsewhere)
        return option if option is not None and self.meets(option) else None

    def _chosen(
        self, chooser: Chooser, wish: Policy, hardware: Hardware, *, elsewhere: bool = False
    ) -> Option | None:
        """What is best under some wishes; ``elsewhere`` own measurements say nothing."""
        own = None if elsewhere else self._calibration
        try:
            return chooser.choose(hardware, wish, alternatives=False, calibration=own).best
        except UsageError:
            return None  # a wish that this hardware cannot take


def _cache_change(now: Option, found: Option) -> str:
    if (now.policy.type_k, now.policy.type_v) != (found.policy.type_k, found.policy.type_v):
        type_k, type_v = found.policy.type_k, found.policy.type_v
        kv = type_k if type_k == type_v else f"{type_k}/{type_v}"
        return f"a {kv} KV cache (--kv {type_k})" if type_k == type_v else f"a {kv} KV cache"
    return "the settings that the planner would choose"


def _settings(option: Option) -> tuple[object, ...]:
    """What a person can set, as it was worked out."""
    return option.solution.settings, option.solution.placement


def _weights_bytes(model: ModelSpec) -> int:
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


def _joules(option: Option) -> float:
    return option.power.j_per_token if option.power else math.inf
