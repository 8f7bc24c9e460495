"""Plans for toy models and shorthands for reading event streams."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import localllm
from localllm.core.generation import (
    ChatRequest,
    CompletionRequest,
    Event,
    Failed,
    Finished,
    Loaded,
    Message,
    Sampling,
    TextDelta,
)
from localllm.core.hardware import Backend, Device, Hardware, Host
from localllm.core.model import ModelSpec
from localllm.core.plan import DeviceMemory, Plan
from localllm.engine.children import child_environment
from localllm.engine.client import EngineClient
from localllm.units import GiB
from tests.support.gguf_vocab import vocabulary
from tests.support.gguf_writer import Value

E = TypeVar("E")

GREEDY = Sampling(temperature=0)


def device(name: str) -> DeviceMemory:
    """A row of a plan's memory; every name but ``host`` is a GPU."""
    return DeviceMemory(
        name=name,
        kind="host" if name == "host" else "gpu",
        total_bytes=2**34,
        free_bytes=2**34,
        model_bytes=0,
        context_bytes=0,
        compute_bytes=0,
        overhead_bytes=0,
        headroom_bytes=0,
    )


_HOST = Host(cpu="test", os="linux", machine="x86_64", total_bytes=2**34, available_bytes=2**34)
_MODEL = ModelSpec(
    name="toy",
    source="toy.gguf",
    arch="llama",
    quant="F16",
    n_params=0,
    file_bytes=0,
    n_ctx_train=0,
    n_embd=0,
    n_vocab=0,
    n_embd_head_k=0,
    n_embd_head_v=0,
    n_rot=0,
    layers=(),
    tensors=(),
)
_PLAN = Plan(
    basis="formula",
    verdict="fits",
    model=_MODEL,
    hardware=Hardware(name="test", source="test", host=_HOST),
    n_ctx=1024,
    n_batch=512,
    n_ubatch=128,
    type_k="f16",
    type_v="f16",
    flash_attn="auto",
    n_gpu_layers=0,
    n_layer_total=5,
    tensor_split=(),
    tensor_overrides=(),
    n_seq=1,
    n_outputs_max=1,
    swa_full=False,
    n_threads=1,
    use_mmap=True,
    repack=False,
    devices=(device("host"),),
    speed=None,
    power=None,
    cost=None,
    reasons=(),
    cliff=None,
    counterfactuals=(),
    llama_args=(),
)


def cpu_plan(**changes: Any) -> Plan:
    """A plan that keeps everything on the CPU, one thread, no repacking."""
    return dataclasses.replace(_PLAN, **changes)


def load(engine: EngineClient, *paths: Path, **changes: Any) -> Loaded:
    """Load a model or fail the test with the reason."""
    last = list(engine.load(cpu_plan(**changes), tuple(map(str, paths))))[-1]
    assert isinstance(last, Loaded), last
    return last


def ask(text: str, **changes: Any) -> ChatRequest:
    """A one-message conversation, greedy and short unless the test says otherwise."""
    values: dict[str, Any] = {"sampling": GREEDY, "max_tokens": 16, **changes}
    return ChatRequest(messages=(Message(role="user", content=text),), **values)


def only(kind: type[E], events: Iterable[Event]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def long_answer(engine: EngineClient, n_tokens: int) -> CompletionRequest:
    """A request that a random model answers with ``n_tokens``, drawing no end token before."""
    for seed in range(100):
        sampling = Sampling(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)
        request = CompletionRequest(prompt="Hello", sampling=sampling, max_tokens=n_tokens)
        if finish(engine.complete(request)).reason == "length":
            return request
    raise AssertionError(f"no answer of {n_tokens} tokens in 100")


def text_of(events: Iterable[Event], channel: str | None = None) -> str:
    """The text of a stream, of one channel or of both."""
    deltas = only(TextDelta, events)
    return "".join(delta.text for delta in deltas if channel in (None, delta.channel))


def finish(events: Iterable[Event]) -> Finished:
    """The end of an answer, which must be a good one."""
    last = list(events)[-1]
    assert isinstance(last, Finished), last
    return last


def failure(events: Iterable[Event]) -> Failed:
    """The end of a request that must have been refused."""
    last = list(events)[-1]
    assert isinstance(last, Failed), last
    return last


def complete(prompt: str, **changes: object) -> CompletionRequest:
    values: dict[str, object] = {"sampling": GREEDY, "max_tokens": 32, **changes}
    return CompletionRequest(prompt=prompt, **values)  # type: ignore[arg-type]


ENDLESS = complete("Hello", max_tokens=None)


DEMO = Path(localllm.__file__).parent / "_demo" / "demo.gguf"


def strings_of(value: Value) -> list[str]:
    """Read back an array of strings as the file holds it."""
    (count,) = struct.unpack_from("<Q", value.payload, 4)
    found, at = [], 12
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", value.payload, at)
        found.append(value.payload[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return found


def numbers_of(value: Value) -> list[int]:
    """Read back an array of 32-bit integers."""
    (count,) = struct.unpack_from("<Q", value.payload, 4)
    return list(struct.unpack_from(f"<{count}i", value.payload, 12))


def gpu(
    name: str = "SIM0", *, gib: float = 80, backend: Backend = "cuda", **changes: Any
) -> Device:
    """A device that does not exist, of ``gib`` GiB, all of it free."""
    n_bytes = int(gib * GiB)
    values: dict[str, Any] = {"total_bytes": n_bytes, "free_bytes": n_bytes, **changes}
    return Device(name=name, description=f"{name} of a test", kind="gpu", backend=backend, **values)


def in_child(code: str) -> Any:
    """Run code where llama.cpp may be imported, and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def token_ids(style: str, n_tokens: int, *parts: str) -> tuple[int, ...]:
    """Ids of a text given in parts: a special token each, or spelled out in single characters."""
    tokens = strings_of(vocabulary(style, n_tokens)["tokenizer.ggml.tokens"])
    index = {token: number for number, token in enumerate(tokens)}
    ids: list[int] = []
    for part in parts:
        ids += [index[part]] if part in index else [index[character] for character in part]
    return tuple(ids)
