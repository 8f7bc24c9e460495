"""A policy as flags, and back: what is copied makes the same plan again."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.cli.bench.axes import SWEPT_FLAGS, axes_options
from localllm.cli.options import (
    CHOICE_FLAGS,
    hardware_option,
    planning_options,
    planning_options_without,
)
from localllm.core.bench.sweep import N_BATCH, Axes
from localllm.core.planner import make_plan
from localllm.core.policy import KV_TYPES, Policy, Prices
from localllm.units import GiB
from localllm.words.flags import command, command_line, in_lines, llama_command
from tests.support.specs import gpu, llama_3_8b, machine

KV = st.sampled_from((None, "auto", *KV_TYPES))
COUNT = st.none() | st.integers(1, 2**20)
WHOLE = st.none() | st.integers(0, 300)
SIZE = st.none() | st.integers(1, 2**48)
AMOUNT = st.none() | st.floats(1e-6, 1e6)
PRICE = st.none() | st.floats(0, 1e4)

POLICIES = st.builds(
    Policy,
    n_ctx=st.none() | st.just("max") | st.integers(1, 2**24),
    type_k=KV,
    type_v=KV,
    n_gpu_layers=WHOLE,
    n_cpu_moe=WHOLE,
    tensor_split=st.none() | st.lists(st.floats(0.001, 1e9), min_size=1, max_size=4).map(tuple),
    n_batch=COUNT,
    n_ubatch=COUNT,
    flash_attn=st.sampled_from(("auto", "on", "off")),
    n_threads=COUNT,
    depth=st.integers(0, 2**20),
    vram_headroom_bytes=st.integers(0, 2**40),
    vram_budget_bytes=SIZE,
    ram_budget_bytes=SIZE,
    use_mmap=st.sampled_from((None, True, False)),
    repack=st.sampled_from((None, True, False)),
    quant=st.sampled_from((None, "Q4_K_M", "IQ2_XXS")),
    prefer=st.sampled_from(("quality", "balanced", "speed", "context")),
    min_tok_s=AMOUNT,
    max_j_per_token=AMOUNT,
    power_limit_w=AMOUNT,
    prices=st.none()
    | st.builds(
        Prices, per_kwh=PRICE, per_hour=PRICE, currency=st.sampled_from(("USD", "EUR"))
    ).filter(lambda prices: (prices.per_kwh, prices.per_hour) != (None, None)),
)
HEADROOM_SHARES = st.none() | st.floats(0, 99.9).map(lambda percent: percent / 100)


def read_by_plan(line: str) -> tuple[str, tuple[str, ...], Policy]:
    """What ``localllm plan`` would be called with."""

    @click.command()
    @click.argument("model")
    @hardware_option(help="")
    @planning_options
    def plan(model: str, names: tuple[str, ...], policy: Policy) -> None:
        read.append((model, names, policy))

    read: list[tuple[str, tuple[str, ...], Policy]] = []
    program, verb, *arguments = shlex.split(line)
    assert (program, verb) == ("localllm", "plan")
    plan.main(arguments, standalone_mode=False)
    return read[0]


def as_a_shell_reads(lines: str) -> list[str]:
    return shlex.split(lines.replace("\\\n", ""))


@settings(max_examples=60, deadline=None)
@given(policy=POLICIES, share=HEADROOM_SHARES)
def test_the_command_line_of_a_policy_is_read_as_the_same_policy(
    policy: Policy, share: float | None
) -> None:
    if share is not None:  # it wins, so the bytes are not said
        usual = Policy().vram_headroom_bytes
        policy = replace(policy, vram_headroom_fraction=share, vram_headroom_bytes=usual)
    machines = ("2x rtx-4090", "epyc-9654")
    name = "it's a model.gguf"
    line = command_line(command("plan", name, policy, machines))
    assert read_by_plan(line) == (name, machines, policy)
    assert as_a_shell_reads(in_lines(shlex.split(line))) == shlex.split(line)


def test_what_is_as_usual_is_not_said() -> None:
    assert command_line(command("chat", "llama-3-8b", Policy())) == "localllm chat llama-3-8b"
    wishes = Policy(n_ctx=32768, type_k="q8_0", type_v="q8_0", vram_headroom_fraction=0.07)
    line = command_line(command("plan", "m", wishes))
    assert line == "localllm plan m --kv q8_0 --ctx 32768 --vram-headroom 7%"


def test_only_a_plan_is_made_for_another_machine() -> None:
    assert "--hardware" not in command("chat", "demo", Policy(), ("rtx-4090",))
    assert "--hardware" in command("plan", "demo", Policy(), ("rtx-4090",))


@settings(max_examples=25, deadline=None)
@given(policy=POLICIES)
def test_the_bench_command_is_read_by_bench(policy: Policy) -> None:
    """Its settings are lists there, and it knows neither preferences nor ``auto`` for a cache."""
    policy = replace(
        policy,
        type_k=None if policy.type_k == "auto" else policy.type_k,
        type_v=None if policy.type_v == "auto" else policy.type_v,
    )
    read: list[tuple[Policy, Axes]] = []

    @click.command()
    @click.argument("model")
    @planning_options_without("depth", *SWEPT_FLAGS, *CHOICE_FLAGS)
    @axes_options
    def bench(model: str, policy: Policy, axes: Axes) -> None:
        read.append((policy, axes))

    _, _, *arguments = command("bench", "m", policy)
    bench.main(arguments, standalone_mode=False)
    ((rest, axes),) = read
    assert axes.n_gpu_layers == (policy.n_gpu_layers,)
    assert axes.tensor_split == (policy.tensor_split,)
    assert axes.cache == ((policy.type_k, policy.type_v),)
    assert axes.n_batch == (policy.n_batch or N_BATCH,)
    assert (rest.n_ctx, rest.quant) == (policy.n_ctx, policy.quant)


def test_a_plan_as_llama_cpps_flags_has_one_on_each_line() -> None:
    plan = make_plan(llama_3_8b(), machine(gpu(free=4 * GiB)), Policy())
    lines = in_lines(llama_command(plan)).split(" \\\n  ")
    assert lines[0] == "llama-server"
    assert f"-ngl {plan.n_gpu_layers}" in lines
    assert lines[1:] == [line for line in lines if line.startswith("-")]
    assert as_a_shell_reads(in_lines(llama_command(plan))) == ["llama-server", *plan.llama_args]
