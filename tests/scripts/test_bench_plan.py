"""What ``scripts/bench_plan.py`` measures with: commands in turns, medians, and a joint search."""

from __future__ import annotations

import sys

import pytest
from _check.search import joint_search
from bench_plan import Command, as_table, commands_for, result_of

from localllm.hub.known.models import known_model
from localllm.session import hardware_named


def timed(name: str, *wall_s: float, bound_s: float | None, beside: str | None = None) -> Command:
    command = Command(name, ["true"], bound_s=bound_s, beside=beside)
    command.wall_s, command.cpu_s = list(wall_s), list(wall_s)
    return command


def test_a_median_is_held_against_its_bound_and_its_neighbour() -> None:
    fit = timed("fit", 0.4, 0.5, 9.0, bound_s=None)
    plan = timed("plan", 0.2, 0.25, 3.0, bound_s=0.35, beside="fit")
    result = result_of(plan, [fit, plan])
    assert result["median_s"] == 0.25
    assert result["within"] is True
    assert result["of_fit_params"] == 0.5
    assert result_of(fit, [fit, plan])["within"] is None
    assert "missed" not in as_table([result])


def test_a_missed_bound_is_said() -> None:
    slow = timed("plan", 0.4, bound_s=0.35)
    assert "missed" in as_table([result_of(slow, [slow])])


def test_a_command_is_a_process_of_its_own_and_its_failure_ends_the_run() -> None:
    command = Command("python", [sys.executable, "-c", "sum(range(10**6))"])
    command.run()
    assert command.wall_s[0] > 0 and command.cpu_s[0] > 0
    with pytest.raises(SystemExit, match="bad failed"):
        Command("bad", [sys.executable, "-c", "raise SystemExit(7)"], bound_s=1).run()


def test_every_bound_of_the_issue_is_measured(tmp_path_factory: pytest.TempPathFactory) -> None:
    commands = commands_for(tmp_path_factory.mktemp("headers"), None, "rtx-4090", search=True)
    bounds = {command.name: command.bound_s for command in commands}
    assert bounds["plan 70B, formula, here"] == 0.35
    assert bounds["plan 70B, exact, rtx-4090"] == 0.8
    assert bounds["joint search, 144 combinations, rtx-4090"] == 5.0


def test_a_joint_search_solves_every_combination_with_llama_cpp() -> None:
    model = known_model("llama-3-8b")
    assert model is not None
    found = joint_search(
        model,
        hardware_named("rtx-3060-12gb"),
        quants=("F16", "Q4_K_M"),
        kv_types=("f16", "q8_0"),
        contexts=(4096, 8192),
        n_children=1,
    )
    n_layers = found["n_gpu_layers"]
    assert len(n_layers) == found["n_solutions"] == 8
    assert found["n_contexts"] >= 8, "each was asked of the allocator"
    assert n_layers["Q4_K_M f16 8192"] == 33, "4.6 GiB fit whole"
    assert 0 < n_layers["F16 f16 8192"] <= n_layers["F16 q8_0 8192"] < 33, "15 GiB do not"
