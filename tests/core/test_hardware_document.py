from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from localllm.core.hardware import Device, Hardware, Host
from localllm.core.hardware_document import SCHEMA, hardware_document, hardware_from_document
from localllm.errors import IntegrityError, UsageError

HOST = Host(cpu="CPU", os="linux", machine="x86_64", total_bytes=2, available_bytes=1)
DEVICE = Device(
    name="CUDA0",
    description="RTX 4090",
    kind="gpu",
    backend="cuda",
    total_bytes=24,
    free_bytes=23,
    compute_capability=(8, 9),
    memory_bandwidth_gb_s=1008.0,
    unknown={"uuid": "no rights"},
)
HARDWARE = Hardware(
    name="m", source="this machine", host=HOST, devices=(DEVICE,), notes=("a note",)
)
POSSIBLE: dict[str, list[int | float]] = {
    "n_threads_logical": [1, 384],
    "n_cores_physical": [1, 192],
    "n_cores_performance": [1, 8],
    "pcie_gen": [0, 3, 8],
    "pcie_gen_max": [1, 7],
    "pcie_width": [0, 1, 32],
    "pcie_width_max": [4, 16],
    "alignment_bytes": [1, 128, 4096],
    "cpu_quota": [0.001, 1.5, 384.0],
}
"""Values of the fields that cannot have any."""


def through_json(hardware: Hardware) -> Any:
    return json.loads(json.dumps(hardware_document(hardware)))


