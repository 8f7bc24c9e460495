from __future__ import annotations

import tomllib
from typing import Any

import pytest

from localllm.errors import IntegrityError, UsageError
from localllm.probes.profiles import load_profile, parse_profile
from localllm.units import GiB, MiB

GPU = """
description = "Card"
source = "a datasheet"
host = "desktop-ddr5"
[gpu]
backend = "cuda"
total_mib = 8192
reserved_mib = 300
memory_bandwidth_gb_s = 448
"""

HOST = """
description = "Box"
source = "arithmetic"
[host]
cpu = "CPU"
machine = "x86_64"
total_gib = 16
available_gib = 14
n_cores_physical = 4
n_threads_logical = 8
isa = ["avx2"]
memory_bandwidth_gb_s = 40
"""


def parse(text: str) -> Any:
    return parse_profile("made-up", tomllib.loads(text))


def test_memory_is_what_the_driver_reports_and_free_is_what_cuda_starts_with() -> None:
    (device,) = load_profile("rtx-4090").hardware.devices

    assert device.total_bytes == 24564 * MiB, "nvidia-smi"
    assert device.free_bytes == 24080 * MiB, "llama.cpp's total"
    assert device.overhead_bytes == (24080 - 23608) * MiB, "llama.cpp's free"
    assert (device.name, device.backend, device.compute_capability) == ("CUDA0", "cuda", (8, 9))


@pytest.mark.parametrize(
    "name", ["2x rtx-4090", "2 x rtx-4090", " 2X rtx-4090 ", "2x 4090", "2×rtx-4090"]
)
def test_two_of_a_gpu_are_two_devices_in_one_host(name: str) -> None:
    one, two = load_profile("rtx-4090").hardware, load_profile(name)

    assert two.name == two.hardware.name == "2x rtx-4090"
    assert [device.name for device in two.hardware.devices] == ["CUDA0", "CUDA1"]
    assert two.hardware.host == one.host
    assert len({device.total_bytes for device in (*one.devices, *two.hardware.devices)}) == 1


def test_one_of_a_gpu_is_the_gpu() -> None:
    assert load_profile("1x rtx-4090") == load_profile("rtx-4090")


@pytest.mark.parametrize("name", ["2x epyc-9654", "0x rtx-4090", "17x rtx-4090"])
def test_counts_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        load_profile(name)


def test_a_gpu_sits_in_the_host_that_it_names() -> None:
    profile = parse(GPU)

    assert profile.kind == "gpu"
    assert profile.hardware.host == load_profile("desktop-ddr5").hardware.host
    assert profile.hardware.devices[0].free_bytes == (8192 - 300) * MiB
    assert "RAM is assumed: 64.0 GiB, of which 58.0 GiB are available" in profile.hardware.notes[-1]


