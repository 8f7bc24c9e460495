from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from localllm.errors import IntegrityError, NotFoundError, UsageError
from localllm.probes.named import named_hardware
from localllm.probes.profiles import load_profile, parse_profile, profile_names
from localllm.units import GiB, MiB

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hardware"

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


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_in_the_repository_is_sound(name: str) -> None:
    profile = load_profile(name)

    assert profile.name == name
    assert profile.source
    assert profile.hardware.source == f"profile {name}"
    assert profile.hardware.host.memory_bandwidth_gb_s
    for device in profile.hardware.devices:
        assert device.total_bytes is not None
        assert device.free_bytes is not None
        assert device.reserved_bytes is not None
        assert device.free_bytes + device.reserved_bytes == device.total_bytes
        assert device in profile.hardware.usable_devices


def test_the_profiles_of_the_design_are_there() -> None:
    assert {
        *("rtx-4090", "rtx-3090", "rtx-3060-12gb", "rtx-4060-ti-16gb", "rtx-5090"),
        *("a100-pcie-40gb", "a100-pcie-80gb", "a100-sxm4-80gb", "h100-pcie-80gb"),
        *("h100-sxm5-80gb", "desktop-ddr4", "desktop-ddr5", "epyc-9654"),
    } <= set(profile_names())


def test_memory_is_what_the_driver_reports_and_free_is_what_cuda_starts_with() -> None:
    (device,) = load_profile("rtx-4090").hardware.devices

    assert device.total_bytes == 24564 * MiB, "nvidia-smi"
    assert device.free_bytes == 24080 * MiB, "llama.cpp's total"
    assert device.overhead_bytes == (24080 - 23608) * MiB, "llama.cpp's free"
    assert (device.name, device.backend, device.compute_capability) == ("CUDA0", "cuda", (8, 9))


@pytest.mark.parametrize("name", ["2x rtx-4090", "2 x rtx-4090", " 2X rtx-4090 "])
def test_two_of_a_gpu_are_two_devices_in_one_host(name: str) -> None:
    one, two = load_profile("rtx-4090").hardware, load_profile(name)

    assert two.name == two.hardware.name == "2x rtx-4090"
    assert [device.name for device in two.hardware.devices] == ["CUDA0", "CUDA1"]
    assert two.hardware.host == one.host
    assert len({device.total_bytes for device in (*one.devices, *two.hardware.devices)}) == 1


def test_one_of_a_gpu_is_the_gpu() -> None:
    assert load_profile("1x rtx-4090") == load_profile("rtx-4090")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx4090", "rtx-4090"),
        ("RTX-4090", "rtx-4090"),
        ("a100-80gb", "a100-pcie-80gb"),
        ("2x rtx4090", "rtx-4090"),
        ("zzz", "desktop-ddr5"),
        ("../desktop-ddr5", "desktop-ddr5"),
        ("", "rtx-4090"),
    ],
)
def test_an_unknown_name_offers_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_profile(name)

    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 2


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
        (GPU.replace("desktop-ddr5", "castle"), "no host profile is called 'castle'"),
        (GPU.replace("desktop-ddr5", "rtx-4090"), "'rtx-4090' is a gpu, not a host"),
        (GPU.replace('host = "desktop-ddr5"', ""), "needs a [host] table"),
        (GPU.replace("[gpu]", "[[gpu]]") + "[[gpu]]", "backend is missing"),
        (GPU + 'compute_capability = "89"', "must look like 8.9"),
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


# ---- several names, one machine


def test_gpus_of_several_names_are_one_machine_in_the_order_given() -> None:
    hardware = named_hardware(["rtx-3090", "2x rtx-4090"])

    assert hardware.name == "rtx-3090 + 2x rtx-4090"
    assert [(d.name, d.description[-4:]) for d in hardware.devices] == [
        ("CUDA0", "3090"),
        ("CUDA1", "4090"),
        ("CUDA2", "4090"),
    ]


def test_a_host_beside_gpus_replaces_the_one_they_sit_in() -> None:
    hardware = named_hardware(["rtx-3090", "desktop-ddr4"])

    assert hardware.host == load_profile("desktop-ddr4").hardware.host
    assert [note for note in hardware.notes if "RAM is assumed" in note] == [
        "a profile's RAM is assumed: 32.0 GiB, of which 28.0 GiB are available"
    ]


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["desktop-ddr4", "desktop-ddr5"],
        ["rtx-4090", str(FIXTURES / "two-gpus.json")],
        ["rtx-4090", "nonsense"],
    ],
)
def test_names_that_do_not_combine_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError):
        named_hardware(names)


def test_a_single_name_is_a_profile_or_a_saved_machine() -> None:
    assert named_hardware(["rtx-4090"]) == load_profile("rtx-4090").hardware
    assert len(named_hardware([str(FIXTURES / "two-gpus.json")]).devices) == 2
    with pytest.raises(NotFoundError):
        named_hardware(["missing.json"])
