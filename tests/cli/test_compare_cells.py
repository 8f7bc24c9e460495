"""The sentences under a comparison: what loses much is named, with what helps against it."""

from __future__ import annotations

from tests.cli.conftest import Command

LONG = ("--kv", "q4_0", "-c", "max", "--hardware", "rtx-4090")


def test_a_large_loss_by_the_cache_is_not_blamed_on_the_weights(localllm: Command) -> None:
    by_cache = " ".join(localllm("compare", "llama-3.1-8b", "--quant", "Q4_K_M", *LONG).out.split())
    assert "the q4_0 KV cache at 131,072 tokens loses much" in by_cache
    assert "--kv q8_0 loses less" in by_cache
    assert "a smaller model" not in by_cache


def test_a_large_loss_by_the_weights_is_one_of_the_quantisation(localllm: Command) -> None:
    arguments = ("compare", "llama-3.1-8b", "--quant", "IQ2_XXS", "--hardware", "rtx-4090")
    by_weights = " ".join(localllm(*arguments).out.split())
    assert "IQ2_XXS loses much" in by_weights
    assert "a smaller model in more bits answers better" in by_weights
