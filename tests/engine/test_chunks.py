from __future__ import annotations

import pytest

from localllm.engine.chunks import prompt_chunk

LLAMA_8B = {"n_embd": 4096, "n_ff": 14336}


def test_gpus_get_whole_micro_batches() -> None:
    assert prompt_chunk(0, n_max=512, n_threads=None, **LLAMA_8B) == 512


@pytest.mark.parametrize("n_threads", [1, 2, 4, 8, 16, 64])
@pytest.mark.parametrize("position", [0, 1000, 8000, 131_072])
@pytest.mark.parametrize("n_max", [1, 8, 32, 512, 2048])
def test_a_chunk_fits_the_micro_batch_and_is_never_empty(
    n_threads: int, position: int, n_max: int
) -> None:
    chunk = prompt_chunk(position, n_max=n_max, n_threads=n_threads, **LLAMA_8B)
    assert 1 <= chunk <= n_max


def test_more_threads_never_mean_smaller_chunks_and_more_context_never_larger_ones() -> None:
    by_threads = [prompt_chunk(0, n_max=512, n_threads=n, **LLAMA_8B) for n in range(1, 65)]
    assert by_threads == sorted(by_threads)
    by_position = [prompt_chunk(p, n_max=512, n_threads=8, **LLAMA_8B) for p in range(0, 10**5, 99)]
    assert by_position == sorted(by_position, reverse=True)


def test_a_tiny_model_reads_its_prompt_in_whole_micro_batches() -> None:
    assert prompt_chunk(0, n_max=512, n_embd=256, n_ff=1024, n_threads=1) == 512


def test_an_8b_model_on_two_cores_is_heard_between_small_chunks() -> None:
    assert prompt_chunk(0, n_max=512, n_threads=2, **LLAMA_8B) in (64, 96)
