"""What the user asked for. ``None`` leaves a choice to the planner; the rest is kept as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from localllm.units import MiB

FlashAttn = Literal["auto", "on", "off"]
Preference = Literal["quality", "balanced", "speed", "context"]

KV_TYPES = ("f16", "bf16", "q8_0", "q4_0", "f32")
"""KV cache types on offer. CUDA has fast kernels for equal pairs of f16, bf16, q8_0 and q4_0."""

KV_CHOICES = ("f16", "q8_0", "q4_0")
"""What ``auto`` chooses from, the best quality first."""


def kv_label(type_k: str | None, type_v: str | None) -> str:
    """Return the cache's type, or both: ``"q8_0"``, ``"q8_0/f16"``."""
    return f"{type_k}" if type_k == type_v else f"{type_k}/{type_v}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What running costs; None where nobody said."""

    per_kwh: float | None = None
    """Electricity, at the socket."""
    per_hour: float | None = None
    """Rent of the machine, electricity included."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Choices the planner must respect."""

    n_ctx: int | Literal["max"] | None = None
    """Context in tokens; ``max`` the largest that fits; None 8,192, or the model's own if less."""
    type_k: str | None = None
    """``auto``: the best quality that costs no GPU layer. None: f16, except where a choice between
    quantisations or for a stated wish is made (``choice.py``), which then decides it too."""
    type_v: str | None = None
    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    """Layers, from the first, whose experts stay in RAM."""
    tensor_split: tuple[float, ...] | None = None
    n_batch: int | None = None
    n_ubatch: int | None = None
    flash_attn: FlashAttn = "auto"
    n_threads: int | None = None
    n_seq: int = 1
    depth: int = 0
    """Tokens already in the context, for the speed estimate."""
    vram_headroom_bytes: int = 512 * MiB
    """Left free on every GPU, beside the overhead that is planned for."""
    vram_headroom_fraction: float | None = None
    """The same as a share of the device's memory; wins over the bytes when given."""
    headroom_by_device: tuple[tuple[str, int], ...] = ()
    """More left free on these, in bytes by llama.cpp's name: where a load ran out of memory."""
    vram_budget_bytes: int | None = None
    """Use no more than this of each GPU."""
    ram_budget_bytes: int | None = None
    use_mmap: bool | None = None
    repack: bool | None = None
    """Let llama.cpp rearrange CPU weights for speed (a second copy in anonymous memory)."""
    quant: str | None = None
    """A quantisation, by its usual name (``Q4_K_M``); None: the file's own, or the best choice."""
    prefer: Preference = "balanced"
    """What a choice between quantisations, KV types and batches is ranked by (``choice.py``)."""
    min_tok_s: float | None = None
    """Decode at least so fast, by the estimate."""
    max_j_per_token: float | None = None
    """Decode with at most so much energy a token, by the estimate."""
    power_limit_w: float | None = None
    """Every GPU capped to this."""
    prices: Prices | None = None

    @property
    def states_a_wish(self) -> bool:
        """Whether the person said what a choice is for: then the cache is chosen, too."""
        wishes = (self.min_tok_s, self.max_j_per_token)
        return self.prefer != "balanced" or wishes != (None, None)

    def with_usual_kv(self) -> Self:
        """Return the same with llama.cpp's own KV types, f16, where none was asked for."""
        return replace(self, type_k=self.type_k or "f16", type_v=self.type_v or "f16")
