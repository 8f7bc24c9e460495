from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from localllm.core.generation import EngineDevice
from localllm.core.hardware import Device
from localllm.probes.merge import backend_of, merge
from localllm.units import GiB

CPU = EngineDevice(name="CPU", description="EPYC", type="cpu", total_bytes=1, free_bytes=1)


def nvidia(index: int, pci_id: str | None, **changes: object) -> Device:
    device = Device(
        name=f"nvidia{index}",
        description="NVIDIA GeForce RTX 3090",
        kind="gpu",
        backend="none",
        total_bytes=24 * GiB,
        free_bytes=23 * GiB,
        reserved_bytes=1 * GiB,
        pci_id=pci_id,
        uuid=f"GPU-{index}",
    )
    return replace(device, **changes)  # type: ignore[arg-type]


def engine(
    name: str,
    device_id: str | None = None,
    *,
    description: str = "NVIDIA GeForce RTX 3090",
    kind: str = "gpu",
    total_bytes: int = 24 * GiB,
) -> EngineDevice:
    return EngineDevice(
        name=name,
        description=description,
        type="igpu" if kind == "igpu" else "gpu",
        total_bytes=total_bytes,
        free_bytes=total_bytes - GiB // 2,
        device_id=device_id,
    )


def names(
    found: Sequence[Device], listed: Sequence[EngineDevice] | None, env: Mapping[str, str] = {}
) -> list[tuple[str, str | None, str]]:
    devices, _ = merge(found, listed, env)
    return [(device.name, device.uuid, device.backend) for device in devices]


A, B = "0000:21:00.0", "0000:c1:00.0"


def test_llama_cpps_order_and_names_win_and_cards_are_matched_by_address() -> None:
    found = [nvidia(0, A), nvidia(1, B)]

    assert names(found, [CPU, engine("CUDA0", B), engine("CUDA1", A)]) == [
        ("CUDA0", "GPU-1", "cuda"),
        ("CUDA1", "GPU-0", "cuda"),
    ]


def test_nvmls_memory_wins_because_it_is_read_without_a_context() -> None:
    (device,), notes = merge([nvidia(0, A)], [engine("CUDA0", A)], {})

    assert (device.free_bytes, device.reserved_bytes) == (23 * GiB, 1 * GiB)
    assert notes == ()


