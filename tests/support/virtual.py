"""The tensors that llama.cpp asks for, architecture by architecture, from its own loader.

``llama_model_init_from_user`` builds a model from hyperparameters alone: no file, no weights. What
it made is read through ``llama_internal_get_tensor_map``. Run as a program,
``python -m tests.support.virtual HEADER...``: a process for each, for llama.cpp aborts on
hyperparameters that do not fit together. Prints one JSON object per line.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
Table = list[tuple[str, tuple[int, ...]]]
_ENTRY_BYTES = 40
"""``std::pair<std::string, ggml_tensor *>`` of libstdc++; the pointer is the last word."""


def tables(paths: Sequence[Path]) -> dict[str, Table]:
    """Every tensor's name and shape for each header, by the file's stem."""
    found: dict[str, Table] = {}
    for answer in answers(paths):
        assert answer["tensors"] is not None, (answer["file"], answer["log"])
        found[Path(answer["file"]).stem] = [(name, tuple(ne)) for name, ne in answer["tensors"]]
    return found


def answers(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What llama.cpp says of each header; ``tensors`` is None where it does not take it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.virtual", *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Answer for every file in a process of its own."""
    import llama_cpp.llama_cpp as lib  # once, before the forks: it takes 0.2 s

    for path in sys.argv[1:]:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _answer(lib, path)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"file": path, "tensors": None, "log": f"died of {status}"}))


def _answer(lib: Any, path: str) -> None:
    log: list[str] = []

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, user_data: object) -> None:
        log.append(text.decode(errors="replace"))

    lib.llama_log_set(keep, None)
    found = _tensors(lib, path)
    print(json.dumps({"file": path, "tensors": found, "log": "".join(log[-5:])}))


def _tensors(lib: Any, path: str) -> list[tuple[str, list[int]]] | None:
    class InitParams(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    c = lib._lib
    pointer = ctypes.c_void_p
    c.gguf_init_from_file.restype = pointer
    c.gguf_init_from_file.argtypes = [ctypes.c_char_p, InitParams]
    c.llama_model_init_from_user.restype = pointer
    c.llama_model_init_from_user.argtypes = [pointer, pointer, pointer, lib.llama_model_params]
    c.ggml_get_name.restype, c.ggml_get_name.argtypes = ctypes.c_char_p, [pointer]
    tensor_map = c._Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model
    tensor_map.restype, tensor_map.argtypes = pointer, [pointer]
    params = lib.llama_model_default_params()
    params.no_alloc, params.load_mtp, params.n_gpu_layers = True, True, 0
    header = c.gguf_init_from_file(path.encode(), InitParams(True, None))
    model = c.llama_model_init_from_user(header, None, None, params)
    if not model:
        return None
    begin, end = (ctypes.c_uint64 * 2).from_address(tensor_map(model))
    found = []
    for entry in range(begin, end, _ENTRY_BYTES):
        tensor = ctypes.c_uint64.from_address(entry + _ENTRY_BYTES - 8).value
        shape = list((ctypes.c_int64 * 4).from_address(tensor + 16))
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        found.append((c.ggml_get_name(tensor).decode(), shape))
    return found


if __name__ == "__main__":
    main()
