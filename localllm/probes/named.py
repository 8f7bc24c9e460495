"""Machines put together from names: ``--hardware NAME``, given once or several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localllm.core.hardware import Hardware
from localllm.errors import UsageError
from localllm.probes.profiles import load_profile, number_devices, ram_note
from localllm.probes.saved import load_hardware


def named_hardware(names: Sequence[str]) -> Hardware:
    """Return the machine that one or more names describe.

    A name is a profile (``rtx-4090``, ``2x rtx-3090``) or the path of a saved machine. Several GPU
    profiles make one machine with all of them, in the order given; at most one host profile beside
    them replaces the plain desktop they sit in. Raises UsageError for names that do not combine.
    """
    if not names:
        raise UsageError("No hardware was named.")
    if len(names) == 1:
        return _one(names[0])
    for name in names:
        if _is_file(name):
            raise UsageError(f"{name} is a whole machine: it does not combine with other hardware.")
    profiles = [load_profile(name) for name in names]
    hosts = [profile for profile in profiles if profile.kind == "host"]
    machines = [profile for profile in profiles if profile.kind == "machine"]
    if machines or len(hosts) > 1:
        two = machines[0].name if machines else " and ".join(host.name for host in hosts)
        raise UsageError(
            f"{two} cannot be combined with other hardware.",
            hint="Name any number of GPUs and at most one host.",
        )
    gpus = [profile for profile in profiles if profile.kind == "gpu"]
    base = (hosts or gpus)[0].hardware
    label = " + ".join(profile.name for profile in [*gpus, *hosts])
    about_ram = {ram_note(profile.hardware.host) for profile in profiles}
    notes = [note for p in profiles for note in p.hardware.notes if note not in about_ram]
    return replace(
        base,
        name=label,
        source=f"profile {label}",
        devices=number_devices([device for gpu in gpus for device in gpu.hardware.devices]),
        notes=tuple(dict.fromkeys([*notes, ram_note(base.host)])),
    )


def _one(name: str) -> Hardware:
    return load_hardware(Path(name)) if _is_file(name) else load_profile(name).hardware


def _is_file(name: str) -> bool:
    return name.lower().endswith(".json") or ("/" in name and Path(name).is_file())
