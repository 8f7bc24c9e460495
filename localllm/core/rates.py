"""Peak rates of a device or a host, and whose fitted constants hold for it.

What a profile or a probe knows is taken; what it does not is assumed here, and the assumption is
named. Constants are kept by class, the most special first.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.hardware import Device, Host

ASSUMED_BANDWIDTH_GB_S = 300.0
"""Of a GPU of which nobody says it: that of an RTX 4060."""
ASSUMED_FP32_TFLOPS_PER_GB_S = 0.05
"""FP32 rate per bandwidth where only the bandwidth is known: 1 TB/s comes with some 50 TFLOPS."""
ASSUMED_CLOCK_HZ = 1.8e9
"""Of a GPU of which the number of multiprocessors is not known."""
ASSUMED_HOST_BANDWIDTH_GB_S = 40.0
"""Two channels of DDR4-2666, or a slow laptop; ``estimate.assumptions`` says where it is used."""
MEASURED_SHARE = 0.85
"""Of the peak that a plain loop over memory reaches, as ``probes/bandwidth.py`` measures it."""
ASSUMED_HOST_CLOCK_HZ = 3e9
ASSUMED_PCIE_GB_S = 15.75
"""PCIe 3.0 x16."""

_LANES = {(6, 0): 64, (7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}
"""FP32 lanes of a multiprocessor by CUDA compute capability; 128 elsewhere."""
_GCN = ("gfx900", "gfx906", "gfx908", "gfx90a")
"""AMD's instruction sets with 64 FP32 lanes a compute unit."""
_HBM = "HBM"
MMQ_OPERATIONS = 512
"""Operations per clock and multiprocessor that prefill of quantised weights is measured by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Peaks of one place, per second."""

    bandwidth: float
    """Bytes of its own memory."""
    clock: float
    """What its cores do per clock, all together: clocks of multiprocessors, or bytes that vector
    units take in. What a core unpacks or has under way is counted in these."""
    clock_s: float
    """Duration of one clock; of a host, times the threads that wait for each other at it."""
    float_rate: float
    quantised_rate: float
    """Operations in matrix products of floats, and of quantised weights."""
    slot: float
    """Bytes over the bus from the host, one way."""
    classes: tuple[str, ...]
    """Whose fitted constants hold, the most special first."""

    def rate(self, family: str) -> float:
        """Operations per second in products with weights of a family (``speed.FAMILIES``)."""
        return self.float_rate if family in ("float", "bf16") else self.quantised_rate


def device_rates(device: Device) -> Rates:
    """Peaks of a device."""
    return Rates(
        bandwidth=bandwidth(device),
        clock=multiprocessor_rate(device),
        clock_s=clock_s(device),
        float_rate=float_rate(device),
        quantised_rate=quantised_rate(device),
        slot=pcie_bandwidth(device),
        classes=device_classes(device),
    )


def host_rates(host: Host, n_threads: int) -> Rates:
    """Peaks of a host with so many threads at work."""
    vectors = host_vector_rate(host, n_threads)
    return Rates(
        bandwidth=host_bandwidth(host),
        clock=vectors,
        clock_s=host_threads(host, n_threads) ** 0.5 / ASSUMED_HOST_CLOCK_HZ,
        float_rate=vectors,
        quantised_rate=vectors,
        slot=host_bandwidth(host),
        classes=host_classes(host),
    )


def bandwidth(device: Device) -> float:
    """Peak of the memory bus in bytes per second."""
    return (device.memory_bandwidth_gb_s or ASSUMED_BANDWIDTH_GB_S) * 1e9


def fp32_rate(device: Device) -> float:
    """Peak of the ordinary arithmetic units in operations per second."""
    if device.fp32_tflops:
        return device.fp32_tflops * 1e12
    return bandwidth(device) / 1e9 * ASSUMED_FP32_TFLOPS_PER_GB_S * 1e12


