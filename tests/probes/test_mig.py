from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localllm.probes.mig import profile_name
from localllm.units import GiB, MiB
from tests.support.fake_nvml import FakeDriver, Scenario, Values, a100_with_mig, rtx_4090
from tests.support.trees import cpu_files, plant

SLICE_1G = "MIG-11111111-aaaa-5555-9999-000000000001"
SLICE_3G = "MIG-22222222-aaaa-5555-9999-000000000002"


def detect(
    driver: FakeDriver,
    root: Path,
    gpu: Values,
    env: dict[str, str] | None = None,
    engine: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    plant(root, cpu_files(4))
    return driver.detect(Scenario(gpus=(gpu,)), root=root, env=env, engine=engine)


def cuda_slice(total_bytes: int) -> dict[str, Any]:
    """A slice as llama.cpp lists it: under the address of its card."""
    return {
        "name": "CUDA0",
        "description": "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "type": "gpu",
        "total_bytes": total_bytes,
        "free_bytes": total_bytes,
        "device_id": "0000:07:00.0",
    }


def test_a_divided_card_is_listed_with_its_slices_and_only_they_are_usable(
    driver: FakeDriver, root: Path
) -> None:
    document = detect(driver, root, a100_with_mig())

    card, small, large = document["devices"]
    assert (card["mig"], card["visible"], card["backend"]) == ("enabled", False, "none")
    assert (small["mig"], small["uuid"]) == ("1g.10gb", SLICE_1G)
    assert (small["total_bytes"], small["free_bytes"]) == (9728 * MiB, (9728 - 13) * MiB)
    assert (large["mig"], large["total_bytes"]) == ("3g.40gb", 40192 * MiB)
    assert (small["n_multiprocessors"], large["n_multiprocessors"]) == (14, 42)
    assert any("divided into 2 slices (MIG)" in note for note in document["notes"])


def test_a_slice_has_its_share_of_the_bandwidth_and_no_power_limit_of_its_own(
    driver: FakeDriver, root: Path
) -> None:
    card, small, large = detect(driver, root, a100_with_mig())["devices"]

    # 1593 MHz x 2 x 5120 bits / 8 = 2039 GB/s, of which 1 and 4 eighths.
    assert card["memory_bandwidth_gb_s"] == pytest.approx(2039, rel=0.001)
    assert small["memory_bandwidth_gb_s"] == pytest.approx(2039 / 8, rel=0.001)
    assert large["memory_bandwidth_gb_s"] == pytest.approx(2039 / 2, rel=0.001)
    assert small["power_limit_w"] is None
    assert small["unknown"]["power_limit_w"] == "power is that of the whole card"
    assert card["power_limit_w"] == 400.0


@pytest.mark.parametrize(
    "changes",
    [{"mig_mode": 0}, {"code.nvmlDeviceGetMigMode": 3}, {"code.nvmlDeviceGetMigMode": 13}],
    ids=["off", "not supported", "old driver"],
)
def test_a_card_that_is_whole_is_one_device(
    driver: FakeDriver, root: Path, changes: Values
) -> None:
    (device,) = detect(driver, root, a100_with_mig(**changes))["devices"]

    assert (device["mig"], device["visible"], device["unknown"]) == (None, True, {})


def test_mig_mode_without_a_slice_says_that_cuda_cannot_use_the_card(
    driver: FakeDriver, root: Path
) -> None:
    gpu = rtx_4090(**{"mig_mode": 1, "mig.places": 7})

    document = detect(driver, root, gpu)

    assert [device["visible"] for device in document["devices"]] == [False]
    assert any("in MIG mode without a slice" in note for note in document["notes"])


def test_slices_that_may_not_be_read_are_reported(driver: FakeDriver, root: Path) -> None:
    gpu = a100_with_mig(**{"code.nvmlDeviceGetMigDeviceHandleByIndex": 4})

    notes = detect(driver, root, gpu)["notes"]

    assert any("MIG slices could not all be read: needs administrator" in note for note in notes)


def test_a_slice_whose_name_does_not_tell_is_named_by_its_share(
    driver: FakeDriver, root: Path
) -> None:
    gpu = a100_with_mig(**{"mig.0.name": "NVIDIA A100", "mig.3.name": "NVIDIA A100"})

    _, small, large = detect(driver, root, gpu)["devices"]

    assert (small["mig"], large["mig"]) == ("1g.10gb", "3g.40gb")


@pytest.mark.parametrize(
    ("card_gib", "slice_mib", "gpu_slices", "compute_slices", "name"),
    [
        (40, 4864, 1, 1, "1g.5gb"),
        (40, 20096, 3, 3, "3g.20gb"),
        (40, 20096, 3, 1, "1c.3g.20gb"),
        (80, 9728, 1, 1, "1g.10gb"),
        (80, 81152, 7, 7, "7g.80gb"),
    ],
)
def test_profile_names_follow_nvidias_rule(
    card_gib: int, slice_mib: int, gpu_slices: int, compute_slices: int, name: str
) -> None:
    assert name == profile_name(
        card_bytes=card_gib * GiB,
        slice_bytes=slice_mib * MiB,
        gpu_slices=gpu_slices,
        compute_slices=compute_slices,
    )


def test_a_slice_that_llama_cpp_lists_under_its_cards_address_is_found_by_its_memory(
    driver: FakeDriver, root: Path
) -> None:
    env = {"CUDA_VISIBLE_DEVICES": SLICE_3G}

    document = detect(driver, root, a100_with_mig(), env, [cuda_slice(40192 * MiB)])

    used, card, other = document["devices"]
    assert (used["name"], used["uuid"], used["mig"]) == ("CUDA0", SLICE_3G, "3g.40gb")
    assert (used["backend"], used["visible"]) == ("cuda", True)
    assert (card["mig"], card["visible"]) == ("enabled", False)
    assert (other["mig"], other["visible"]) == ("1g.10gb", False)


@pytest.mark.parametrize("entry", ["0", SLICE_1G, "MIG-1111", "GPU-aaaa"])
def test_naming_a_card_or_its_first_slice_shows_the_first_slice(
    driver: FakeDriver, root: Path, entry: str
) -> None:
    env = {"CUDA_VISIBLE_DEVICES": entry}

    devices = detect(driver, root, a100_with_mig(), env)["devices"]

    assert [d["mig"] for d in devices if d["visible"]] == ["1g.10gb"]
