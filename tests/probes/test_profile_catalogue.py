"""The catalogue against physics and against the vendors' own dense figures.

No figure here is read from the profiles: a slip of a digit, a rate "with sparsity" or a unit would
have to be made twice.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from localllm.core.hardware import Device, HardwareProfile
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.traits import device_traits
from localllm.errors import UsageError
from localllm.probes.named import named_hardware
from localllm.probes.profiles import load_profile, profile_names
from localllm.units import GiB, MiB
from tests.support.specs import llama_3_2_1b

NAMES = profile_names()


@cache
def profile(name: str) -> HardwareProfile:
    return load_profile(name)


def devices() -> list[tuple[str, Device]]:
    return [(name, device) for name in NAMES for device in profile(name).hardware.devices]


def cards(backend: str) -> list[tuple[str, Device]]:
    return [
        (name, device)
        for name, device in devices()
        if device.backend == backend and device.kind == "gpu" and not device.mig
    ]


ASKED_FOR = """
a100-pcie-40gb a100-pcie-80gb a100-sxm4-40gb a100-sxm4-80gb a100-pcie-40gb-nvlink-pair
a100-pcie-80gb-nvlink-pair hgx-a100-8x40gb hgx-a100-8x80gb hgx-h100-8x80gb h100-pcie-80gb
h100-sxm5-80gb h100-nvl-94gb h200-sxm-141gb h200-nvl-141gb b200 l4 l40 l40s a10 a10g a30 a40
rtx-a4000 rtx-a6000 t4 v100-pcie-16gb v100-pcie-32gb v100-sxm2-32gb p40 p100-pcie-16gb
rtx-2080-ti rtx-3060-12gb rtx-3060-8gb rtx-3060-ti rtx-3070 rtx-3070-ti rtx-3080-10gb
rtx-3080-12gb rtx-3080-ti rtx-3090 rtx-3090-ti rtx-4060 rtx-4060-ti-8gb rtx-4060-ti-16gb rtx-4070
rtx-4070-super rtx-4070-ti rtx-4070-ti-super rtx-4080 rtx-4080-super rtx-4090 rtx-5060
rtx-5060-ti-8gb rtx-5060-ti-16gb rtx-5070 rtx-5070-ti rtx-5080 rtx-5090 rtx-4000-ada rtx-5000-ada
rtx-6000-ada rtx-pro-6000-workstation rtx-pro-6000-max-q rtx-pro-6000-server mi210 mi250x mi300x
mi325x rx-7900-xtx rx-7900-xt radeon-ai-pro-r9700 arc-b580 strix-halo gb10 apple-m1 apple-m1-pro
apple-m1-max apple-m1-ultra apple-m2 apple-m2-pro apple-m2-max apple-m2-ultra apple-m3
apple-m3-pro apple-m3-max apple-m3-max-128gb apple-m3-ultra apple-m4 apple-m4-pro apple-m4-max
desktop-ddr4 desktop-ddr5 epyc-9654 epyc-9654-2s laptop-ddr4 laptop-ddr5 raspberry-pi-5
"""


def test_what_people_own_and_rent_is_there() -> None:
    assert set(ASKED_FOR.split()) <= set(NAMES)
    assert len(NAMES) > 200


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_sound(name: str) -> None:
    found = profile(name)
    hardware = found.hardware

    assert found.name == hardware.name == name
    assert found.source
    assert hardware.source == f"profile {name}"
    assert "RAM is assumed" in hardware.notes[-1]
    assert hardware.host.memory_bandwidth_gb_s
    assert (found.kind == "host") == (not hardware.devices)
    for device in hardware.devices:
        assert device.total_bytes is not None
        assert device.free_bytes is not None
        assert device.reserved_bytes is not None
        assert device.free_bytes + device.reserved_bytes == device.total_bytes
        assert device in hardware.usable_devices
        assert device.n_multiprocessors
        assert device.memory_type
        assert device.fp32_tflops or device.compute_capability == (10, 0)
        assert device_traits(device).alignment_bytes >= 16


# ---- memory


def gigabytes_in(name: str) -> int | None:
    """The size that a name ends in: what is printed on the box."""
    size = re.search(r"-(\d+)gb$", name)
    return int(size[1]) if size else None


def test_memory_is_within_what_the_box_says() -> None:
    """The driver reports 0 to 7 % less than the GiB that are printed on the box (ECC takes 6 %)."""
    for name, device in cards("cuda") + cards("rocm"):
        gigabytes = gigabytes_in(name)
        if gigabytes is None or "hgx" in name or "strix" in name:
            continue
        assert device.total_bytes is not None
        assert 0.93 * gigabytes * GiB <= device.total_bytes <= 1.02 * gigabytes * GiB, name


def test_the_driver_reserves_little_of_a_card() -> None:
    for name, device in cards("cuda"):
        assert device.total_bytes is not None
        assert device.reserved_bytes is not None
        assert 80 * MiB <= device.reserved_bytes <= 800 * MiB, name
        assert device.reserved_bytes <= 0.07 * device.total_bytes, name


def test_unified_memory_is_never_more_than_the_machine_has() -> None:
    unified = [name for name, device in devices() if device.unified]
    assert len(unified) > 40
    for name in unified:
        hardware = profile(name).hardware
        (device,) = hardware.devices
        assert device.total_bytes is not None
        assert device.total_bytes <= hardware.host.total_bytes, name
        assert device.memory_bandwidth_gb_s == hardware.host.memory_bandwidth_gb_s, name
        assert device.power_limit_w is None or device.backend == "cuda", name


BANDWIDTHS_GB_S = {
    "GDDR5": (300, 500),
    "GDDR6": (160, 970),
    "GDDR6X": (500, 1010),
    "GDDR7": (280, 1800),
    "HBM2": (700, 1560),
    "HBM2e": (1600, 2050),
    "HBM3": (3000, 5400),
    "HBM3e": (4800, 8100),
    "LPDDR4X": (60, 70),
    "LPDDR5": (100, 820),
    "LPDDR5X": (120, 550),
}


def test_bandwidth_is_what_its_kind_of_memory_reaches() -> None:
    for name, device in devices():
        if device.mig:
            continue
        assert device.memory_type is not None
        assert device.memory_bandwidth_gb_s is not None
        low, high = BANDWIDTHS_GB_S[device.memory_type]
        assert low <= device.memory_bandwidth_gb_s <= high, name


def test_a_hosts_bandwidth_is_its_channels_times_their_rate() -> None:
    told = 0
    for name in NAMES:
        host = profile(name).hardware.host
        if host.memory_type is None or host.n_memory_channels is None:
            continue
        megatransfers = int(host.memory_type.split("-")[1])
        told += 1
        assert host.memory_bandwidth_gb_s == pytest.approx(
            host.n_memory_channels * megatransfers * 8 / 1000, rel=0.01
        ), name
    assert told > 100


# ---- arithmetic

MULTIPLY_ADDS_PER_SM = {
    (7, 0): 512,
    (7, 5): 512,
    (8, 0): 1024,
    (8, 6): 512,
    (8, 9): 512,
    (9, 0): 2048,
    (10, 0): 4096,
    (12, 0): 512,
}
"""FP16, per clock, dense (NVIDIA's architecture white papers: tensor cores times the products of
each). GeForce cards run at half of it with FP32 sums from Turing on."""


def test_fp16_is_what_the_multiprocessors_can_do_without_sparsity() -> None:
    """At clocks between 1.1 and 2.7 GHz: a figure with sparsity would need twice that."""
    for name, device in cards("cuda"):
        if device.compute_capability not in MULTIPLY_ADDS_PER_SM:
            continue
        assert device.n_multiprocessors is not None
        assert device.fp16_tflops is not None, name
        per_clock = MULTIPLY_ADDS_PER_SM[device.compute_capability] * device.n_multiprocessors
        if "GeForce" in device.description:
            per_clock //= 2
        ghz = device.fp16_tflops * 1e12 / (2 * per_clock) / 1e9
        halved = name in ("l40", "a10g")  # by their vendors: the sheets say so
        assert (0.9 if halved else 1.1) <= ghz <= 2.7, f"{name} would run at {ghz:.2f} GHz"


DENSE = {
    # name: (FP32, FP16 with FP32 sums, INT8, FP8 with FP32 sums, FP4), 10^12 a second
    "a100-sxm4-80gb": (19.5, 312, 624, None, None),  # NVIDIA A100 datasheet
    "a100-pcie-40gb": (19.5, 312, 624, None, None),
    "h100-sxm5-80gb": (66.9, 989.4, 1978.9, 1978.9, None),  # NVIDIA H100 white paper
    "h100-pcie-80gb": (51.2, 756, 1513, 1513, None),
    "h100-nvl-94gb": (60.3, 835, 1671, 1671, None),
    "h200-sxm-141gb": (66.9, 989.4, 1978.9, 1978.9, None),
    "b200": (80, 2250, 4500, 4500, 9000),  # HGX B200 at 1,000 W
    "l4": (30.3, 121, 242, 242, None),  # NVIDIA L4 datasheet, halved: it prints sparsity
    "l40": (90.5, 181, 362, 362, None),
    "l40s": (91.6, 362, 733, 733, None),
    "a10": (31.2, 125, 250, None, None),
    "a30": (10.3, 165, 330, None, None),
    "a40": (37.4, 149.7, 299.4, None, None),
    "rtx-a6000": (38.7, 154.8, 309.7, None, None),  # NVIDIA GA102 white paper
    "t4": (8.1, 65, 130, None, None),  # NVIDIA T4 datasheet
    "v100-sxm2-32gb": (15.7, 125, 62.8, None, None),
    "v100-pcie-32gb": (14.1, 112, 56.5, None, None),
    "p40": (11.8, None, 47, None, None),
    "rtx-2080-ti": (13.45, 53.8, 215.2, None, None),  # NVIDIA Turing white paper
    "rtx-3070": (20.3, 40.6, 162.6, None, None),  # NVIDIA GA102 white paper
    "rtx-3080-10gb": (29.8, 59.5, 238, None, None),
    "rtx-3090": (35.6, 71, 284, None, None),
    "rtx-4090": (82.6, 165.2, 660.6, 330.3, None),  # NVIDIA Ada white paper
    "rtx-4080": (48.7, 97.5, 389.9, 194.9, None),
    "rtx-6000-ada": (91.1, 364.2, 728.5, 728.5, None),
    "rtx-5090": (104.8, 209.5, 838, 419, 1676),  # NVIDIA RTX Blackwell white paper
    "rtx-5080": (56.3, 112.6, 450.2, 225.1, 900.4),
    "rtx-5070-ti": (43.9, 87.9, 351.5, 175.8, 703),
    "rtx-5070": (30.9, 61.7, 246.9, 123.5, 493.9),
    "rtx-pro-6000-workstation": (126, 503.8, 1007.6, 1007.6, 2015.2),
    "mi300x": (163.4, 1307.4, 2614.9, 2614.9, None),  # AMD MI300X datasheet
    "mi210": (22.6, 181, 181, None, None),
    "rx-7900-xtx": (61.4, 122.8, 122.8, None, None),
    "radeon-ai-pro-r9700": (47.8, 191, 383, 383, None),  # AMD's product page
}
"""The vendors' dense figures, from where the comment says (and from the first above it)."""