def multiprocessor_rate(device: Device) -> float:
    """Clocks of all multiprocessors together, per second: FP32 rate over two times the lanes.

    What a multiprocessor can have under way, and the instructions it starts, are so many per clock.
    """
    lanes = _LANES.get(device.compute_capability or (0, 0), 128)
    if (device.arch or "").startswith(_GCN):
        lanes = 64
    return fp32_rate(device) / (2 * lanes)


def clock_s(device: Device) -> float:
    """Duration of one clock: what a kernel needs to start and end is so many clocks."""
    n = device.n_multiprocessors
    return n / multiprocessor_rate(device) if n and device.fp32_tflops else 1.0 / ASSUMED_CLOCK_HZ


def float_rate(device: Device) -> float:
    """Peak of FP16 matrix products in operations per second: half of FP8's, a quarter of FP4's."""
    if device.fp16_tflops:
        return device.fp16_tflops * 1e12
    half = (device.fp8_tflops or 0.0) / 2 or (device.fp4_tflops or 0.0) / 4
    return half * 1e12 or fp32_rate(device)


def quantised_rate(device: Device) -> float:
    """What products with quantised weights are measured by: ``MMQ_OPERATIONS`` a clock.

    llama.cpp's kernels for them are bound by the instructions around the matrix units, not by their
    peak: RTX 3090, RTX 4090, RTX 5090, A100 and H100 all do 460 to 650 operations per clock and
    multiprocessor, though the peak of the last is four times the first's.
    """
    return multiprocessor_rate(device) * MMQ_OPERATIONS


def pcie_bandwidth(device: Device) -> float:
    """One direction of the device's slot in bytes per second; shared memory needs no bus."""
    if device.unified:
        return bandwidth(device)
    generation = device.pcie_gen_max or device.pcie_gen  # an idle card has shifted down
    if not generation or not device.pcie_width:
        return ASSUMED_PCIE_GB_S * 1e9
    return 0.985e9 * 2.0 ** (generation - 3) * device.pcie_width


def slot_known(device: Device) -> bool:
    """Whether generation and width of the device's slot are known."""
    return bool((device.pcie_gen_max or device.pcie_gen) and device.pcie_width)


def device_classes(device: Device) -> tuple[str, ...]:
    """Whose constants hold for a device, the most special first."""
    backend = device.backend if device.backend in ("rocm", "vulkan", "metal") else "cuda"
    if device.backend not in ("cuda", "rocm", "vulkan", "metal", "simulated", "rpc"):
        backend = "vulkan"
    memory = "unified" if device.unified else "gddr"
    if (device.memory_type or "").upper().startswith(_HBM):
        memory = "hbm"
    return f"{backend} {memory}", backend, "gpu"


def host_bandwidth(host: Host) -> float:
    """Peak of the host's memory in bytes per second; what was measured is no peak."""
    if host.memory_bandwidth_gb_s and (host.memory_bandwidth_basis or "").startswith("measured"):
        return host.memory_bandwidth_gb_s * 1e9 / MEASURED_SHARE
    return (host.memory_bandwidth_gb_s or ASSUMED_HOST_BANDWIDTH_GB_S) * 1e9


def host_threads(host: Host, n_threads: int) -> float:
    """Cores that really compute: no more than there are, and no more than the quota allows."""
    cores = host.n_cores_physical or host.n_threads_logical
    limit = float(min(n_threads, cores))
    return min(limit, host.cpu_quota) if host.cpu_quota else limit


def host_vector_rate(host: Host, n_threads: int) -> float:
    """Bytes that all cores' vector units take in per second at 3 GHz: 64 a clock with AVX-512."""
    isa = set(host.isa)
    width = 64 if "avx512f" in isa else 32 if "avx2" in isa else 16
    return host_threads(host, n_threads) * width * ASSUMED_HOST_CLOCK_HZ


def host_classes(host: Host) -> tuple[str, ...]:
    """Whose constants hold for a host's CPU, the most special first."""
    kind = "arm" if host.machine in ("arm64", "aarch64") else "x86"
    return f"cpu {kind}", "cpu"