def made_up(kind: Any, rng: random.Random) -> Any:
    """Return a random value of an annotated type."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return rng.choice(arguments)
    if type(None) in arguments:
        return None if rng.random() < 0.3 else made_up(arguments[0], rng)
    if get_origin(kind) is tuple:
        repeated = arguments[-1] is Ellipsis
        items = [arguments[0]] * rng.randrange(4) if repeated else arguments
        return tuple(made_up(item, rng) for item in items)
    if kind in (Device, Host, Hardware):
        return made_up_dataclass(kind, rng)
    if kind is str:
        return "".join(rng.choice('aé"\\\n\U0001f999 ') for _ in range(rng.randrange(5)))
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return rng.choice([0, 1, 2**40, 2**63 - 1])
    if kind is float:
        return rng.choice([0.01, 0.1, 1008.0, 1e6])
    return {made_up(str, rng): made_up(str, rng) for _ in range(rng.randrange(3))}


def made_up_dataclass(kind: Any, rng: random.Random) -> Any:
    hints = get_type_hints(kind)
    values = {field.name: made_up(hints[field.name], rng) for field in fields(kind)}
    for name, choices in POSSIBLE.items():
        if values.get(name) is not None:
            values[name] = rng.choice(choices)
    if kind is Hardware:
        devices = enumerate(values["devices"])
        values["devices"] = tuple(replace(d, name=f"{d.name}{i}") for i, d in devices)
    return kind(**values)


@pytest.mark.parametrize("seed", range(50))
def test_any_machine_survives_the_way_through_json(seed: int) -> None:
    hardware = made_up_dataclass(Hardware, random.Random(seed))

    assert hardware_from_document(through_json(hardware)) == hardware


def test_the_document_names_its_schema_first_and_holds_every_field() -> None:
    document = through_json(HARDWARE)

    assert next(iter(document.items())) == ("schema", "localllm.hardware/1")
    assert set(document) == {"schema"} | {field.name for field in fields(Hardware)}
    assert set(document["host"]) == {field.name for field in fields(Host)}
    assert set(document["devices"][0]) == {field.name for field in fields(Device)}


def test_what_a_newer_version_added_is_ignored() -> None:
    document = through_json(HARDWARE)
    document["colour"] = "red"
    document["devices"][0]["cache_bytes"] = -1

    assert hardware_from_document(document) == HARDWARE


def test_what_an_older_version_lacked_has_its_default() -> None:
    document = through_json(HARDWARE)
    del document["notes"], document["devices"][0]["unknown"], document["host"]["n_numa_nodes"]

    hardware = hardware_from_document(document)

    assert hardware.notes == ()
    assert hardware.devices[0].unknown == {}
    assert hardware.host.n_numa_nodes == 1


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("localllm.hardware/2", "this version reads localllm.hardware/1"),
        ("localllm.plan/1", "This is a localllm.plan/1 document"),
        (None, "not a saved machine"),
        (1, "not a saved machine"),
    ],
)
def test_another_kind_of_document_is_a_users_mistake(schema: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hardware_from_document(through_json(HARDWARE) | {"schema": schema})


@pytest.mark.parametrize("document", [None, [], "x", 3, {}])
def test_what_is_no_document_at_all_is_a_users_mistake(document: object) -> None:
    with pytest.raises(UsageError):
        hardware_from_document(document)


FAULTS: list[tuple[tuple[str | int, ...], object, str]] = [
    (("host",), None, "host of the saved machine must be an object"),
    (("devices",), {}, "devices of the saved machine must be a list"),
    (("devices", 0), "CUDA0", r"devices\[0\] of the saved machine must be an object"),
    (("name",), 7, "name of the saved machine must be a string"),
    (("host", "total_bytes"), "24 GiB", "host.total_bytes of .* must be a whole number"),
    (("host", "total_bytes"), 1.5, "must be a whole number"),
    (("host", "total_bytes"), None, "must be a whole number"),
    (("host", "total_bytes"), True, "must be a whole number"),
    (("host", "total_bytes"), -1, r"host\.total_bytes of the saved machine is out of range: -1"),
    (("host", "total_bytes"), 2**63, "out of range: 9223372036854775808"),
    (("host", "isa"), ["avx2", 3], r"host\.isa\[1\]"),
    (("host", "unknown"), {"isa": 3}, r"host\.unknown\.isa"),
    (("host", "unknown"), [], "must be an object"),
    (("devices", 0, "kind"), "tpu", "must be 'gpu' or 'igpu'"),
    (("devices", 0, "kind"), ["gpu"], "must be 'gpu' or 'igpu'"),
    (("devices", 0, "visible"), 1, "must be true or false"),
    (("devices", 0, "compute_capability"), [8], "must be a list of 2"),
    (("devices", 0, "compute_capability"), "8.9", "must be a list"),
    (("devices", 0, "memory_bandwidth_gb_s"), float("nan"), "out of range: nan"),
    (("devices", 0, "memory_bandwidth_gb_s"), float("inf"), "out of range: inf"),
    (("devices", 0, "memory_bandwidth_gb_s"), 10**5000, "out of range: a number of thousands"),
    (("devices", 0, "memory_bandwidth_gb_s"), 0, r"out of range: 0.0 is not within 0.01 to 1e\+06"),
    (("devices", 0, "memory_bandwidth_gb_s"), 2e9, r"devices\[0\].memory_bandwidth_gb_s of the"),
    (("devices", 0, "fp32_tflops"), 0.001, "fp32_tflops of .* out of range"),
    (("devices", 0, "fp16_tflops"), 1.0e13, "fp16_tflops of .* out of range"),  # FLOPS
    (("devices", 0, "int8_tops"), float("inf"), "int8_tops of .* out of range: inf"),
    (("devices", 0, "nvlink_gb_s"), 0.0, "nvlink_gb_s of .* out of range"),
    (("devices", 0, "power_limit_w"), 0, "power_limit_w of .* out of range"),
    (("devices", 0, "power_limit_w"), float("nan"), "power_limit_w of .* out of range: nan"),
    (("devices", 0, "idle_power_w"), 1e7, "idle_power_w of .* out of range"),
    (("devices", 0, "pcie_gen"), 9, "pcie_gen of .* out of range: 9 is not within 0 to 8"),
    (("devices", 0, "pcie_gen_max"), 16, "pcie_gen_max of .* out of range"),
    (("devices", 0, "pcie_width"), 33, "pcie_width of .* out of range: 33 is not within 0 to 32"),
    (("devices", 0, "pcie_width_max"), 64, "pcie_width_max of .* out of range"),
    (("devices", 0, "alignment_bytes"), 0, "alignment_bytes of .* out of range"),
    (("devices", 0, "name"), "host", r"devices\[0\]\.name of .* is reserved for CPU and RAM"),
    (("devices", 0, "name"), "Host", "reserved for CPU and RAM: 'Host'"),
    (("host", "n_threads_logical"), 0, r"host\.n_threads_logical of .* out of range: 0"),
    (("host", "n_cores_physical"), 0, "n_cores_physical of .* out of range: 0"),
    (("host", "memory_bandwidth_gb_s"), 0.0, r"host\.memory_bandwidth_gb_s of .* out of range"),
    (("host", "power_limit_w"), 0.0, r"host\.power_limit_w of .* out of range"),
    (("host", "cpu_quota"), 0, r"host\.cpu_quota of .* out of range"),
]


@pytest.mark.parametrize(("path", "value", "message"), FAULTS, ids=map(str, range(len(FAULTS))))
def test_a_field_of_the_wrong_type_or_range_is_refused_with_its_place(
    path: tuple[str | int, ...], value: object, message: str
) -> None:
    document = through_json(HARDWARE)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(IntegrityError, match=message) as caught:
        hardware_from_document(document)

    assert len(caught.value.message) < 200


def test_two_devices_of_one_name_are_refused_with_the_second_ones_place() -> None:
    document = through_json(HARDWARE)
    document["devices"] = [*document["devices"] * 2]

    with pytest.raises(IntegrityError, match=r"devices\[1\].name of .* that of devices\[0\]"):
        hardware_from_document(document)


@pytest.mark.parametrize("field", ["name", "source", "host"])
def test_a_missing_field_is_named(field: str) -> None:
    document = through_json(HARDWARE)
    del document[field]

    with pytest.raises(IntegrityError, match=f"lacks {field}"):
        hardware_from_document(document)


def test_a_whole_number_is_a_number() -> None:
    document = through_json(HARDWARE)
    document["devices"][0]["memory_bandwidth_gb_s"] = 1008

    bandwidth = hardware_from_document(document).devices[0].memory_bandwidth_gb_s

    assert isinstance(bandwidth, float)
    assert document["schema"] == SCHEMA
