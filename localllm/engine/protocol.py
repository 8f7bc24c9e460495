"""The wire between the client and its engine child: JSON lines, and nothing but JSON.

A request is ``{"id": 3, "op": "chat", "body": {...}}`` on the child's stdin, an event is ``{"id":
3, "event": "Loaded", "body": {...}}`` on a pipe of its own. Bodies are the frozen values of
``core.generation`` field by field; ``REQUESTS`` and ``EVENTS`` are the whole vocabulary, but for
text, which comes with every token: ``[3, "answer", tokens so far, microseconds, "text"]``. Both
ends come from one installation, and ``VERSION`` says so in the first event.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from localllm.core.buffers import TensorOverride
from localllm.core.generation import (
    BenchDone,
    BenchSample,
    BenchTest,
    Channel,
    ChatRequest,
    CompletionRequest,
    Died,
    EngineInfo,
    Event,
    Failed,
    Finished,
    Loaded,
    LoadProgress,
    PromptProgress,
    Proved,
    TextDelta,
)
from localllm.engine.values import decoder, plain

if TYPE_CHECKING:  # the child reads requests and knows no plans: 25 ms of its start
    from localllm.core.plan import Plan

VERSION = 1


class ProtocolError(ValueError):
    """A line that is not what its sender promised."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """The part of a ``Plan`` that llama.cpp is told, and the files."""

    paths: tuple[str, ...]
    n_ctx: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attn: Literal["auto", "on", "off"]
    n_gpu_layers: int
    n_layer_total: int
    device_names: tuple[str, ...]
    """llama.cpp's names. Empty means no device at all, also where llama.cpp sees some."""
    tensor_split: tuple[float, ...]
    tensor_overrides: tuple[TensorOverride, ...]
    n_seq: int
    n_outputs_max: int
    swa_full: bool
    n_threads: int
    use_mmap: bool
    repack: bool
    device_sampling: bool = True
    """Whether tokens may be drawn on a GPU, where that is faster."""

    @classmethod
    def of(cls, plan: Plan, paths: tuple[str, ...], *, device_sampling: bool = True) -> LoadRequest:
        """Take from a plan what the engine needs."""
        others: dict[str, Any] = {
            "paths": paths,
            "device_names": plan.device_names,
            "device_sampling": device_sampling,
        }
        names = {field.name for field in dataclasses.fields(cls)} - set(others)
        return cls(**others, **{name: getattr(plan, name) for name in names})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """Bench tests, in order."""

    tests: tuple[BenchTest, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProveRequest:
    """Fill the context once, and forget it again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PingRequest:
    """Ask for a sign of life, of the child and of the devices that it uses."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InfoRequest:
    """Ask what llama.cpp is installed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FaultRequest:
    """Break something on purpose. Refused unless ``LOCALLLM_ENGINE_TEST=1`` (see ``faults``)."""

    fault: str
    argument: int = 0
    tokens: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The child's first event."""

    version: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to a ping: the child works, and its devices answered."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The child lives; ``progress`` changes whenever it has worked since the last one."""

    progress: int


Request = (
    LoadRequest
    | ChatRequest
    | CompletionRequest
    | BenchRequest
    | ProveRequest
    | PingRequest
    | InfoRequest
    | FaultRequest
)
Reply = Event | EngineInfo | Hello | Pong | Beat

REQUESTS: Mapping[str, type[Request]] = {
    "load": LoadRequest,
    "chat": ChatRequest,
    "complete": CompletionRequest,
    "bench": BenchRequest,
    "prove": ProveRequest,
    "ping": PingRequest,
    "info": InfoRequest,
    "fault": FaultRequest,
}
EVENTS: Mapping[str, type[Reply]] = {
    kind.__name__: kind
    for kind in (
        LoadProgress,
        Loaded,
        PromptProgress,
        Finished,
        BenchSample,
        BenchDone,
        Proved,
        Failed,
        Died,
        EngineInfo,
        Hello,
        Pong,
        Beat,
    )
}
TERMINAL = (Loaded, Finished, BenchDone, Proved, Failed, Died, EngineInfo, Pong)
"""Events that end a request."""

_CHANNELS = get_args(Channel)
_OPS = {kind: op for op, kind in REQUESTS.items()}
_quote = json.encoder.encode_basestring_ascii
_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def encode_request(request_id: int, request: Request) -> bytes:
    """Return one line, its end included."""
    body = {"id": request_id, "op": _OPS[type(request)], "body": plain(request)}
    return _dumps(body).encode() + b"\n"


def decode_request(line: bytes) -> tuple[int, Request]:
    """Read one request line. Raises ``ProtocolError``."""
    return _decode_line(line, "op", REQUESTS)


def encode_event(request_id: int, event: Reply) -> bytes:
    """Return one line, its end included."""
    if type(event) is TextDelta:
        return encode_text(request_id, event.text, event.channel, event.n_tokens, event.tg_s)
    body = {"id": request_id, "event": type(event).__name__, "body": plain(event)}
    return _dumps(body).encode() + b"\n"


def encode_text(request_id: int, text: str, channel: str, n_tokens: int, tg_s: float) -> bytes:
    """Return the line of a ``TextDelta``, with its time in whole microseconds."""
    return f'[{request_id},"{channel}",{n_tokens},{int(tg_s * 1e6)},{_quote(text)}]\n'.encode()


def decode_event(line: bytes) -> tuple[int, Reply]:
    """Read one event line. Raises ``ProtocolError``."""
    return _decode_text(line) if line[:1] == b"[" else _decode_line(line, "event", EVENTS)


def _decode_text(line: bytes) -> tuple[int, TextDelta]:
    try:
        request_id, channel, n_tokens, tg_us, text = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not a line of text ({error!r}): {line[:120]!r}") from error
    if not (
        type(request_id) is type(n_tokens) is type(tg_us) is int
        and type(text) is str
        and channel in _CHANNELS
    ):
        raise ProtocolError(f"not a line of text: {line[:120]!r}")
    return request_id, TextDelta(text=text, channel=channel, n_tokens=n_tokens, tg_s=tg_us / 1e6)


def _decode_line(line: bytes, key: str, kinds: Mapping[str, type[Any]]) -> tuple[int, Any]:
    try:
        message = json.loads(line)
        kind = kinds[message[key]]
        decode: Callable[[Any], Any] = decoder(kind)  # type: ignore[arg-type]  # kinds are hashable
        return message["id"], decode(message["body"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a {key} line ({error!r}): {line[:120]!r}") from error
