"""What is tried to reach a target, in the order of what it takes from the person.

Other settings, a smaller quantisation, more of the same card, faster RAM, another machine: of each
kind the least that will do, planned for real.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from localllm.core.change import another
from localllm.core.choice import Chooser
from localllm.core.choice_words import label
from localllm.core.hardware import Hardware
from localllm.core.option import Option
from localllm.core.policy import Policy, kv_label
from localllm.core.quality import describe_loss
from localllm.core.rates import host_bandwidth
from localllm.core.target_machines import RELEASED, MachineSearch, joules, weights_bytes
from localllm.core.target_values import Step
from localllm.units import format_bytes

MOST_CARDS = 8
"""What the largest common servers hold."""

MOST_TIMES_RAM = 4.0
"""Faster RAM is suggested up to so many times: from two channels of DDR4 to eight of DDR5."""


class TargetSearch(MachineSearch):
    """Changes, tried one kind after the other."""

    def steps(self, machines: Sequence[Hardware]) -> Iterator[Step]:
        """Yield what reaches the target, what takes least from the person first.

        What costs a large loss comes last: bought with answers, no change is a small one.
        """
        found = [
            *self._settings(),
            *self._smaller(),
            *self._cards(),
            *self._faster_ram(),
            *self.machine_steps(machines),
        ]
        yield from sorted(found, key=self.loses_much)

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
        for name, words in RELEASED.items():
            if getattr(self._wish, name) is None:
                continue
            if found := self._found(replace(self._wish, **{name: None})):  # type: ignore[arg-type]  # None is open
                yield Step(kind="settings", change=words, option=found, hardware=self._hardware)
                return

    def _smaller(self) -> Iterator[Step]:
        """The smaller quantisation of least loss that will do."""
        own = weights_bytes(self._now.model)
        smaller = [model for model in self._models if weights_bytes(model) < own]
        if not smaller:
            return
        wish = replace(self._wish, type_k=None, type_v=None, prefer="quality")
        option = self.chosen(Chooser(smaller), wish, self._hardware)
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

    def _with_cache(self, found: Option) -> str:
        """The cache of an option, where it is another one than now."""
        now, then = self._now.policy, found.policy
        return "" if now.type_k == then.type_k and now.type_v == then.type_v else f", {label(then)}"

    def _gains(self, found: Option) -> bool:
        """Whether a target is reached by the change, not by leaving what was measured aside."""
        if self._calibration is None or not self._now.tok_s:
            return True
        formula = self.chosen(self._one, self._now.policy, self._hardware, elsewhere=True)
        if formula is None or not formula.tok_s:
            return True
        if self._wish.max_j_per_token is not None:
            now, most = joules(self._now), self._wish.max_j_per_token
            return joules(found) * now <= most * joules(formula)
        least = self._wish.min_tok_s or 0.0
        return found.tok_s * self._now.tok_s >= least * formula.tok_s

    def _found(
        self, wish: Policy, hardware: Hardware | None = None, *, elsewhere: bool = False
    ) -> Option | None:
        """The model as it is under other wishes or elsewhere, where that reaches the target."""
        option = self.chosen(self._one, wish, hardware or self._hardware, elsewhere=elsewhere)
        return option if option is not None and self.meets(option) else None


def _cache_change(now: Option, found: Option) -> str:
    if (now.policy.type_k, now.policy.type_v) != (found.policy.type_k, found.policy.type_v):
        type_k, type_v = found.policy.type_k, found.policy.type_v
        flag = f" (--kv {type_k})" if type_k == type_v else ""
        return f"a {kv_label(type_k, type_v)} KV cache{flag}"
    return "the settings that the planner would choose"


def _settings(option: Option) -> tuple[object, ...]:
    """What a person can set, as it was worked out."""
    return option.solution.settings, option.solution.placement
