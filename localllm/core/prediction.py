"""The plan's estimate for one certain run: at the depth and for the tokens that are measured.

A plan states its speed at one depth. A bench test or an answer has another, and comparing the two
would blame the formula for the longer context; so the formula is asked again, and what own
measurements moved in the plan moves here as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from localllm.core.memory import Placement, RunShape
from localllm.core.plan import Plan
from localllm.core.speed import decode_step, prefill_step
from localllm.core.steps import Run
from localllm.core.traffic import Traffic, traffic_of

_LAYERS = re.compile(r"\((\d+(?:\|\d+)*)\)")
"""The layers that an override of ``placing.tensor_overrides`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Tokens per second of one run, with the 80 % range of the plan's estimate."""

    tok_s: float
    low: float
    high: float
    formula_tok_s: float
    """The same before own measurements moved it."""


class Predictor:
    """A plan's estimates of many runs: what a step of the model touches is counted once.

    That count takes most of an estimate's time, and whoever shows one beside tokens that come
    asks a few times a second.
    """

    def __init__(self, plan: Plan) -> None:
        """Take a plan; nothing is counted before the first estimate."""
        self.plan = plan
        self._counted: tuple[Traffic, Run] | None = None
        self._stated: dict[tuple[str, int], float] = {}

    def predicted(
        self, phase: Literal["tg", "pp"], *, n_tokens: int, depth: int
    ) -> Prediction | None:
        """Return the plan's estimate for ``n_tokens`` of a phase after ``depth`` others.

        None where the plan has no estimate of the phase.
        """
        speed = self.plan.speed
        if speed is None or n_tokens < 1:
            return None
        middle = speed.tg_tok_s if phase == "tg" else speed.pp_tok_s
        low, high = (
            (speed.tg_low, speed.tg_high) if phase == "tg" else (speed.pp_low, speed.pp_high)
        )
        if middle is None or low is None or high is None:
            return None
        n_stated = 1 if phase == "tg" else speed.n_prompt or n_tokens
        if (phase, n_stated) not in self._stated:
            self._stated[phase, n_stated] = self._formula_tok_s(
                phase, n_tokens=n_stated, depth=speed.at_depth
            )
        formula = self._formula_tok_s(phase, n_tokens=n_tokens, depth=depth)
        scale = formula / self._stated[phase, n_stated]
        return Prediction(
            tok_s=middle * scale, low=low * scale, high=high * scale, formula_tok_s=formula
        )

    def _formula_tok_s(self, phase: Literal["tg", "pp"], *, n_tokens: int, depth: int) -> float:
        """Tokens per second. The context grows by a token a step: its mean depth counts."""
        if self._counted is None:
            self._counted = traffic_of(self.plan.model), run_of_plan(self.plan)
        traffic, run = self._counted
        if phase == "tg":
            return decode_step(traffic, run, depth=depth + (n_tokens - 1) // 2).tok_s
        return prefill_step(traffic, run, n_prompt=n_tokens, depth=depth).tok_s


def predicted(
    plan: Plan, phase: Literal["tg", "pp"], *, n_tokens: int, depth: int
) -> Prediction | None:
    """Return one estimate, see ``Predictor.predicted``."""
    return Predictor(plan).predicted(phase, n_tokens=n_tokens, depth=depth)


def predicted_test(plan: Plan, *, n_prompt: int, n_gen: int, depth: int) -> Prediction | None:
    """Return the estimate for a bench test: prompt, then generated tokens, all of them counted."""
    parts: list[tuple[int, Prediction | None]] = []
    if n_prompt:
        parts.append((n_prompt, predicted(plan, "pp", n_tokens=n_prompt, depth=depth)))
    if n_gen:
        parts.append((n_gen, predicted(plan, "tg", n_tokens=n_gen, depth=depth + n_prompt)))
    known = [(n, part) for n, part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    n_tokens = n_prompt + n_gen
    return Prediction(
        tok_s=n_tokens / sum(n / part.tok_s for n, part in known),
        low=n_tokens / sum(n / part.low for n, part in known),
        high=n_tokens / sum(n / part.high for n, part in known),
        formula_tok_s=n_tokens / sum(n / part.formula_tok_s for n, part in known),
    )


def run_of_plan(plan: Plan) -> Run:
    """What speed depends on, of a finished plan."""
    by_name = {device.name: device for device in plan.hardware.devices}
    gpus = [row for row in plan.devices if row.kind == "gpu"]
    return Run(
        devices=tuple(by_name[row.name] for row in gpus),
        host=plan.hardware.host,
        placement=Placement(
            n_gpu_layers=plan.n_gpu_layers,
            layers_per_device=tuple(row.n_layers for row in gpus),
            host_expert_layers=frozenset(_host_expert_layers(plan)),
        ),
        shape=RunShape(
            n_ctx=plan.n_ctx,
            n_ubatch=plan.n_ubatch,
            type_k=plan.type_k,
            type_v=plan.type_v,
            flash_attn=plan.flash_attn != "off",
            n_seq=plan.n_seq,
            n_outputs_max=plan.n_outputs_max,
            repack=plan.repack,
        ),
        n_threads=plan.n_threads,
    )


def _host_expert_layers(plan: Plan) -> Iterator[int]:
    for override in plan.tensor_overrides:
        named = _LAYERS.search(override.pattern)
        yield from map(int, named[1].split("|") if named else ())
