from __future__ import annotations

import dataclasses

import pytest

from localllm.core.buffers import BufferMemory
from localllm.core.generation import (
    BenchDone,
    BenchSample,
    BenchTest,
    ChatRequest,
    CompletionRequest,
    Died,
    EngineDevice,
    EngineInfo,
    Failed,
    Finished,
    Loaded,
    LoadProgress,
    Message,
    PromptProgress,
    Proved,
    RunStats,
    Sampling,
    TextDelta,
    Timeline,
)
from localllm.core.plan import TensorOverride
from localllm.engine.protocol import (
    EVENTS,
    REQUESTS,
    Beat,
    BenchRequest,
    FaultRequest,
    Hello,
    InfoRequest,
    LoadRequest,
    PingRequest,
    Pong,
    ProtocolError,
    ProveRequest,
    Reply,
    Request,
    decode_event,
    decode_request,
    encode_event,
    encode_request,
)
from tests.engine.support import cpu_plan

TEST = BenchTest(n_prompt=512, n_gen=0, n_depth=64, repetitions=3)
STATS = RunStats(
    n_prompt=10,
    n_cached=3,
    n_gen=5,
    prompt_s=0.25,
    tg_s=1.5,
    ttft_s=0.5,
    n_ctx=512,
    n_ctx_used=15,
    seed=2**32 - 2,
)
TIMELINE = Timeline(
    prompt_began_s=1e6, prompt_ended_s=1e6 + 0.1, first_token_s=1e6 + 0.2, last_token_s=1e6 + 0.3
)
EXAMPLES: list[Reply] = [
    LoadProgress(fraction=0.5),
    Loaded(
        load_s=1.5,
        n_ctx=512,
        n_vocab=100,
        description="llama 8B",
        memory=(
            BufferMemory(name="host", model_bytes=2**40, context_bytes=2, compute_bytes=3),
            BufferMemory(name="CUDA0", model_bytes=1, context_bytes=2, compute_bytes=3),
        ),
        rss_bytes=None,
        template="built-in",
        can_shift=True,
        warnings=("a", "b"),
        memory_unknown=None,
    ),
    PromptProgress(n_done=1, n_total=2, n_cached=0),
    TextDelta(text='"\n\\\u2028\U0001f600\x00', channel="reasoning", n_tokens=1, tg_s=0.25),
    Finished(reason="stop_string", stats=STATS, stop_string="###"),
    Finished(reason="stop", stats=STATS, timeline=TIMELINE),
    BenchSample(test=TEST, repetition=0, ns=2**62, began_s=1e6 + 1e-6),
    BenchDone(),
    Proved(n_tokens=8191, seconds=0.25),
    Failed(error="UsageError", message="m", hint=None, code="prompt_too_long"),
    Died(
        message="m",
        hint="h",
        phase="load",
        signal="SIGABRT",
        out_of_memory=True,
        stderr_tail=("a",),
    ),
    EngineInfo(
        version="0.3.36",
        system_info="AVX2 = 1",
        devices=(
            EngineDevice(
                name="CUDA0",
                description="NVIDIA",
                type="gpu",
                total_bytes=1,
                free_bytes=0,
                device_id="0000:c1:00.0",
            ),
        ),
        supports_rpc=True,
        library_path="/lib/libllama.so",
    ),
    Hello(version=1),
    Pong(),
    Beat(progress=7),
]
REQUEST_EXAMPLES: list[Request] = [
    LoadRequest.of(
        cpu_plan(
            tensor_split=(0.5, 0.5),
            tensor_overrides=(TensorOverride(pattern="exps", buffer_type="CPU"),),
        ),
        ("/a.gguf", "/b.gguf"),
    ),
    ChatRequest(
        messages=(Message(role="system", content="s"), Message(role="user", content="\ud800")),
        sampling=Sampling(seed=7),
        stop=("a",),
        template_kwargs={"enable_thinking": False, "nested": {"a": [1, None]}},
    ),
    CompletionRequest(prompt="p", max_tokens=0),
    BenchRequest(tests=(TEST,)),
    ProveRequest(),
    PingRequest(),
    InfoRequest(),
    FaultRequest(fault="abort", tokens=(1, 2)),
]


def test_every_event_has_an_example_here() -> None:
    assert {type(event) for event in EXAMPLES} == {TextDelta, *EVENTS.values()}
    assert {type(request) for request in REQUEST_EXAMPLES} == set(REQUESTS.values())


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_events_arrive_as_they_were_sent(event: Reply) -> None:
    line = encode_event(3, event)
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and line.isascii()
    assert decode_event(line) == (3, event)


@pytest.mark.parametrize("request_", REQUEST_EXAMPLES, ids=lambda value: type(value).__name__)
def test_requests_arrive_as_they_were_sent(request_: Request) -> None:
    line = encode_request(9, request_)
    assert line.count(b"\n") == 1
    received_id, received = decode_request(line)
    assert received_id == 9
    expected = request_
    if isinstance(request_, ChatRequest):  # a JSON array is a list at the other end
        expected = dataclasses.replace(
            request_, template_kwargs={"enable_thinking": False, "nested": {"a": [1, None]}}
        )
    assert received == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"ggml_cuda_init: found 1 device\n",
        b"[]\n",
        b'{"id":1,"event":"Nonsense","body":{}}\n',
        b'{"id":1,"event":"Beat","body":{}}\n',
        b'{"id":1,"event":"Beat","body":{"progress":"7"}}\n',
        b'{"id":1,"event":"Beat","body":{"progress":7,"more":1}}\n',
        b'{"id":1,"event":"TextDelta","body":{"text":"","channel":"answer"}}\n',
        b'[1,"x",1,0,""]\n',
        b'[1,["answer"],1,0,""]\n',
        b'[1,"answer",1,0.5,""]\n',
        b'[1,"answer",1,0,null]\n',
        b'[true,"answer",1,0,""]\n',
        b'[1,"answer",1,0,"",0]\n',
        b'[1,"answer",1,0\n',
        b'{"event":"Beat","body":{"progress":7}}\n',
    ],
)
def test_anything_else_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_event(line)


def test_a_load_request_is_the_plan_as_the_engine_needs_it() -> None:
    request = LoadRequest.of(cpu_plan(n_ctx=4096, type_k="q8_0"), ("/a.gguf",))
    assert (request.n_ctx, request.type_k, request.device_names) == (4096, "q8_0", ())


def test_what_json_cannot_carry_is_refused_before_it_is_sent() -> None:
    request = ChatRequest(
        messages=(Message(role="user", content="a"),), template_kwargs={"x": object()}
    )
    with pytest.raises(TypeError):
        encode_request(1, request)