def test_a_host_alone_and_a_whole_machine_are_told_apart() -> None:
    host = parse(HOST)
    card = GPU[GPU.index("[gpu]") :]
    machine = parse(HOST + card.replace("[gpu]", "[[gpu]]") * 2)

    assert (host.kind, host.hardware.devices) == ("host", ())
    assert host.hardware.host.n_cores_performance == 4
    assert host.hardware.host.available_bytes == 14 * GiB
    assert machine.kind == "machine"
    assert [device.name for device in machine.hardware.devices] == ["CUDA0", "CUDA1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GPU.replace("total_mib", "totalmib"), "no key 'totalmib': total_mib?"),
        (GPU + "\n[extra]\nx = 1", "no key 'extra'"),
        (GPU.replace('source = "a datasheet"', ""), "source is missing"),
        (GPU.replace('"a datasheet"', '"  "'), "source is empty"),
        (GPU.replace("8192", "8"), "[gpu] total_mib is 8: outside 512 to 2e+06"),
        (GPU.replace("448", "448000"), "memory_bandwidth_gb_s is 448000"),
        (GPU.replace("8192", "8192.5"), "must be of type int"),
        (GPU.replace("8192", "true"), "must be of type int, not True"),
        (GPU.replace("448", "true"), "must be of type float, not True"),
        (GPU.replace('"cuda"', '"opencl"'), "must be one of cuda, rocm"),
        (GPU.replace("desktop-ddr5", "castle"), "no profile is called 'castle'"),
        (GPU.replace("desktop-ddr5", "rtx-4090"), "'rtx-4090' is a gpu, not a host"),
        (GPU.replace('host = "desktop-ddr5"', ""), "needs a [host] table"),
        (GPU.replace("[gpu]", "[[gpu]]") + "[[gpu]]", "backend is missing"),
        (GPU + 'compute_capability = "89"', "must look like 8.9"),
        (GPU.replace("reserved_mib = 300", "reserved_mib = 8192"), "leaves nothing of total_mib"),
        (GPU + 'arch = "Navi 31"', "[gpu] arch is 'Navi 31'"),
        (GPU + 'memory_type = "GDDR"', "must be one of GDDR5"),
        (GPU + "fp16_tflops = 165200", "fp16_tflops is 165200"),
        (GPU + "fp16_tflops = 1.652e14", "fp16_tflops is 165200000000000"),
        (GPU + "idle_power_w = 18000", "idle_power_w is 18000"),
        (GPU + "nvlink_gb_s = 4", "nvlink_gb_s is 4"),
        (HOST + 'memory_type = "DDR5"', "[host] memory_type is 'DDR5'"),
        (HOST.replace("= 14", "= 17"), "available_gib is more than total_gib"),
        (HOST.replace("logical = 8", "logical = 2"), "performance cores <= physical"),
        (HOST.replace('["avx2"]', "[2]"), "must be a list of strings"),
        ('description = "x"\nsource = "y"', "needs a [host] table"),
        ('description = "x"\nsource = "y"\nhost = 3', "needs a [host] table"),
        (GPU[: GPU.index("[gpu]")] + "gpu = 3", "[gpu] must be a table"),
    ],
)
def test_a_profile_with_a_fault_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(IntegrityError, match=r"profiles/hardware/made-up\.toml") as caught:
        parse(text)

    assert problem in caught.value.message


# ---- MIG slices

SLICED = (
    GPU
    + """
n_multiprocessors = 100
fp16_tflops = 200
int8_tops = 400
power_limit_w = 300
nvlink_gb_s = 600
[mig]
source = "a guide"
memory_parts = 8
[mig.slices]
"1g.1gb" = { total_mib = 2048, memory_parts = 1, n_multiprocessors = 12 }
"""
)


def test_a_mig_slice_has_its_part_of_memory_bandwidth_and_multiprocessors() -> None:
    card = parse(SLICED).hardware.devices[0]
    profile = parse_profile("made-up", tomllib.loads(SLICED), "-mig-1g.1gb")
    (slice_,) = profile.hardware.devices

    assert (profile.name, profile.kind) == ("made-up-mig-1g.1gb", "gpu")
    assert (card.mig, slice_.mig) == (None, "1g.1gb")
    assert slice_.total_bytes == 2048 * MiB
    assert slice_.memory_bandwidth_gb_s == 448 / 8
    assert slice_.n_multiprocessors == 12
    assert (slice_.fp16_tflops, slice_.int8_tops) == (200 * 12 / 100, 400 * 12 / 100)
    assert slice_.power_limit_w is None, "power is the card's"
    assert "whole card" in slice_.unknown["power_limit_w"]
    assert slice_.nvlink_gb_s is None
    assert slice_.description == f"{card.description} MIG 1g.1gb"


