"""One load, answer or bench test beside its plan, as a line of JSON: the record of what was run.

Unlike ``measured.py``, whose lines move the estimates, these are for people: what was expected and
what came of it, with everything that either depended on. Speeds, sizes and settings, never text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from localllm.core.expected_energy import ExpectedEnergy
from localllm.core.metered.readings import Energy, Kind, Unmeasured
from localllm.core.prediction import Prediction
from localllm.core.reconcile import (
    Reconciled,
    reconciled_bytes,
    reconciled_energy,
    reconciled_speed,
)
from localllm.records.fields import from_fields, to_fields
from localllm.records.measured import MIN_GENERATED, MIN_PROMPT

SCHEMA = "localllm.run/1"

RunKind = Literal["load", "answer", "bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """Which model it was: names move, content does not."""

    name: str
    arch: str
    quant: str
    file_bytes: int
    content_id: str | None = None
    key: str
    """``fingerprint.model_key``: what makes two models equally fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """How it was to run."""

    basis: str
    memory_basis: str
    n_ctx: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attn: str
    n_gpu_layers: int
    n_layer_total: int
    n_host_expert_layers: int
    """Layers whose experts lie in RAM."""
    n_threads: int
    use_mmap: bool
    repack: bool
    placement_key: str
    """``fingerprint.placement_key``."""
    power_limit_w: float | None = None
    """The cap that the estimates were for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMachine:
    """Where it ran."""

    key: str
    """``fingerprint.machine_key``."""
    name: str
    cpu: str
    devices: tuple[str, ...] = ()
    """llama.cpp's names of the GPUs that held layers."""
    products: tuple[str, ...] = ()
    """What they are, in the same order."""
    driver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMemory:
    """Model, context and compute buffers of one device, the mapped file left out."""

    device: str
    planned_bytes: int
    measured_bytes: int | None = None

    @property
    def reconciled(self) -> Reconciled:
        """The two side by side."""
        return reconciled_bytes(self.planned_bytes, self.measured_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLoad:
    """What a load showed."""

    load_s: float
    memory: tuple[KeptMemory, ...] = ()
    memory_unknown: str | None = None
    """Why llama.cpp's own figures could not be read."""
    rss_bytes: int | None = None
    """Resident memory of the engine's process after the load."""

    @property
    def reconciled(self) -> Reconciled:
        """All devices together; not measured where one of them is not."""
        measured = [row.measured_bytes for row in self.memory if row.measured_bytes is not None]
        known = len(measured) == len(self.memory) > 0
        return reconciled_bytes(
            sum(row.planned_bytes for row in self.memory) if self.memory else None,
            sum(measured) if known else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEnergy:
    """What a phase took, as ``readings.Energy`` has it, with the tokens that it was spent on."""

    n_tokens: int
    joules: float
    sigma_j: float
    gain: float
    seconds: float
    scope: str
    sources: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    window_s: float = 0.0
    rough: bool = False
    idle_w: float | None = None
    idle_sigma_w: float | None = None
    missing: tuple[str, ...] = ()
    """Parts of the scope that no meter told, with the reason."""

    @classmethod
    def of(cls, energy: Energy, *, n_tokens: int) -> KeptEnergy:
        """Keep a measured energy; when its window was, by this boot's clock, says nothing later."""
        return cls(
            n_tokens=n_tokens,
            joules=energy.joules,
            sigma_j=energy.sigma_j,
            gain=energy.gain,
            seconds=energy.seconds,
            scope=energy.scope,
            sources=energy.sources,
            kinds=energy.kinds,
            window_s=energy.window_s,
            rough=energy.rough,
            idle_w=energy.idle_w,
            idle_sigma_w=energy.idle_sigma_w,
            missing=energy.missing,
        )

    @property
    def energy(self) -> Energy:
        """The same as a measured energy again."""
        return Energy(
            joules=self.joules,
            sigma_j=self.sigma_j,
            gain=self.gain,
            began_s=0.0,
            ended_s=self.seconds,
            scope=self.scope,
            sources=self.sources,
            kinds=self.kinds,
            window_s=self.window_s,
            rough=self.rough,
            idle_w=self.idle_w,
            idle_sigma_w=self.idle_sigma_w,
            missing=self.missing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPhase:
    """One timed part: a prompt, generated tokens, or a bench test of both."""

    n_prompt: int
    n_gen: int
    """Of one repetition; the first token of an answer is the prompt's."""
    depth: int
    """Tokens in the context before them."""
    n_repetitions: int = 1
    tok_s: float
    std_tok_s: float | None = None
    """Between repetitions; None for a single one."""
    prediction: Prediction | None = None
    energy: KeptEnergy | None = None
    unmeasured: str | None = None
    """Why there is no energy."""
    expected: ExpectedEnergy | None = None
    """The estimate for the scope of ``energy``; without one, for the plan's own."""

    @property
    def n_tokens(self) -> int:
        """Tokens of one repetition."""
        return self.n_prompt + self.n_gen

    @property
    def name(self) -> str:
        """``pp``, ``tg`` or ``pp+tg``."""
        return "+".join(["pp"] * (self.n_prompt > 0) + ["tg"] * (self.n_gen > 0))

    @property
    def label(self) -> str:
        """llama-bench's label: ``pp512``, ``tg128 @ d4096``."""
        parts = [f"pp{self.n_prompt}"] * (self.n_prompt > 0) + [f"tg{self.n_gen}"] * (
            self.n_gen > 0
        )
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")

    @property
    def is_telling(self) -> bool:
        """Whether it was long enough to say something of the speed."""
        n_gen = self.n_gen * self.n_repetitions
        return self.n_prompt >= MIN_PROMPT or n_gen >= MIN_GENERATED - 1

    @property
    def speed(self) -> Reconciled:
        """The speed beside its estimate."""
        return reconciled_speed(self.prediction, self.tok_s, std_tok_s=self.std_tok_s)

    @property
    def j_per_token(self) -> Reconciled:
        """The energy of a token beside its estimate; without either nothing is known of both."""
        if self.energy is None:
            reason = self.unmeasured or "power was not read"
            return reconciled_energy(self.expected, Unmeasured(reason=reason), n_tokens=0)
        return reconciled_energy(self.expected, self.energy.energy, n_tokens=self.energy.n_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One line of the history."""

    kind: RunKind
    run: str
    """Joins a load and what was asked of the loaded model."""
    time: str
    """ISO 8601, with the offset from UTC."""
    model: KeptModel
    plan: KeptPlan
    machine: KeptMachine
    engine: str | None = None
    """Version of llama-cpp-python."""
    localllm: str
    """Version of localllm."""
    load: KeptLoad | None = None
    """Of a ``load`` only."""
    phases: tuple[KeptPhase, ...] = ()
    """Of an answer its prompt and its text, of a bench test the test."""
    temperature_c: float | None = None
    """The highest of any device while it ran."""
    throttle: tuple[str, ...] = ()
    """Why clocks were held down."""


def record_line(record: RunRecord) -> str:
    """Return a record as a line, without its newline; what is not known is left out."""
    fields = {"schema": SCHEMA, **to_fields(record)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_record(line: bytes) -> RunRecord | None:
    """Read a line; None for one that is torn, foreign, newer, or says what cannot be."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
            return None
        record = from_fields(RunRecord, fields)
        return record if _is_possible(record) else None
    except (ValueError, RecursionError):  # what JSON and fields raise
        return None


def _is_possible(record: RunRecord) -> bool:
    return datetime.fromisoformat(record.time).tzinfo is not None and all(
        phase.n_tokens > 0
        and phase.tok_s > 0
        and (phase.prediction is None or _is_ordered(phase.prediction))
        and (phase.energy is None or _is_spent(phase.energy))
        for phase in record.phases
    )


def _is_ordered(prediction: Prediction) -> bool:
    return 0 < prediction.low <= prediction.tok_s <= prediction.high


def _is_spent(energy: KeptEnergy) -> bool:
    return energy.seconds > 0 and energy.joules >= 0 and energy.sigma_j >= 0 and energy.n_tokens > 0