def test_llama_cpp_fills_what_the_driver_would_not_tell() -> None:
    silent = nvidia(
        0, A, total_bytes=None, free_bytes=None, reserved_bytes=None, unknown={"total_bytes": "x"}
    )

    (device,), _ = merge([silent], [engine("CUDA0", A)], {})

    assert (device.total_bytes, device.free_bytes) == (24 * GiB, 24 * GiB - GiB // 2)
    assert "total_bytes" not in device.unknown
    assert "reserved_bytes" in device.unknown


def test_virtual_devices_of_one_card_share_it_under_llama_cpps_figures() -> None:
    listed = [
        engine("CUDA0", A, total_bytes=12 * GiB),
        engine("CUDA1", f"{A}-v1", total_bytes=12 * GiB),
    ]

    devices, _ = merge([nvidia(0, A)], listed, {})

    assert [(d.name, d.uuid, d.total_bytes) for d in devices] == [
        ("CUDA0", "GPU-0", 12 * GiB),
        ("CUDA1", "GPU-0", 12 * GiB),
    ]


def test_a_second_backends_view_of_a_card_is_dropped_as_llama_cpp_does() -> None:
    listed = [engine("CUDA0", A), engine("Vulkan0", A), engine("Vulkan1", B)]

    assert [row[0] for row in names([nvidia(0, A)], listed)] == ["CUDA0", "Vulkan1"]


def test_a_vulkan_build_uses_an_nvidia_card_as_vulkan() -> None:
    assert names([nvidia(0, A)], [engine("Vulkan0", A)]) == [("Vulkan0", "GPU-0", "vulkan")]


def test_devices_that_only_llama_cpp_sees_are_kept_with_its_figures() -> None:
    listed = [
        engine("RPC0[10.0.0.2:50052]", description="RPC"),
        engine("Vulkan0", "0000:00:02.0", description="Intel Arc", kind="igpu"),
    ]

    (remote, integrated), notes = merge([], listed, {})

    assert (remote.backend, remote.pci_id, remote.unified) == ("rpc", None, False)
    assert (integrated.kind, integrated.unified) == ("igpu", True)
    assert integrated.unknown["uuid"] == "known to llama.cpp only"
    assert notes == ()


def test_a_device_without_an_address_pairs_with_the_only_one_of_its_maker() -> None:
    apple = replace(nvidia(0, None), name="apple0", description="Apple M3 Max GPU", unified=True)
    apple = replace(apple, unknown={"total_bytes": "estimated"})

    (device,), _ = merge([apple], [engine("MTL0", None, description="Apple M3 Max")], {})

    assert (device.name, device.backend) == ("MTL0", "metal")
    assert device.total_bytes == 24 * GiB, "Metal alone knows its working set"
    assert "total_bytes" not in device.unknown


def test_two_devices_without_an_address_are_not_paired_by_index() -> None:
    found = [nvidia(0, A), nvidia(1, B)]

    devices, _ = merge(found, [engine("CUDA0", None)], {})

    assert [device.uuid for device in devices] == [None, "GPU-0", "GPU-1"]


def test_a_cpu_build_on_a_gpu_machine_is_never_silent() -> None:
    (device,), notes = merge([nvidia(0, A)], [CPU], {})

    assert (device.backend, device.visible) == ("none", True)
    assert notes == (
        "llama.cpp was built for the CPU only, so NVIDIA GeForce RTX 3090 is not used: "
        "run LOCALLLM_BACKEND=cuda ./scripts/localllm doctor",
    )


def test_a_build_with_rpc_alone_still_has_no_gpu() -> None:
    _, notes = merge([nvidia(0, A)], [CPU, engine("RPC0", description="RPC")], {})

    assert "built for the CPU only" in notes[0]


def test_a_card_that_cuda_does_not_list_is_explained() -> None:
    devices, notes = merge([nvidia(0, A), nvidia(1, B)], [engine("CUDA0", A)], {})

    assert [(device.backend, device.visible) for device in devices] == [
        ("cuda", True),
        ("none", True),
    ]
    assert "does not list" in notes[0]


@pytest.mark.parametrize("value", ["0", "GPU-0"])
def test_a_hidden_card_names_the_variable_that_hides_it(value: str) -> None:
    env = {"CUDA_VISIBLE_DEVICES": value}

    devices, notes = merge([nvidia(0, A), nvidia(1, B)], [engine("CUDA0", A)], env)

    assert [device.visible for device in devices] == [True, False]
    assert notes == (f"NVIDIA GeForce RTX 3090 is hidden by CUDA_VISIBLE_DEVICES={value}",)


def test_among_unlike_cards_llama_cpp_decides_which_one_a_number_means() -> None:
    fast = nvidia(1, B, description="NVIDIA GeForce RTX 4090")

    devices, notes = merge(
        [nvidia(0, A), fast], [engine("CUDA0", B)], {"CUDA_VISIBLE_DEVICES": "0"}
    )

    assert [(d.uuid, d.visible) for d in devices] == [("GPU-1", True), ("GPU-0", False)]
    assert notes == ("NVIDIA GeForce RTX 3090 is hidden by CUDA_VISIBLE_DEVICES=0",)


def test_all_cards_hidden_is_not_mistaken_for_a_cpu_build() -> None:
    (device,), notes = merge([nvidia(0, A)], [CPU], {"CUDA_VISIBLE_DEVICES": ""})

    assert device.visible is False
    assert notes == ("NVIDIA GeForce RTX 3090 is hidden by CUDA_VISIBLE_DEVICES=",)


def test_an_amd_card_that_rocm_does_not_list_is_hidden_by_its_variable() -> None:
    amd = replace(nvidia(0, A), name="amd0", description="RX 7900 XTX")
    other = replace(amd, name="amd1", pci_id=B)

    devices, notes = merge([amd, other], [engine("ROCm0", B)], {"HIP_VISIBLE_DEVICES": "1"})

    assert [device.visible for device in devices] == [True, False]
    assert notes == ("RX 7900 XTX is hidden by HIP_VISIBLE_DEVICES=1",)


def test_integrated_graphics_beside_a_gpu_are_listed_without_a_word() -> None:
    igpu = replace(nvidia(0, B), name="amd0", kind="igpu", unified=True)

    devices, notes = merge([nvidia(0, A), igpu], [engine("CUDA0", A)], {})

    assert [device.backend for device in devices] == ["cuda", "none"]
    assert notes == ()


def test_an_unusable_card_is_not_blamed_on_the_build() -> None:
    _, notes = merge([nvidia(0, A, visible=False)], [CPU], {})

    assert notes == ()


def test_without_asking_llama_cpp_cards_are_assumed_usable_and_that_is_said() -> None:
    devices, notes = merge([nvidia(0, A)], None, {})

    assert [(device.name, device.backend) for device in devices] == [("nvidia0", "cuda")]
    assert notes == ("llama.cpp was not asked which devices it can use: all are assumed usable",)


def test_without_asking_llama_cpp_unclear_numbers_are_said_to_be_unclear() -> None:
    fast = nvidia(1, B, description="NVIDIA GeForce RTX 4090")

    _, notes = merge([nvidia(0, A), fast], None, {"CUDA_VISIBLE_DEVICES": "0"})

    assert "which ones shows when llama.cpp is asked" in notes[0]


def test_a_machine_without_devices_has_nothing_to_assume() -> None:
    assert merge([], None, {}) == ((), ())


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("CUDA0", "cuda"),
        ("ROCm1", "rocm"),
        ("MTL0", "metal"),
        ("Metal", "metal"),
        ("Vulkan0", "vulkan"),
        ("RPC0[10.0.0.2:50052]", "rpc"),
        ("SYCL0", "other"),
    ],
)
def test_backends_are_known_by_their_devices_names(name: str, backend: str) -> None:
    assert backend_of(name) == backend
