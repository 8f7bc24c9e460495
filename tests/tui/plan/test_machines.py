"""Machines by what a person writes: words, counts, several parts."""

from __future__ import annotations

import pytest

from localllm.session import hardware_named, hardware_names
from localllm.tui.plan.machines import SUGGESTED, found, one_more, profile, sought

NAMES = (
    *("a100-pcie-80gb", "a100-pcie-80gb-mig-1g.10gb", "apple-m3-max", "desktop-ddr5"),
    *("rtx-3090", "rtx-3090-ti", "rtx-4090"),
)
PROFILES = tuple(profile(name, hardware_named(name)) for name in NAMES)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("3090", ["rtx-3090", "rtx-3090-ti"]),
        ("RTX 30-90 ti", ["rtx-3090-ti"]),
        ("geforce 4090", ["rtx-4090"]),
        ("a100", ["a100-pcie-80gb"]),
        ("a100 mig", ["a100-pcie-80gb-mig-1g.10gb"]),
        ("2 x 4090", ["rtx-4090"]),
        ("rtx-3090 + m3max", ["apple-m3-max"]),
        ("voodoo", []),
    ],
)
def test_every_word_must_be_in_the_name_or_the_product(text: str, names: list[str]) -> None:
    assert [each.name for each in found(sought(text), PROFILES)] == names


def test_without_words_the_usual_ones_come_first_and_no_slices() -> None:
    names = [each.name for each in found(sought(""), PROFILES)]
    assert names[:3] == ["a100-pcie-80gb", "rtx-4090", "apple-m3-max"]
    assert len(names) == len(NAMES) - 1
    assert set(SUGGESTED) <= set(hardware_names())


def test_counts_and_parts_make_the_names_of_a_machine() -> None:
    assert sought("2x 40").names("rtx-4090") == ("2x rtx-4090",)
    assert sought("2x rtx-4090 + epyc").names("epyc-9654") == ("2x rtx-4090", "epyc-9654")
    assert one_more(("rtx-4090",)) == ("2x rtx-4090",)
    assert one_more(("3x rtx-4090",)) == ("4x rtx-4090",)
    assert one_more(("rtx-4090", "epyc-9654")) is one_more(()) is None


def test_the_figures_are_those_of_what_computes() -> None:
    figures = {each.name: (each.memory, each.bandwidth) for each in PROFILES}
    assert figures["rtx-4090"] == ("24.0 GiB VRAM", "1,008 GB/s")
    assert figures["apple-m3-max"][0].endswith("RAM, shared")
    assert figures["desktop-ddr5"] == ("64.0 GiB RAM", "90 GB/s")
