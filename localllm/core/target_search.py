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
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.option import Option
from localllm.core.policy import Policy
from localllm.core.preferences import merits
from localllm.core.quality import describe_loss
from localllm.core.rates import bandwidth, host_bandwidth
from localllm.core.target_values import Step, StepKind
from localllm.core.traffic import experts_touched, traffic_of
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

_MOST_MACHINES = 48

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

    def meets(self, option: Option) -> bool:
        """Whether an option fits and reaches the target, by the estimate."""
        return option.fits and merits(option, self._wish).meets(self._wish)

    def steps(self, machines: Sequence[Hardware]) -> Iterator[Step]:
        """Yield what reaches the target, what takes least from the person first."""
        yield from self._settings()
        yield from self._smaller()
        yield from self._cards()
        yield from self._faster_ram()
        yield from self._machines(machines)

    def nearest(self, machines: Sequence[Hardware]) -> Step | None:
        """Return what comes nearest of all: any quantisation here, and the fastest machines."""
        fast = sorted(machines, key=_bandwidth, reverse=True)[:8]
        wish = replace(self._wish, prefer="speed", type_k=None, type_v=None)
        chooser = Chooser(self._models)
        tried: list[Step] = []
        for hardware in (self._hardware, *fast):
            here = hardware is self._hardware
            option = self._chosen(chooser, wish, hardware, elsewhere=not here)
            if option is not None and option.fits:
                where = "" if here else f" on {hardware.name}"
                kind: StepKind = "quantisation" if here else "machine"
                change = f"{label(option.policy)}{where}"
                tried.append(Step(kind=kind, change=change, option=option, hardware=hardware))
        if self._wish.max_j_per_token is not None:
            known = [step for step in tried if step.option.power]
            return min(known, key=lambda s: _joules(s.option), default=None)
        return max(tried, key=lambda step: step.option.tok_s, default=None)

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
        """The smallest machine that will do: by memory of its GPUs, then by their bandwidth."""
        least = (self._wish.min_tok_s or 0.0) * self._touched_bytes()
        able = [m for m in machines if _bandwidth(m) >= least and m.name != self._hardware.name]
        wish = self._wish
        for name in _RELEASED:
            wish = replace(wish, **{name: None})  # type: ignore[arg-type]  # None is open
        for hardware in sorted(able, key=_size)[:_MOST_MACHINES]:
            found = self._found(wish, hardware, elsewhere=True)
            if found is not None:
                yield Step(
                    kind="machine",
                    change=f"{hardware.name}, {label(found.policy)}",
                    option=found,
                    hardware=hardware,
                )
                return

    def _touched_bytes(self) -> float:
        """Bytes of weights that a token needs: no place reads more than its bandwidth of them."""
        traffic = traffic_of(self._now.model)
        total = 0.0
        for layer, count in traffic.layers(range(len(traffic.kind_of) + 1)):
            total += count * sum(n_bytes for n_bytes, _ in layer.dense.values())
            experts = sum(n_bytes for n_bytes, _ in layer.experts.values())
            total += count * experts_touched(layer, 1) * experts
        return total

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


def _bandwidth(hardware: Hardware) -> float:
    """Of the fastest memory of a machine."""
    places = [bandwidth(device) for device in hardware.usable_devices]
    return max([*places, host_bandwidth(hardware.host)])


def _size(hardware: Hardware) -> tuple[bool, int, float]:
    """What a machine costs, roughly: memory of its GPUs, then bandwidth; servers last."""
    gpus = hardware.usable_devices
    shared = any(device.unified for device in gpus)
    server = not shared and host_bandwidth(hardware.host) > DESKTOP_RAM_BYTES_PER_S
    return server, sum(device.total_bytes or 0 for device in gpus), _bandwidth(hardware)


def _joules(option: Option) -> float:
    return option.power.j_per_token if option.power else math.inf