def test_slices_of_a100_and_h100_are_named_as_nvidia_names_them() -> None:
    for name, slices in {
        "a100-pcie-40gb": ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
        "a100-sxm4-40gb": ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
        "a100-pcie-80gb": ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        "a100-sxm4-80gb": ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        "h100-pcie-80gb": ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        "h100-sxm5-80gb": ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        "h100-nvl-94gb": ("1g.12gb", "1g.24gb", "2g.24gb", "3g.47gb", "4g.47gb", "7g.94gb"),
        "h200-sxm-141gb": ("1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
    }.items():
        for label in slices:
            assert load_profile(f"{name}-mig-{label}").hardware.devices[0].mig == label


def test_a_process_can_use_one_slice_only() -> None:
    with pytest.raises(UsageError, match="one MIG slice") as caught:
        load_profile("2x a100-pcie-80gb-mig-1g.10gb")
    assert "larger slice" in (caught.value.hint or "")


def test_a_slice_that_the_card_does_not_offer_is_refused_with_those_it_does() -> None:
    with pytest.raises(UsageError) as caught:
        load_profile("a100-pcie-80gb-mig-1g.5gb")
    assert "1g.10gb, 1g.20gb, 2g.20gb" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SLICED.replace('source = "a guide"', ""), "[mig] source is missing"),
        (SLICED.replace("memory_parts = 1,", ""), "[mig.slices.1g.1gb] memory_parts is missing"),
        (SLICED.replace("n_multiprocessors = 100", ""), "needs the card's n_multiprocessors"),
        (SLICED[: SLICED.index("[mig.slices]")], "[mig] needs a table of slices"),
    ],
)
def test_a_faulty_table_of_slices_is_refused(text: str, problem: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_profile("made-up", tomllib.loads(text), "-mig-1g.1gb")
    assert problem in caught.value.message


# ---- memory sizes

MAC = """
description = "Mac"
source = "a page"
[memory]
sizes_gib = [16, 64]
default_gib = 16
system_gib = 3
gpu_share = "metal"
[host]
cpu = "Chip"
os = "darwin"
machine = "arm64"
n_cores_physical = 8
n_threads_logical = 8
isa = ["neon"]
memory_bandwidth_gb_s = 100
[gpu]
backend = "metal"
unified = true
reserved_mib = 0
memory_bandwidth_gb_s = 100
"""


def test_a_mac_with_more_memory_gives_its_gpu_the_share_that_metal_does() -> None:
    """llama.cpp logs 10,922 MiB on a Mac of 16 GB and 49,152 on one of 64."""
    small = parse(MAC).hardware
    large = parse_profile("made-up", tomllib.loads(MAC), "-64gb").hardware

    assert (small.name, large.name) == ("made-up", "made-up-64gb")
    assert small.devices[0].total_bytes == 10922 * MiB
    assert large.devices[0].total_bytes == 49152 * MiB
    assert (small.host.total_bytes, small.host.available_bytes) == (16 * GiB, 13 * GiB)
    assert (large.host.total_bytes, large.host.available_bytes) == (64 * GiB, 61 * GiB)
    assert large.devices[0].unified


def test_the_default_size_has_two_names() -> None:
    chip, sized = load_profile("apple-m3-max"), load_profile("apple-m3-max-64gb")
    assert chip.hardware.devices == sized.hardware.devices
    assert chip.hardware.host == sized.hardware.host


def test_a_size_that_is_not_sold_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError) as caught:
        load_profile("apple-m3-max-100gb")
    assert "apple-m3-max-128gb" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MAC.replace("[16, 64]", "16"), "sizes_gib must be a list of whole numbers"),
        (MAC.replace("[16, 64]", "[]"), "sizes_gib must be a list of whole numbers"),
        (MAC.replace("default_gib = 16", "default_gib = 32"), "default_gib 32 is not among"),
        (MAC.replace("unified = true", ""), "gpu_share needs one unified [gpu]"),
        (MAC + "total_mib = 8192", "gpu_share needs one unified [gpu] without total_mib"),
        (MAC.replace('cpu = "Chip"', 'cpu = "Chip"\ntotal_gib = 8'), "needs a [host] without"),
        (MAC.replace('"metal"\n[host]', '"all"\n[host]'), "gpu_share must be one of"),
    ],
)
def test_a_faulty_table_of_sizes_is_refused(text: str, problem: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse(text)
    assert problem in caught.value.message


# ---- machines of several cards


def test_cards_are_so_many_of_another_profile_with_a_link() -> None:
    alone, pair = load_profile("a100-pcie-80gb"), load_profile("a100-pcie-80gb-nvlink-pair")

    assert pair.kind == "machine"
    assert [device.name for device in pair.hardware.devices] == ["CUDA0", "CUDA1"]
    assert alone.hardware.devices[0].nvlink_gb_s is None, "sold without a bridge"
    assert {device.nvlink_gb_s for device in pair.hardware.devices} == {600}
    assert pair.hardware.devices[0].free_bytes == alone.hardware.devices[0].free_bytes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('host = "desktop-ddr5"\n[cards]\nprofile = "rtx-4090"\ncount = 1', "count is 1"),
        ('host = "desktop-ddr5"\n[cards]\nprofile = "4090"\ncount = 2', "rtx-4090?"),
        ('host = "desktop-ddr5"\n[cards]\nprofile = "nothing"\ncount = 2', "no profile is called"),
        ('host = "desktop-ddr5"\n[cards]\nprofile = "epyc-9654"\ncount = 2', "counts a GPU"),
    ],
)
def test_faulty_cards_are_refused(text: str, problem: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse('description = "x"\nsource = "y"\n' + text)
    assert problem in caught.value.message
