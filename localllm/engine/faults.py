"""Ways to break the child on purpose, so that tests see real deaths. Off unless a test asks.

Enabled only by ``LOCALLLM_ENGINE_TEST=1`` in the environment of the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import os
import resource
import sys
import time
from typing import Any

from localllm.core.generation import Event, Failed, Finished, Sampling
from localllm.engine.drawing import Wish
from localllm.engine.llama import C, ggml
from localllm.engine.loop import Answer, Task, generate
from localllm.engine.protocol import FaultRequest
from localllm.engine.talker import Talker
from localllm.engine.wire import Wire
from localllm.errors import UsageError

_COUNTED = 1000
_HOARD: list[bytearray] = []
_HOARDED_BYTES = 1 << 16
WISHES: tuple[Wish, ...] = ("measured", "host", "device", "alternating")


def inject(request: FaultRequest, talker: Talker | None, wire: Wire) -> Event:
    """Do what the request names, and return if that is survived. Raises ``UsageError``."""
    if os.environ.get("LOCALLLM_ENGINE_TEST") != "1":
        raise UsageError("Faults are injected only in tests.")
    match request.fault:
        case "abort":
            abort = ggml.ggml_abort
            abort.argtypes, abort.restype = (ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p), None
            abort(b"ggml-cuda.cu", 1, b"CUDA error")
        case "segfault":  # a chain with a NULL sampler in it, as a bad grammar makes one
            chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
            C.llama_sampler_chain_add(chain, None)
            C.llama_sampler_apply(chain, ctypes.byref(C.llama_token_data_array()))
        case "limit_memory":
            resource.setrlimit(resource.RLIMIT_AS, (request.argument, request.argument))
        case "exhaust_memory":  # what is allocated stays, and there is next to nothing more
            importlib.import_module("localllm.engine.prove")  # whose code has to be there
            resource.setrlimit(resource.RLIMIT_AS, (1, 1))
            with contextlib.suppress(MemoryError):
                while True:
                    _HOARD.append(bytearray(_HOARDED_BYTES))
            del _HOARD[-2:]
        case "flood":
            line = b"x" * 99 + b"\n"
            for _ in range(request.argument // len(line)):
                os.write(sys.stdout.fileno(), line)
                os.write(sys.stderr.fileno(), line)
        case "bad_alloc":  # as C++ does where memory ends: operator new throws, nobody catches
            new = ggml._Znwm
            new.argtypes, new.restype = (ctypes.c_size_t,), ctypes.c_void_p
            new(2**62)
        case "hang":  # in the main thread only: the beats go on
            time.sleep(request.argument)
        case "echo":
            assert talker is not None
            return _echo(talker, request.tokens, wire)
        case "cost":
            assert talker is not None
            return _cost(talker, request.argument, wire)
        case "act_like_a_gpu":  # text after the next decode
            assert talker is not None
            talker.engine.on_gpu_only = True
        case "draw":
            assert talker is not None
            talker.engine.drawing.wish = WISHES[request.argument]
        case other:
            raise UsageError(f"There is no fault {other!r}.")
    return Failed(error="EngineError", message=f"{request.fault} was survived")


def _echo(talker: Talker, tokens: tuple[int, ...], wire: Wire) -> Finished:
    """Send tokens through the whole path from token to event, as if the model had drawn them."""
    task = Task(
        prompt=[],
        sampling=Sampling(),
        max_tokens=None,
        stop=(),
        separator=talker.separator(""),
        began_s=time.monotonic(),
    )
    answer = Answer(talker.engine, task, wire)
    for token in tokens:
        answer.send(talker.engine.vocab.known[token])
    answer.flush()
    return Finished(reason="stop", stats=answer.stats(0))


def _cost(talker: Talker, n_tokens: int, wire: Wire) -> Failed:
    """Stream a greedy answer, and say what a token cost beside llama.cpp, by thousands of tokens.

    Nanoseconds of this thread's processor time, the time inside llama.cpp's two calls taken out;
    in the gaps of real decodes, so that the code is as cold as it is in a chat.
    """
    engine = talker.engine
    memory, vocab = engine.memory, engine.vocab
    sample, append, clock = C.llama_sampler_sample, memory.append, time.thread_time_ns
    native_ns = 0
    marks = [0]

    def timed_append(token: int) -> int:
        nonlocal native_ns
        began = clock()
        code = append(token)
        native_ns += clock() - began
        return code

    def timed_sample(*arguments: Any) -> int:
        nonlocal native_ns
        began = clock()
        token: int = sample(*arguments)
        native_ns += clock() - began
        if (len(memory.tokens) - 1) % _COUNTED == 0:
            marks.append(clock() - native_ns)
        return token

    memory.clear()
    task = Task(
        prompt=[vocab.bos],
        sampling=Sampling(temperature=0),
        max_tokens=n_tokens,
        stop=(),
        separator=talker.separator(""),
        began_s=time.monotonic(),
    )
    try:
        C.llama_sampler_sample, memory.append = timed_sample, timed_append  # type: ignore[method-assign]  # for this answer
        generate(engine, task, wire)
    finally:
        C.llama_sampler_sample, memory.append = sample, append  # type: ignore[method-assign]  # as it was
    costs = [(b - a) // _COUNTED for a, b in itertools.pairwise(marks[1:])]
    return Failed(error="EngineError", message=" ".join(map(str, costs)))
