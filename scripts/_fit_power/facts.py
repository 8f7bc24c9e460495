"""Public facts about watts (``scripts/facts/power.jsonl``), as readings that formulas can be asked.

``use`` says what a fact is good for: ``fit`` and ``serving`` for the constants (GPU boards that
decode one stream; HBM boards that serve 8 to 16), ``idle``, ``limit`` and ``cap`` for their own
constants, ``check``, ``waiting`` and ``wall`` for comparison only. ``meter`` says what was
measured: boards, a whole chip, the socket. Different meters never meet in one figure. ``read_gb``
are the bytes that a step reads, ``gflop`` the operations of a token, both from the tensors of the
model's shape; ``batch`` tokens make a step.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from localllm.core.board_power import board_of, mean_w, power_class, power_limited
from localllm.core.hardware import Device
from localllm.core.steps import Work
from localllm.probes.profiles import load_profile

FACTS = Path(__file__).resolve().parent.parent / "facts" / "power.jsonl"
IDLE_3090_W = 28.0
"""Of the cards that one source counts in without using them: 304.7 W with one card held at 220."""

Fact = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Watts of one board in use, and what the formulas need to say the same."""

    id: str
    source: str
    """Who measured on what: rows of one such group count as much as those of another."""
    device: Device
    kind: str
    model: str
    cap_w: float | None
    watts: float
    tok_s: float
    duty: float
    """Share of the step in which this board works."""
    work: Work
    step_s: float

    def predicted(self, constants: Mapping[str, float]) -> float:
        """Watts by the formulas with these constants."""
        board = board_of(self.device, constants=constants)
        if board is None:
            raise ValueError(f"{self.id}: the profile says too little")
        watts = mean_w(self.device, board, self.work, self.step_s)
        return watts if self.cap_w is None else min(watts, self.cap_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapPoint:
    """Speed under a cap, as a share of the same machine's speed without it."""

    series: str
    phase: str
    device: Device
    cap_w: float
    duty: float
    speed: float
    work: Work | None
    """Of a decoded token without the cap, where the series says what it reads."""

    def predicted(self, constants: Mapping[str, float]) -> float:
        """The share by the formula with these constants."""
        factors = power_limited(
            self.device, self.cap_w, duty=self.duty, work=self.work, constants=constants
        )
        return factors.decode if self.phase == "decode" else factors.prefill


def read_facts(path: Path = FACTS) -> list[Fact]:
    """All facts of the table."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


@cache
def device(hardware: str) -> Device:
    """The device of a profile."""
    return load_profile(hardware).hardware.devices[0]


def source_of(fact: Fact) -> str:
    """Who measured: the repository, issue or site, without the file."""
    first = str(fact["source"]).split()[0]
    return first.removeprefix("https://").split("/")[0] if "://" in first else first


def readings(facts: Iterable[Fact], use: str) -> list[Reading]:
    """Readings of boards at work that name their bytes; a sum of boards becomes one board's."""
    found = []
    for fact in facts:
        if fact["use"] != use or "read_gb" not in fact:
            continue
        card = device(fact["hardware"])
        n_used, n_devices = fact.get("n_used", 1), fact.get("n_devices", 1)
        watts = (fact["watts"] - IDLE_3090_W * (n_devices - n_used)) / n_used
        step_s = fact["batch"] / fact["tok_s"]
        # Layers are split: the cards take turns. Tensors split: all work all the time.
        duty = 1.0 if fact.get("split") == "tensor" else 1.0 / n_used
        found.append(
            Reading(
                id=fact["id"],
                source=f"{source_of(fact)} {fact['hardware']}",
                device=card,
                kind=power_class(card),
                model=str(fact["model"]),
                cap_w=fact.get("cap_w"),
                watts=watts,
                tok_s=fact["tok_s"],
                duty=duty,
                work=_work(fact, n_used, step_s * duty),
                step_s=step_s,
            )
        )
    return found


def _free_work(members: Sequence[Fact]) -> Work | None:
    """What one board does in a step of a series' fastest run, where some run says what it reads."""
    told = next((fact for fact in members if "read_gb" in fact), None)
    if told is None:
        return None
    n_used = told.get("n_used", 1)
    step_s = told["batch"] / max(fact["tok_s"] for fact in members)
    return _work(told, n_used, step_s / n_used)


def _work(fact: Fact, n_used: int, seconds: float) -> Work:
    """What one of the boards does in a step."""
    return Work(
        place="GPU",
        kind="gpu",
        memory_bytes=round(fact["read_gb"] * 1e9 / n_used),
        pcie_bytes=0,
        flops=fact["gflop"] * 1e9 * fact["batch"] / n_used,
        memory_s=seconds,
        compute_s=0.0,
        pcie_s=0.0,
        launch_s=0.0,
        seconds=seconds,
    )


def cap_points(facts: Iterable[Fact]) -> list[CapPoint]:
    """Every cap of every series, beside the series' own fastest run."""
    series: dict[str, list[Fact]] = {}
    for fact in facts:
        if "cap_w" in fact and "series" in fact:
            series.setdefault(fact["series"], []).append(fact)
    return [
        CapPoint(
            series=name,
            phase=fact["phase"],
            device=device(fact["hardware"]),
            cap_w=fact["cap_w"],
            # Prefill runs through the cards as a pipeline: all of them work.
            duty=1.0 / fact.get("n_used", 1) if fact["phase"] == "decode" else 1.0,
            speed=fact["tok_s"] / max(other["tok_s"] for other in members),
            work=_free_work(members) if fact["phase"] == "decode" else None,
        )
        for name, members in series.items()
        for fact in members
    ]


def weights(groups: Sequence[str]) -> list[float]:
    """A weight for each reading, so that every group counts as one."""
    sizes = Counter(groups)
    return [1.0 / sizes[group] for group in groups]