@pytest.mark.parametrize("name", DENSE)
def test_rates_are_the_vendors_dense_ones(name: str) -> None:
    device = profile(name).hardware.devices[0]
    rates = (
        *(device.fp32_tflops, device.fp16_tflops, device.int8_tops),
        *(device.fp8_tflops, device.fp4_tflops),
    )
    for found, stated in zip(rates, DENSE[name], strict=True):
        if stated is None:
            assert found is None, name
        else:
            assert found == pytest.approx(stated, rel=0.02), name


def test_every_narrower_type_is_at_least_as_fast() -> None:
    for name, device in devices():
        rates = [device.fp16_tflops, device.fp8_tflops, device.fp4_tflops]
        known = [rate for rate in rates if rate is not None]
        assert known == sorted(known), name
        if device.int8_tops and device.fp8_tflops:
            assert device.int8_tops >= device.fp8_tflops, name


# ---- MIG


def slices() -> dict[str, list[Device]]:
    found: dict[str, list[Device]] = {}
    for name, device in devices():
        if device.mig:
            found.setdefault(name.partition("-mig-")[0], []).append(device)
    return found


MIG_CARDS = """
a100-pcie-40gb a100-pcie-80gb a100-sxm4-40gb a100-sxm4-80gb a30 h100-nvl-94gb h100-pcie-80gb
h100-sxm5-80gb h200-nvl-141gb h200-sxm-141gb rtx-pro-6000-max-q rtx-pro-6000-server
rtx-pro-6000-workstation
"""


