"""In a child: load models as the engine does, and print what llama.cpp itself says of each.

Nothing here reads a request back: sizes come from llama.cpp's accessors and its memory breakdown,
types and flash attention from its log, mapping from the kernel.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localllm.engine.breakdown import memory_breakdown
from localllm.engine.devices import SimulatedSpec
from localllm.engine.llama import AbortFlag, C, Log, ggml
from localllm.engine.loading import LoadedModel, load
from localllm.engine.protocol import LoadRequest, decode_request
from localllm.engine.rows import breakdown_rows, known_buffer_types
from localllm.engine.simulated import SimulatedDevice


def main(lines: list[str], specs: list[list[Any]]) -> None:
    """Load as each request line says, on devices that do not exist, and print findings."""
    C.llama_backend_init()
    devices = [SimulatedDevice(SimulatedSpec(*spec)) for spec in specs]
    for device in devices:
        device.register()
    log, flag = Log(), AbortFlag()
    found = []
    for line in lines:
        request = decode_request(line.encode())[1]
        assert isinstance(request, LoadRequest)
        with _stderr() as text:
            loaded = load(request, log, flag, lambda fraction: True)
        found.append(_findings(loaded, request, "".join(text)))
        C.llama_free(loaded.context)
        C.llama_model_free(loaded.model)
    json.dump(found, sys.stdout)


@contextmanager
def _stderr() -> Iterator[list[str]]:
    """Collect what is written to descriptor 2."""
    text: list[str] = []
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            text.append(file.read().decode())


def _findings(loaded: LoadedModel, request: LoadRequest, log: str) -> dict[str, Any]:
    context = loaded.context
    rows = breakdown_rows(loaded.model, context, known_buffer_types())
    maps = Path("/proc/self/maps").read_text()
    return {
        "n_ctx": C.llama_n_ctx(context),
        "n_batch": C.llama_n_batch(context),
        "n_ubatch": C.llama_n_ubatch(context),
        "n_seq": C.llama_n_seq_max(context),
        "n_threads": [C.llama_n_threads(context), C.llama_n_threads_batch(context)],
        "n_outputs_max": _logged(log, r"n_outputs_max\s+= (\d+)"),
        "flash_attn": _logged(log, r"flash_attn\s+= (\w+)"),
        "type_k": _logged(log, r"K \((\w+)\):"),
        "type_v": _logged(log, r"V \((\w+)\):"),
        "mapped": sum(os.path.basename(path) in maps for path in request.paths),
        "repacked": sum(
            row.model_bytes
            for row in rows
            if ggml.ggml_backend_buft_name(row.buffer_type) == b"CPU_REPACK"
        ),
        "memory": {
            row.name: [row.model_bytes, row.context_bytes, row.compute_bytes]
            for row in memory_breakdown(loaded.model, context)
        },
    }


def _logged(log: str, pattern: str) -> str | None:
    found = re.findall(pattern, log)
    return found[-1] if found else None
