"""The same seed gives the same answer, whoever draws its tokens and however often that changes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.generation import (
    BenchDone,
    BenchTest,
    CompletionRequest,
    Event,
    Finished,
    Sampling,
)
from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from localllm.units import MiB
from tests.engine.support import (
    complete,
    device,
    finish,
    gpu,
    in_child,
    load,
    only,
    text_of,
)
from tests.support import shapes
from tests.support.gguf_maker import make_model

MEASURED, HOST, DEVICE, ALTERNATING = range(4)
PROMPT = "Which command shows the plan? " * 8
"""Longer than the 32 tokens that are read at once here: a chunk may not cost a draw."""
USUAL = Sampling(seed=11)
SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "usual": USUAL,
    "hot": Sampling(temperature=2.0, top_k=100, top_p=0.99, min_p=0, seed=5),
    "penalised": replace(USUAL, repeat_penalty=1.3),
    "penalised, greedy": Sampling(temperature=0, repeat_penalty=1.3),
}


def draw(engine: EngineClient, wish: int) -> None:
    list(engine.inject_fault(FaultRequest(fault="draw", argument=wish)))


def afresh(engine: EngineClient, request: CompletionRequest) -> list[Event]:
    """An answer whose prompt is not remembered, BOS apart: read in the same chunks every time."""
    finish(engine.complete(complete("Something else", max_tokens=2)))
    return list(engine.complete(request))


@pytest.fixture(scope="module")
def talkative(models_dir: Path) -> Path:
    """A model with random weights, and among its 8,192 tokens two that end an answer."""
    shape = replace(shapes.TOY, n_vocab=8192)
    return make_model(models_dir / "talkative.gguf", shape, quant="F16", sparse=False)


@pytest.fixture(scope="module")
def on_cpu(talkative: Path) -> Iterator[EngineClient]:
    with EngineClient() as engine:
        load(engine, talkative, n_ctx=1024, n_batch=32, n_ubatch=32)
        yield engine


@pytest.mark.parametrize("name", SAMPLINGS)
def test_host_and_device_draw_the_same_tokens_also_by_turns(
    on_cpu: EngineClient, name: str
) -> None:
    answers = {}
    for wish in (HOST, DEVICE, ALTERNATING):
        draw(on_cpu, wish)
        request = complete(PROMPT, sampling=SAMPLINGS[name], max_tokens=400, stop=("\0",))
        events = afresh(on_cpu, request)
        end = finish(events)
        assert end.stats.n_prompt - end.stats.n_cached > 64
        assert end.stats.n_gen > 300
        answers[wish] = text_of(events), end.stats.n_gen, end.reason
        assert end.sampled_on == ("host", "device", "both")[wish - 1]
    assert answers[HOST] == answers[DEVICE] == answers[ALTERNATING]


def test_an_answer_does_not_depend_on_how_much_of_its_prompt_was_known(
    on_cpu: EngineClient,
) -> None:
    draw(on_cpu, DEVICE)
    request = complete(PROMPT, sampling=USUAL, max_tokens=60)
    fresh, again = afresh(on_cpu, request), list(on_cpu.complete(request))
    assert finish(fresh).stats.n_cached < 3 < 30 < finish(again).stats.n_cached
    assert text_of(fresh) == text_of(again)


def test_a_benchmark_and_a_proof_take_the_sampler_out_of_the_graph(on_cpu: EngineClient) -> None:
    draw(on_cpu, DEVICE)
    request = complete(PROMPT, sampling=USUAL, max_tokens=60)
    before = text_of(afresh(on_cpu, request))
    tests = (BenchTest(n_prompt=8, n_gen=8, repetitions=1),)
    assert isinstance(list(on_cpu.bench(tests))[-1], BenchDone)
    list(on_cpu.prove())
    assert text_of(afresh(on_cpu, request)) == before


# -- what is tried, and when it is not ---------------------------------------------------------

ON_ONE = {"devices": (device("SIM0"), device("host")), "n_gpu_layers": 99, "n_layer_total": 99}


def on_device(path: Path, *, gib: float = 80, **changes: object) -> Iterator[EngineClient]:
    with EngineClient(simulated=(gpu("SIM0", gib=gib),)) as engine:
        load(engine, path, **{**ON_ONE, **changes})
        yield engine


@pytest.fixture(scope="module")
def all_on_device(talkative: Path) -> Iterator[EngineClient]:
    yield from on_device(talkative)


def test_where_it_is_on_a_device_the_first_answer_measures_and_the_next_ones_know(
    all_on_device: EngineClient,
) -> None:
    request = complete("Hello", sampling=USUAL, max_tokens=120)
    first, second = afresh(all_on_device, request), afresh(all_on_device, request)
    ends = finish(first), finish(second)
    assert ends[0].stats.n_gen > 80
    assert ends[0].sampled_on == "both"
    why = ends[0].sampled_why
    assert why and re.fullmatch(
        r"a token took \S+ ms drawn on the device and \S+ ms on the host", why
    )
    device_ms, host_ms = map(float, re.findall(r"([\d.]+) ms", why))
    assert ends[1].sampled_why == why
    if not 0.97 < device_ms / host_ms < 1:  # a gain of one percent decides
        assert ends[1].sampled_on == ("device" if device_ms < host_ms else "host")
    draw(all_on_device, HOST)
    assert text_of(first) == text_of(second) == text_of(afresh(all_on_device, request))
    draw(all_on_device, MEASURED)


def test_an_answer_too_short_to_measure_says_nothing(all_on_device: EngineClient) -> None:
    short = complete("Hello", max_tokens=20)
    end = finish(all_on_device.complete(short))
    assert (end.sampled_on, end.sampled_why) == ("host", None)


@pytest.mark.parametrize(
    "sampling",
    [
        replace(USUAL, top_k=0),
        replace(USUAL, top_k=5000),
        replace(USUAL, top_p=1),
        replace(USUAL, min_p=1),
    ],
)
def test_settings_that_a_device_understands_otherwise_stay_on_the_host(
    all_on_device: EngineClient, sampling: Sampling
) -> None:
    end = finish(all_on_device.complete(complete("Hi", sampling=sampling, max_tokens=90)))
    assert end.sampled_on == "host"
    assert end.sampled_why is not None and "a device draws" in end.sampled_why


def test_where_a_part_is_on_the_cpu_nothing_is_tried(talkative: Path) -> None:
    for engine in on_device(talkative, n_gpu_layers=2):
        end = finish(engine.complete(complete("Hello", max_tokens=90)))
        assert (end.sampled_on, end.sampled_why) == ("host", "not all of the model is on GPUs")


def test_where_memory_is_short_nothing_is_tried(talkative: Path) -> None:
    for engine in on_device(talkative, gib=66 * MiB / 2**30):
        end = finish(engine.complete(complete("Hello", max_tokens=90)))
        assert end.sampled_on == "host"
        assert end.sampled_why == "too little memory is free on the device to draw there"


def test_after_a_death_in_mid_answer_the_host_draws(talkative: Path) -> None:
    for engine in on_device(talkative):
        events: list[Event] = []
        for event in engine.complete(complete("Hello", max_tokens=None)):
            events.append(event)
            if len(events) == 20 and engine.pid is not None:
                os.kill(engine.pid, signal.SIGABRT)
        assert not only(Finished, events)
        load(engine, talkative, **ON_ONE)
        end = finish(engine.complete(complete("Hello", max_tokens=90)))
        assert (end.sampled_on, end.sampled_why) == (
            "host",
            "an engine died while answering before",
        )


def test_a_device_without_an_operation_hands_the_draw_back(talkative: Path) -> None:
    for refused in ("TOP_K", "CUMSUM"):  # the first operation of the chain, and one of the last
        (host, trial), sampled_on, why, attached = in_child(
            "from tests.engine.refused_draw import main\n"
            "from localllm.core.generation import Sampling\n"
            f"main({str(talkative)!r}, {refused!r}, Sampling(), 100)"
        )
        assert host == trial
        assert (sampled_on, attached) == ("both", 0)
        assert why == "the device lacks an operation of these samplers"