def test_cards_that_can_be_divided() -> None:
    assert set(slices()) == set(MIG_CARDS.split())


@pytest.mark.parametrize("name", MIG_CARDS.split())
def test_slices_are_parts_of_their_card(name: str) -> None:
    """As many of the smallest as the name says fit into the card; none is more than its part."""
    card = profile(name).hardware.devices[0]
    assert card.total_bytes is not None
    assert card.n_multiprocessors is not None
    assert card.memory_bandwidth_gb_s is not None
    assert card.fp16_tflops is not None
    parts = 4 if name == "a30" or name.startswith("rtx") else 8
    most = 4 if parts == 4 else 7
    for device in slices()[name]:
        assert device.total_bytes is not None
        assert device.n_multiprocessors is not None
        assert device.memory_bandwidth_gb_s is not None
        assert device.fp16_tflops is not None
        assert device.mig is not None
        compute, label_gb = re.fullmatch(r"(\d)g\.(\d+)gb", device.mig).groups()  # type: ignore[union-attr]
        # Memory: no more than its eighths (quarters) of the card, and no less than 85 % of them.
        eighths = device.memory_bandwidth_gb_s / card.memory_bandwidth_gb_s * parts
        assert eighths == round(eighths)
        share = card.total_bytes * eighths / parts
        assert 0.85 * share <= device.total_bytes <= share, device.mig
        assert device.total_bytes <= int(label_gb) * GiB
        # Arithmetic: its sevenths (quarters) of the multiprocessors. A slice with more eighths of
        # the memory than sevenths (1g with two, 3g with four) may get some that else lie idle.
        fraction = device.n_multiprocessors / card.n_multiprocessors
        extra = 1.4 if (compute, eighths) == ("1", 2) else 1.08
        assert 0.8 * int(compute) / most <= fraction <= extra * int(compute) / most, device.mig
        assert device.fp16_tflops / card.fp16_tflops == pytest.approx(fraction, rel=0.01)
    smallest = [device for device in slices()[name] if device.mig and device.mig[0] == "1"]
    least = min(smallest, key=lambda device: device.total_bytes or 0)
    assert least.total_bytes is not None
    assert least.n_multiprocessors is not None
    assert most * least.total_bytes <= card.total_bytes
    assert most * least.n_multiprocessors <= card.n_multiprocessors


