from __future__ import annotations

import random

import pytest

from localllm.core.shares import layers_by_shares


def test_whole_layers_as_shares_come_back_as_they_are() -> None:
    rng = random.Random(0)
    for n_layers in range(1, 132):
        for n_devices in (1, 2, rng.randint(3, 15), 16):
            borders = sorted(rng.randint(0, n_layers) for _ in range(n_devices - 1))
            counts = tuple(b - a for a, b in zip([0, *borders], [*borders, n_layers], strict=True))
            assert layers_by_shares(n_layers, counts) == counts


@pytest.mark.parametrize(
    ("n_layers", "shares", "expected"),
    [
        (33, (1, 1), (17, 16)),  # a dry run of llama.cpp: 17 layers on the first card
        (81, (3, 1), (61, 20)),
        (81, (0, 1), (0, 81)),
        (81, (1, 0), (81, 0)),
        (10, (0.1, 0.1, 0.1), (4, 3, 3)),
    ],
)
def test_a_border_within_a_layer_gives_it_to_the_earlier_device(
    n_layers: int, shares: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert layers_by_shares(n_layers, shares) == expected
