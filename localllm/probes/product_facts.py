"""What a product is known for and no driver tells: memory type, arithmetic, idle power.

A detected device takes them from the profile of the same product; several profiles may share a
description (8 and 12 GB, 30 and 40 cores), so memory, compute capability, multiprocessors and
bandwidth must not contradict, and where several remain only what all of them say is taken. What a
probe has read is never replaced. Without a profile, an NVIDIA GPU's compute capability still tells
HBM from GDDR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from localllm.core.hardware import Device, Host
from localllm.probes.profile_names import profile_texts, read_profile
from localllm.probes.profile_variants import slice_variant, variants
from localllm.probes.profiles import parse_profile
from localllm.units import GiB

_Table = dict[str, Any]

_ARITHMETIC = ("fp32_tflops", "fp16_tflops", "int8_tops", "fp8_tflops", "fp4_tflops")
_PLAIN = ("memory_type", "idle_power_w", "compute_capability", "arch", "n_multiprocessors")
_MEMORY_TOLERANCE = 0.10
"""nvidia-smi, CUDA and Vulkan leave out different parts of a card; ECC takes a sixteenth."""
_OPTIONAL = frozenset({"nvidia", "amd", "intel", "tesla", "gpu", "graphics"})
"""Drivers add and leave these out: ``Tesla T4``, ``NVIDIA Tesla T4``; ``Apple M3 Max GPU``."""
_DESCRIPTION = re.compile(r'^description = "([^"\n]+)"', re.MULTILINE)

_HBM_CAPABILITIES = frozenset({(6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (10, 3)})
"""GP100, GV100, GA100, GH100, GB100, GB300: NVIDIA's data centre chips, all with HBM."""
_SHARED_CAPABILITIES = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0), (12, 1)})
"""Jetson, Thor and GB10: the memory is the board's own."""


def with_product_facts(devices: Sequence[Device], host: Host) -> tuple[Device, ...]:
    """Return the devices with what their products are known for, where nothing was read.

    ``host`` tells Macs of one chip apart by their memory. Costs nothing without devices; else the
    profiles are scanned for the description and only those of the product are parsed.
    """
    texts = dict(profile_texts()) if devices else {}
    return tuple(_completed(device, host, texts) for device in devices)


def _completed(device: Device, host: Host, texts: Mapping[str, str]) -> Device:
    cards = _profiles_of(device, host, texts)
    facts = [_facts(device, card) for card in cards]
    agreed = {
        key: value
        for key, value in (facts[0] if facts else {}).items()
        if value is not None
        and getattr(device, key) is None
        and all(other.get(key) == value for other in facts)
    }
    if "memory_bandwidth_gb_s" in agreed:
        agreed["memory_bandwidth_basis"] = cards[0].memory_bandwidth_basis
    if device.memory_type is None and not cards:
        agreed |= _memory_type_of_chip(device)
    if not agreed:
        return device
    unknown = {key: why for key, why in device.unknown.items() if key not in agreed}
    return replace(device, **agreed, unknown=unknown)


def _facts(device: Device, card: Device) -> _Table:
    """Return what a profile's card says of a device that may be a part of it."""
    whole = _is_slice(device) and card.mig is None
    facts: _Table = {key: getattr(card, key) for key in _PLAIN}
    facts["memory_bandwidth_gb_s"] = card.memory_bandwidth_gb_s
    if whole:  # a slice that the profile does not list
        for key in ("memory_bandwidth_gb_s", "n_multiprocessors", "idle_power_w"):
            facts[key] = None
    have, full = device.n_multiprocessors, card.n_multiprocessors
    if whole and not (have and full):
        return facts
    share = have / full if have and full else 1.0
    for key in _ARITHMETIC:
        figure = getattr(card, key)
        # A chip with fewer units switched on does less by as much, at the same clock.
        scaled = figure if figure is None or share == 1 else round(figure * share, 2)
        facts[key] = scaled
    return facts


def _profiles_of(device: Device, host: Host, texts: Mapping[str, str]) -> list[Device]:
    """Return the cards of the profiles that may be this device, or nothing."""
    product, _, _ = device.description.partition(" MIG ")
    words = product_words(product)
    found = []
    for name, data in _files_about(words, texts):
        variant = slice_variant(device.mig) if device.mig and _is_slice(device) else ""
        variant = variant if variant in variants(data) else ""
        for card in parse_profile(name, data, variant).hardware.devices[:1]:
            same = product_words(card.description.partition(" MIG ")[0]) == words
            if same and _may_be(device, card):
                found.append((card, _memory_sizes(data)))
    with_size = [card for card, sizes in found if any(_close(s, host.total_bytes) for s in sizes)]
    cards = [card for card, _ in found]
    if device.unified and with_size:
        cards = with_size
    if device.n_multiprocessors is not None:
        exact = [card for card in cards if card.n_multiprocessors == device.n_multiprocessors]
        cards = exact or cards
    measured = device.memory_bandwidth_gb_s
    if measured is not None and len(cards) > 1:

        def distance(card: Device) -> float:
            return abs((card.memory_bandwidth_gb_s or 0.0) - measured)

        least = min(map(distance, cards))
        cards = [card for card in cards if distance(card) == least]
    return cards


def _may_be(device: Device, card: Device) -> bool:
    for key in ("compute_capability", "arch"):
        ours, theirs = getattr(device, key), getattr(card, key)
        if ours is not None and theirs is not None and ours != theirs:
            return False
    if device.unified or card.unified or _is_slice(device):
        return True  # its memory is the host's, or a part of the card's
    if device.total_bytes is None or card.total_bytes is None:
        return True
    return _close(card.total_bytes, device.total_bytes)


def _close(known_bytes: int, read_bytes: int) -> bool:
    return abs(known_bytes - read_bytes) <= _MEMORY_TOLERANCE * known_bytes


def _is_slice(device: Device) -> bool:
    return device.mig not in (None, "enabled")


def _memory_sizes(data: _Table) -> list[int]:
    return [size * GiB for size in data.get("memory", {}).get("sizes_gib", [])]


def _memory_type_of_chip(device: Device) -> _Table:
    capability = device.compute_capability
    if capability is None or device.unified or capability in _SHARED_CAPABILITIES:
        return {}
    return {"memory_type": "HBM" if capability in _HBM_CAPABILITIES else "GDDR"}


def product_words(description: str) -> frozenset[str]:
    """Return the words of a product's name without its maker and what stands in parentheses.

    ``NVIDIA A100-PCIE-40GB`` and ``A100 PCIe 40GB`` are one product, ``AMD Radeon RX 7900 XTX (RADV
    NAVI31)`` is the plain one; ``Laptop GPU`` and ``Ti`` stay, for they are others.
    """
    text = re.sub(r"\([^)]*\)", " ", description.lower())
    return frozenset(re.findall(r"[a-z0-9.+]+", text)) - _OPTIONAL


def _files_about(words: frozenset[str], texts: Mapping[str, str]) -> Iterator[tuple[str, _Table]]:
    """Yield the parsed files in which some description is the product's; usually one."""
    for name, text in texts.items():
        if words and any(product_words(d) == words for d in _DESCRIPTION.findall(text)):
            yield name, read_profile(name)[2]
