"""Planning flags: one policy from long names, llama.cpp's short ones, and the environment."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from localllm.cli import main, options
from localllm.core.policy import Policy
from localllm.units import GiB
from tests.cli.conftest import Command


@pytest.fixture
def planned(localllm: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``localllm plan MODEL flags`` as a command that prints nothing but its policy."""

    @click.command(cls=options.Command)
    @options.model_argument
    @options.planning_options
    def plan(model: str, policy: Policy) -> None:
        click.echo(repr(policy))

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda self, ctx, name: plan)
    return lambda *arguments: localllm("plan", "model.gguf", *arguments)


def test_without_flags_everything_is_left_to_the_planner(planned: Command) -> None:
    assert planned().out.strip() == repr(Policy())


SHORT = "-c 4096 -ngl 20 -ub 256 -b 1024 -fa on -t 4 -ctk q8_0 -ctv q4_0 -ts 3,1 -ncmoe 2 -nr"
LONG = (
    "--ctx 4096 --n-gpu-layers 20 --ubatch 256 --batch 1024 --flash-attn on --threads 4 "
    "--type-k q8_0 --type-v q4_0 --tensor-split 3,1 --n-cpu-moe 2 --no-repack"
)
LLAMA_CPPS_LONG = (
    "--ctx-size 4096 --gpu-layers 20 --ubatch-size 256 --batch-size 1024 --flash-attn on "
    "--threads 4 --cache-type-k q8_0 --cache-type-v q4_0 --tensor-split 3,1 --n-cpu-moe 2 "
    "--no-repack"
)
POLICY = Policy(
    n_ctx=4096,
    n_gpu_layers=20,
    n_ubatch=256,
    n_batch=1024,
    flash_attn="on",
    n_threads=4,
    type_k="q8_0",
    type_v="q4_0",
    tensor_split=(3.0, 1.0),
    n_cpu_moe=2,
    repack=False,
)


@pytest.mark.parametrize("flags", [SHORT, LONG, LLAMA_CPPS_LONG])
def test_llama_cpps_names_mean_the_same(planned: Command, flags: str) -> None:
    assert planned(*flags.split()).out.strip() == repr(POLICY)


def test_short_forms_take_their_value_attached_as_well(planned: Command) -> None:
    expected = repr(Policy(n_ctx=4096, n_gpu_layers=20, n_threads=8))
    assert planned("-c4096", "-ngl=20", "-t8").out.strip() == expected


def test_every_flag_has_an_environment_twin(
    planned: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = {
        "CTX": "4096",
        "N_GPU_LAYERS": "20",
        "UBATCH": "256",
        "BATCH": "1024",
        "FLASH_ATTN": "on",
        "THREADS": "4",
        "TYPE_K": "q8_0",
        "TYPE_V": "q4_0",
        "TENSOR_SPLIT": "3,1",
        "N_CPU_MOE": "2",
        "REPACK": "0",
    }
    for name, value in twins.items():
        monkeypatch.setenv(f"LOCALLLM_{name}", value)
    assert planned().out.strip() == repr(POLICY)


def test_a_flag_wins_over_its_twin_and_an_empty_twin_is_none(
    planned: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_CTX", "4096")
    monkeypatch.setenv("LOCALLLM_THREADS", "")
    assert planned("--ctx", "max").out.strip() == repr(Policy(n_ctx="max"))


def test_kv_sets_both_caches_and_a_single_one_overrides_it(planned: Command) -> None:
    both = planned("--kv", "q8_0", "--type-v", "f16").out.strip()
    assert both == repr(Policy(type_k="q8_0", type_v="f16"))
    assert planned("--kv", "auto").out.strip() == repr(Policy(type_k="auto", type_v="auto"))


def test_headroom_is_a_size_or_a_share(planned: Command) -> None:
    share = repr(Policy(vram_headroom_fraction=0.05))
    assert planned("--vram-headroom", "5%").out.strip() == share
    assert planned("--vram-headroom", "none").out.strip() == repr(Policy(vram_headroom_bytes=0))


def test_budgets_and_the_rest(planned: Command) -> None:
    flags = ["--vram-budget", "20GiB", "--ram-budget", "8GiB", "--depth", "4k", "--no-mmap"]
    assert planned(*flags).out.strip() == repr(
        Policy(vram_budget_bytes=20 * GiB, ram_budget_bytes=8 * GiB, depth=4096, use_mmap=False)
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--kv", "q3"],
            "--kv: 'q3' is not a KV cache type: choose f16, bf16, q8_0, q4_0, f32 or auto.",
        ),
        (["-c", "lots"], "--ctx: 'lots' is not a context: give tokens (8192, 32k) or max."),
        (["-fa", "perhaps"], "--flash-attn: 'perhaps' is none of on, off or auto."),
        (["--vram-budget", "0"], "--vram-budget: '0' is not an amount of memory"),
    ],
)
def test_a_bad_value_is_named_with_what_is_valid(
    planned: Command, flags: list[str], message: str
) -> None:
    outcome = planned(*flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {message}")
    assert "\nhint: " in outcome.err


def test_a_bad_twin_is_named_as_the_variable(
    planned: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_CTX", "lots")
    assert planned().err.startswith("error: LOCALLLM_CTX: 'lots' is not a context")


def test_names_cannot_be_abbreviated(planned: Command) -> None:
    outcome = planned("--ct", "4096")
    assert outcome.code == 2
    assert "No such option" in outcome.err


def test_models_are_completed_by_folder_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    for name in ("a.gguf", "b.txt", ".hidden.gguf", "models/c.gguf"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    context = click.Context(click.Command("plan"))
    parameter = click.Argument(["model"])

    def complete(text: str) -> list[str]:
        return [item.value for item in options.complete_model(context, parameter, text)]

    assert complete("") == ["demo", "a.gguf", "models/"]
    assert complete("mod") == ["models/"]
    assert complete("models/") == ["models/c.gguf"]
    assert complete(".h") == [".hidden.gguf"]
    assert complete("missing/x") == []