def test_the_smallest_slice_of_an_a100() -> None:
    """NVIDIA's MIG user guide: 1g.5gb is 4.75 GiB, an eighth of the memory and 14 of 108 SMs."""
    (device,) = profile("a100-pcie-40gb-mig-1g.5gb").hardware.devices
    assert device.total_bytes == int(4.75 * GiB)
    assert device.n_multiprocessors == 14
    assert device.memory_bandwidth_gb_s == pytest.approx(1555 / 8)


# ---- power and links


def test_power_is_plausible() -> None:
    for name, device in cards("cuda") + cards("rocm"):
        assert device.power_limit_w is not None, name
        assert 40 <= device.power_limit_w <= 1000, name
        if device.idle_power_w is not None:
            assert device.idle_power_w <= 0.3 * device.power_limit_w, name
        # GB/s for each watt of the limit: 1.2 (RTX 4060 Ti) to 8.5 (laptops, whose limit is low).
        assert device.memory_bandwidth_gb_s is not None
        assert 0.8 <= device.memory_bandwidth_gb_s / device.power_limit_w <= 15, name


def test_links_are_told_where_cards_have_them() -> None:
    assert {d.nvlink_gb_s for d in profile("hgx-a100-8x80gb").hardware.devices} == {600}
    assert {d.nvlink_gb_s for d in profile("hgx-h100-8x80gb").hardware.devices} == {900}
    assert {d.nvlink_gb_s for d in profile("a100-pcie-40gb-nvlink-pair").hardware.devices} == {600}
    assert len(profile("hgx-h200-8x141gb").hardware.devices) == 8
    for name, device in cards("cuda"):
        if "pcie" in name and "pair" not in name:
            assert device.nvlink_gb_s is None, f"{name} is sold without a bridge"
        assert device.pcie_gen in (3, 4, 5), name
        assert device.pcie_width in (8, 16), name


# ---- plans


def test_every_profile_carries_a_small_model() -> None:
    """1B at 4 bits, 2k of context: every machine here runs it, the small ones too."""
    model = llama_3_2_1b()
    for name in NAMES:
        plan = make_plan(model, profile(name).hardware, Policy(n_ctx=2048))
        assert plan.verdict == "fits", name
        assert (plan.n_gpu_layers > 0) == bool(profile(name).hardware.devices), name


@pytest.mark.parametrize(
    "names",
    [
        ["2x rtx-4090"],
        ["rtx-4090", "epyc-9654"],
        ["rtx-5090", "2x rtx-3090", "threadripper-pro-7995wx"],
        ["rtx-4090", "rx-7900-xtx"],
        ["a100-pcie-80gb-mig-3g.40gb", "epyc-7763"],
        ["8x h100-sxm5-80gb"],
    ],
)
def test_combinations_carry_it_too(names: list[str]) -> None:
    hardware = named_hardware(names)
    assert make_plan(llama_3_2_1b(), hardware, Policy(n_ctx=2048)).verdict == "fits"


def test_slices_do_not_combine_with_other_nvidia_gpus() -> None:
    with pytest.raises(UsageError, match="one MIG slice"):
        named_hardware(["a100-pcie-80gb-mig-3g.40gb", "rtx-4090"])
