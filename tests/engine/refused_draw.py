"""In a child: draw on a device that cannot do one of the sampler chain's operations."""

from __future__ import annotations

import ctypes
import itertools
import json
import os

from localllm.core.generation import Sampling
from localllm.engine.backend_rules import RULES, Rules
from localllm.engine.devices import simulated_spec
from localllm.engine.drawing import Drawing
from localllm.engine.llama import C, Log
from localllm.engine.params import context_params, model_params
from localllm.engine.simulated import SimulatedDevice
from tests.engine.support import gpu


def main(path: str, refused: str, sampling: Sampling, n_tokens: int) -> None:
    """Print the tokens drawn by the host alone, then those of a trial, and what came of it."""
    log = Log()
    log.ignore()
    C.llama_backend_init()
    assert isinstance(RULES, dict)
    RULES["plain"] = Rules(computes={refused: lambda _tensor: False})
    device = SimulatedDevice(simulated_spec(gpu(backend="none")))
    keep_alive: list[object] = []
    params = model_params(
        devices=[device.address],
        n_gpu_layers=99,
        tensor_split=(),
        overrides=(),
        repack=False,
        keep_alive=keep_alive,
    )
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model))
    shape = context_params(
        n_ctx=512,
        n_batch=64,
        n_ubatch=64,
        n_seq=1,
        n_outputs_max=1,
        type_k="f16",
        type_v="f16",
        flash_attn="auto",
        swa_full=False,
    )
    context = C.llama_init_from_model(model, shape)
    one = (ctypes.c_int32 * 1)()
    batch = C.llama_batch_get_one(one, 1)
    clock = itertools.count()

    def draw(drawing: Drawing) -> list[int]:
        C.llama_memory_clear(C.llama_get_memory(context), False)
        drawing.begin(sampling, seed=7, prompt=[1])
        one[0], tokens = 1, []
        for _ in range(n_tokens):
            assert C.llama_decode(context, batch) == 0
            one[0] = C.llama_sampler_sample(drawing.chain, context, -1)
            tokens.append(one[0])
            if drawing.watched:
                drawing.watch(next(clock))
        drawing.end()
        return tokens

    host, trial = (Drawing(context, n_vocab, why_not=None, free_bytes=lambda: None) for _ in "ab")
    host.wish = "host"
    tokens = [draw(host), draw(trial)]
    print(json.dumps([tokens, trial.sampled_on, trial.why, trial._attached]))
