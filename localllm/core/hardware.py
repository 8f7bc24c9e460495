"""A machine as the planner sees it: devices that llama.cpp can place layers on, and the host.

A value that could not be read is ``None``; ``unknown`` says why, by field name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DeviceKind = Literal["gpu", "igpu"]
Backend = Literal["cuda", "metal", "vulkan", "rocm", "rpc", "simulated", "other", "none"]
"""``other`` is a llama.cpp backend without rules of its own here (SYCL, OpenCL ...)."""

THIS_MACHINE = "this machine"
"""``Hardware.source`` of what was detected here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator, in the order in which llama.cpp lists it."""

    name: str
    """llama.cpp's own name (``CUDA0``) where its backend sees the device, else the probe's."""
    description: str
    """The product: ``NVIDIA GeForce RTX 4090``."""
    kind: DeviceKind
    backend: Backend
    """``none`` when the installed llama.cpp cannot use the device."""
    total_bytes: int | None
    free_bytes: int | None
    reserved_bytes: int | None = None
    """Kept by the driver and firmware; not part of ``free_bytes``."""
    unified: bool = False
    """Shares the host's memory: its free bytes are the host's."""
    pci_id: str | None = None
    """``dddd:bb:dd.f`` in lower case; the link between NVML and llama.cpp."""
    uuid: str | None = None
    driver: str | None = None
    cuda_version: str | None = None
    """The newest CUDA that the driver supports: ``12.6``."""
    arch: str | None = None
    """AMD's instruction set: ``gfx1100``."""
    compute_capability: tuple[int, int] | None = None
    """CUDA compute capability: (8, 9) is an RTX 4090."""
    n_multiprocessors: int | None = None
    memory_bandwidth_gb_s: float | None = None
    """Peak of the memory bus, 10^9 bytes per second."""
    memory_bandwidth_basis: str | None = None
    """Where that figure comes from: ``memory clock x bus width``, ``profile`` ..."""
    memory_type: str | None = None
    """``GDDR6X``, ``HBM3``, ``LPDDR5X`` ..."""
    fp32_tflops: float | None = None
    """Peak of the ordinary arithmetic units, 10^12 operations a second; a multiply-add is two."""
    fp16_tflops: float | None = None
    """Peak of matrix products of FP16 or BF16 with FP32 sums, dense: never the figure "with
    sparsity" (twice as high), nor that with FP16 sums (twice as high on GeForce cards)."""
    int8_tops: float | None = None
    """Peak of integer matrix products, dense: what llama.cpp multiplies quantised weights with."""
    fp8_tflops: float | None = None
    """As ``fp16_tflops`` for FP8; None where the device has none, or nobody says."""
    fp4_tflops: float | None = None
    """As ``fp16_tflops`` for FP4 (MXFP4, NVFP4)."""
    nvlink_gb_s: float | None = None
    """NVLink to the machine's other GPUs, both directions added, 10^9 bytes per second; None
    without a link."""
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    power_limit_w: float | None = None
    idle_power_w: float | None = None
    """Draw of the board with nothing running on it, where somebody measured it."""
    mig: str | None = None
    """MIG profile of a slice (``1g.10gb``), or ``enabled`` for a card that is divided."""
    alignment_bytes: int | None = None
    """Alignment of tensors in a buffer of this device; None: the backend's usual."""
    overhead_bytes: int | None = None
    """Backend context and pools that llama.cpp does not count, if known for this device."""
    visible: bool = True
    """False when ``CUDA_VISIBLE_DEVICES`` or the backend hides it from llama.cpp."""
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """CPU and RAM."""

    cpu: str
    os: str
    """``linux``, ``darwin`` or ``windows``."""
    machine: str
    """``x86_64``, ``arm64`` ..."""
    total_bytes: int
    """Physical memory, or the tightest cgroup limit if that is less."""
    available_bytes: int
    """What a new process may really take: MemAvailable under every cgroup limit."""
    memory_limit: str | None = None
    """The file of the cgroup limit that binds, if one does."""
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    n_cores_physical: int | None = None
    n_cores_performance: int | None = None
    """Performance cores of a hybrid CPU; equals the physical cores elsewhere."""
    n_threads_logical: int = 1
    """Logical CPUs in this process's affinity mask."""
    cpu_quota: float | None = None
    """CPUs that the cgroup allows, e.g. 1.5; None without a quota."""
    isa: tuple[str, ...] = ()
    """Instruction sets that matter to ggml: ``avx2``, ``avx512f``, ``amx_int8``, ``neon`` ..."""
    n_numa_nodes: int = 1
    memory_bandwidth_gb_s: float | None = None
    """Measured on request, or the profile's peak."""
    memory_bandwidth_basis: str | None = None
    """``measured`` with what and how, or ``profile``: the theoretical peak."""
    memory_type: str | None = None
    """With the rate: ``DDR5-5600``, ``LPDDR5X-8000``."""
    n_memory_channels: int | None = None
    """Channels of 64 bits, of all sockets together."""
    power_limit_w: float | None = None
    """What the processors may draw for long, all sockets together."""
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_threads_default(self) -> int:
        """Threads for decoding: performance cores, within the affinity mask and the CPU quota."""
        cores = self.n_cores_performance or self.n_cores_physical or self.n_threads_logical
        limit = self.n_threads_logical if self.cpu_quota is None else int(self.cpu_quota)
        return max(1, min(cores, self.n_threads_logical, max(limit, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine. The planner takes nothing else of the world."""

    name: str
    source: str
    """``this machine``, ``profile rtx-4090``, or the path of a saved JSON file."""
    host: Host
    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    """Facts a person should see: why NVML is silent, which card is hidden and by what."""

    @property
    def usable_devices(self) -> tuple[Device, ...]:
        """Devices that layers can be placed on.

        llama.cpp must see the device, its memory must be known, and integrated graphics count only
        where there is no discrete card (llama.cpp's own default list is the same).
        """
        seen = tuple(
            d
            for d in self.devices
            if d.visible
            and d.backend != "none"
            and (d.free_bytes is not None or d.total_bytes is not None)
        )
        discrete = tuple(d for d in seen if d.kind == "gpu")
        return discrete or seen


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile:
    """One file of ``profiles/hardware``: a GPU, a CPU platform or a whole machine."""

    name: str
    kind: Literal["gpu", "host", "machine"]
    hardware: Hardware
    """The machine it stands for; a GPU profile sits in a plain desktop host."""
    source: str
    """Where the figures come from."""
