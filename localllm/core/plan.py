"""The values of a plan: what goes where, how much it takes, why, and what would change it.

Decisions are made in ``planner.py``; this file only says what a decision looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localllm.core.buffers import TensorOverride as TensorOverride
from localllm.core.change import Change
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.steps import Step

Basis = Literal["exact", "formula", "recorded shape"]
"""``exact``: llama.cpp's allocator; ``formula``: ours; ``recorded shape``: no file was at hand."""
Verdict = Literal["fits", "does-not-fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Memory of one device or of the host under a plan. ``self = model + context + compute``."""

    name: str
    kind: Literal["gpu", "host"]
    total_bytes: int | None
    free_bytes: int | None
    """Before the load."""
    model_bytes: int
    context_bytes: int
    compute_bytes: int
    overhead_bytes: int
    """Not in llama.cpp's breakdown: backend context and pools; output buffer and process."""
    headroom_bytes: int
    """Left free on purpose."""
    mapped_bytes: int = 0
    """Host only: the part of ``model_bytes`` that is the mapped file, which may be evicted."""
    cached_bytes: int = 0
    """Host only: further pages of the mapped file, of weights that were copied elsewhere. They stay
    resident while nobody needs the memory, and need not be free."""
    shared_bytes: int = 0
    """Host only: what GPUs without memory of their own take of it."""
    n_layers: int = 0
    """Layers placed here, the output layer counted as one."""

    @property
    def self_bytes(self) -> int:
        """What llama.cpp's own breakdown prints as ``self``."""
        return self.model_bytes + self.context_bytes + self.compute_bytes

    @property
    def needed_bytes(self) -> int:
        """Everything that must be free before the load, headroom apart."""
        return self.self_bytes + self.overhead_bytes

    @property
    def spare_bytes(self) -> int | None:
        """Free memory left after the load and the headroom; negative when it does not fit."""
        if self.free_bytes is None:
            return None
        return self.free_bytes - self.needed_bytes - self.shared_bytes - self.headroom_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedEstimate:
    """Tokens per second with an 80 % range, and what limits them. Always an estimate."""

    tg_tok_s: float
    tg_low: float
    tg_high: float
    pp_tok_s: float | None
    pp_low: float | None
    pp_high: float | None
    at_depth: int
    basis: str
    """Where the figures come from: ``formula``, then what it assumes of the hardware (``RAM assumed
    at 40 GB/s``), and ``moved by N own measurements``."""
    bound_by: str
    """What most of a decoded token's time goes to, see ``steps.Bound``."""
    pp_bound_by: str | None = None
    n_prompt: int = 0
    """Tokens of the prompt that ``pp_tok_s`` is for."""
    decode: Step | None = None
    """The arithmetic behind ``tg_tok_s``, before own measurements moved it."""
    prefill: Step | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePower:
    """Estimated watts of one GPU board, or of the host's processors."""

    name: str
    """The device's name, or ``host``."""
    idle_w: float
    decode_w: float
    prefill_w: float
    limit_w: float | None


Scope = Literal["GPU boards", "GPU boards and CPU", "CPU package", "whole chip"]
"""Whose watts a figure is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEstimate:
    """Watts and joules per token, by scope. Always an estimate."""

    board_w: float
    """Mean draw of ``scope`` while decoding: the GPU boards together, with the processors where
    they compute a part of a token; without GPUs the processors; one chip where they share it."""
    j_per_token: float
    """``board_w`` over the decode speed: the same scope."""
    basis: str
    scope: Scope = "GPU boards"
    board_low_w: float | None = None
    board_high_w: float | None = None
    """80 % range of ``board_w``."""
    prefill_board_w: float | None = None
    prefill_j_per_token: float | None = None
    wall_w: float | None = None
    """The whole machine at the socket while decoding: boards, processors, the rest, the supply."""
    wall_peak_w: float | None = None
    """The same with processors and every GPU of the run at their limits (or the cap), and unused
    GPUs idle: what the circuit must bear in this run. None where a limit is not known."""
    circuit: str | None = None
    """One sentence: what the peak means for a socket, a circuit and a power supply."""
    devices: tuple[DevicePower, ...] = ()
    cpu_w: float | None = None
    """Mean draw of the processors while decoding; None where they share the GPU's package."""
    wall_j_per_token: float | None = None
    """``wall_w`` over the decode speed: what a partly offloaded model really takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """Money per million generated tokens."""

    per_million_tokens: float
    currency: str
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A term that llama.cpp's allocator counts otherwise than our formula: a bug in the formula."""

    device: str
    term: str
    """``model``, ``context`` or ``compute``."""
    formula_bytes: int
    engine_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """The distance to the next change of the plan on one device."""

    device: str
    bytes: int
    """Positive: so much more use by others and a layer falls out. Negative: so much is missing."""
    consequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """One change and what it would give."""

    change: str
    """In words, with the gain."""
    n_gpu_layers: int
    tg_tok_s: float | None
    verdict: Verdict
    applied: Change
    """The same change as a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one model runs on one machine. Everything that the engine is told comes from here."""

    basis: Basis
    verdict: Verdict
    model: ModelSpec
    hardware: Hardware
    n_ctx: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attn: Literal["auto", "on", "off"]
    n_gpu_layers: int
    n_layer_total: int
    tensor_split: tuple[float, ...]
    """Share of the offloaded layers per usable device; empty without devices."""
    tensor_overrides: tuple[TensorOverride, ...]
    n_seq: int
    n_outputs_max: int
    swa_full: bool
    n_threads: int
    use_mmap: bool
    repack: bool
    devices: tuple[DeviceMemory, ...]
    """Usable GPUs in llama.cpp's order, then the host."""
    speed: SpeedEstimate | None
    """None until a speed model can say something honest; ``notes`` says why."""
    power: PowerEstimate | None
    cost: CostEstimate | None
    reasons: tuple[str, ...]
    cliff: Cliff | None
    counterfactuals: tuple[Counterfactual, ...]
    llama_args: tuple[str, ...]
    """The same plan as flags of llama.cpp's programs."""
    power_limit_w: float | None = None
    """A cap on every GPU that the estimates are for; localllm does not set it."""
    estimated_terms: tuple[str, ...] = ()
    """Terms of the memory that are upper estimates and not exact formulas."""
    memory_basis: Literal["exact", "formula"] = "formula"
    """Who counted the memory; with a recorded shape the basis alone does not say."""
    basis_reason: str | None = None
    """Why the basis is not ``exact``, where that is not what was asked for."""
    refusal: str | None = None
    """What the installed llama.cpp said when its dry run of this plan failed: the run itself would
    end the same way, however well it fits."""
    differences: tuple[Difference, ...] = ()
    """Where the engine's figures, which stand, differ from the formulas'."""

    @property
    def device_names(self) -> tuple[str, ...]:
        """llama.cpp names of the GPUs in use."""
        return tuple(d.name for d in self.devices if d.kind == "gpu")

    @property
    def host(self) -> DeviceMemory:
        """The host's row."""
        return self.devices[-1]
