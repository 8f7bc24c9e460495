"""In a child: really load models on simulated devices, and print llama.cpp's breakdown of each.

Many loads in one process, where the engine's own child would take one each.
"""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any

from localllm.engine import layouts
from localllm.engine.devices import SimulatedSpec
from localllm.engine.llama import C, Log, ggml
from localllm.engine.params import buffer_types, context_params, model_params
from localllm.engine.rows import breakdown_rows, device_of, known_buffer_types
from localllm.engine.simulated import SimulatedDevice


def main(questions: list[dict[str, Any]]) -> None:
    """Answer questions as ``DryRun`` is asked them, one context each."""
    log = Log()
    log.ignore()
    C.llama_backend_init()
    layouts.check()
    print(json.dumps([_load(question) for question in questions]))


def _load(question: dict[str, Any]) -> dict[str, list[int]]:
    devices = [SimulatedDevice(SimulatedSpec(*spec)) for spec in question["devices"]]
    addresses = [device.address for device in devices]
    types = buffer_types(addresses) | {"CPU": ggml.ggml_backend_cpu_buffer_type()}
    keep_alive: list[Any] = []
    params = model_params(
        devices=addresses,
        n_gpu_layers=question["n_gpu_layers"],
        tensor_split=question["tensor_split"],
        overrides=[(pattern, types[name]) for pattern, name in question["overrides"]],
        repack=question["repack"],
        keep_alive=keep_alive,
    )
    paths = [os.fsencode(path) for path in question["paths"]]
    model = C.llama_model_load_from_splits((ctypes.c_char_p * 1)(*paths), 1, params)
    assert model, question
    context = C.llama_init_from_model(model, context_params(**question["contexts"][0]))
    assert context, question
    known = known_buffer_types().union(
        *({device.buffer_type, device.host_buffer_type} for device in devices)
    )
    found = {device.spec.name: [0, 0, 0] for device in devices} | {"host": [0, 0, 0]}
    for row in breakdown_rows(model, context, known):
        terms = found[device_of(row.buffer_type)]
        terms[0] += row.model_bytes
        terms[1] += row.context_bytes
        terms[2] += row.compute_bytes
    C.llama_free(context)
    C.llama_model_free(model)
    assert not any(device.live_bytes or device.denied for device in devices), question
    return found
