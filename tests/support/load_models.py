"""Load model files with llama.cpp and say what it makes of them, one JSON object per line.

Run as a program, ``python -m tests.support.load_models decode|shape|dry-run FILE...``: llama.cpp
aborts the process on some faults, and a test should outlive that.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import time

import llama_cpp.llama_cpp as lib

TEXT = "Hello world, which command shows the plan? größer 中 🙂".encode()

LOG: list[str] = []
CACHED_LAYERS = re.compile(r"llama_kv_cache: size =.*?, +(\d+) layers")


def decode(path: str) -> dict[str, object]:
    """Load a model for real, tokenize a text, decode it, and draw eight tokens greedily."""
    params = lib.llama_model_default_params()
    params.use_extra_bufts = False
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        return {"file": path, "loaded": False}
    vocab = lib.llama_model_get_vocab(model)
    tokens = (lib.llama_token * 256)()
    n = lib.llama_tokenize(vocab, TEXT, len(TEXT), tokens, 256, True, True)
    buffer = ctypes.create_string_buffer(256)
    text = b""
    for token in tokens[:n]:
        n_bytes = lib.llama_token_to_piece(vocab, token, buffer, 256, 0, False)
        text += buffer.raw[:n_bytes]
    context_params = lib.llama_context_default_params()
    context_params.n_ctx, context_params.n_threads, context_params.n_threads_batch = 512, 1, 1
    context = lib.llama_init_from_model(model, context_params)
    cached = sum(int(found) for found in CACHED_LAYERS.findall("".join(LOG)))
    codes = [lib.llama_decode(context, lib.llama_batch_get_one(tokens, n))]
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
    drawn = []
    one = (lib.llama_token * 1)()
    for _ in range(8):
        one[0] = lib.llama_sampler_sample(chain, context, -1)
        drawn.append(one[0])
        codes.append(lib.llama_decode(context, lib.llama_batch_get_one(one, 1)))
    answer = {
        "file": path,
        "loaded": True,
        "text": text.decode(errors="replace").lstrip(" "),
        "codes": codes,
        "drawn": drawn,
        "n_cached": cached,
        **figures(model),
    }
    lib.llama_sampler_free(chain)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return answer


def shape(path: str) -> dict[str, object]:
    """Load a model without its weights: every tensor must have the name and shape expected."""
    params = lib.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = 0
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        return {"file": path, "loaded": False}
    answer = {"file": path, "loaded": True, **figures(model)}
    lib.llama_model_free(model)
    return answer


def dry_run(path: str) -> dict[str, object]:
    """Load a model without allocating, and give it a context: every buffer that it would have."""
    params = lib.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = 0
    started = time.perf_counter()
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        return {"file": path, "loaded": False}
    load_s = time.perf_counter() - started
    context_params = lib.llama_context_default_params()
    context_params.n_ctx, context_params.n_batch, context_params.n_ubatch = 2048, 512, 512
    context = lib.llama_init_from_model(model, context_params)
    answer = {"file": path, "loaded": bool(context), "load_s": load_s, **figures(model)}
    if context:
        answer["buffers"] = buffers(model, context)
        lib.llama_free(context)
    lib.llama_model_free(model)
    return answer


def buffers(model: object, context: object) -> list[list[int]]:
    """Bytes of model, context and compute of a context, for each type of buffer."""
    from localllm.engine.rows import breakdown_rows, known_buffer_types

    rows = breakdown_rows(
        ctypes.cast(model, ctypes.c_void_p).value,  # type: ignore[arg-type]
        ctypes.cast(context, ctypes.c_void_p).value,  # type: ignore[arg-type]
        known_buffer_types(),
    )
    return sorted(list(row[1:]) for row in rows)


def figures(model: object) -> dict[str, object]:
    """What the C interface tells of a model."""
    vocab = lib.llama_model_get_vocab(model)
    return {
        "n_params": lib.llama_model_n_params(model),
        "n_bytes": lib.llama_model_size(model),
        "n_ctx_train": lib.llama_model_n_ctx_train(model),
        "n_embd": lib.llama_model_n_embd(model),
        "n_layer": lib.llama_model_n_layer(model),
        "n_head": lib.llama_model_n_head(model),
        "n_head_kv": lib.llama_model_n_head_kv(model),
        "n_swa": lib.llama_model_n_swa(model),
        "n_vocab": lib.llama_vocab_n_tokens(vocab),
    }


def main() -> None:
    """Answer for every file, and stop at none."""

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, user_data: object) -> None:
        LOG.append(text.decode(errors="replace"))

    lib.llama_log_set(keep, None)
    lib.llama_backend_init()
    work = {"decode": decode, "shape": shape, "dry-run": dry_run}[sys.argv[1]]
    for path in sys.argv[2:]:
        LOG.clear()
        answer = work(path)
        if not answer["loaded"]:
            answer["log"] = "".join(LOG)[-1000:]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
