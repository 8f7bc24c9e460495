"""``localllm recommend``: what it lists, in which order, and that each row's plan can be made."""

from __future__ import annotations

import json
import shlex

import pytest

from localllm.cli.main import cli
from tests.cli.conftest import Command

ON_A_CARD = ("--hardware", "rtx-3060-12gb")


def test_rows_are_ordered_by_size_and_say_what_became_of_the_rest(localllm: Command) -> None:
    outcome = localllm("recommend", "llama", "3", *ON_A_CARD, "--limit", "3", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["schema"] == "localllm.recommend/1"
    rows = document["rows"]
    assert len(rows) == 3
    sizes = [row["n_params"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert all(row["speed"]["tg_tok_s"] >= 10 for row in rows)
    assert all("llama" in row["name"] for row in rows)
    listed = sum(1 + len(row["also"]) for row in rows)
    others = document["too_large"] + document["too_slow"] + document["not_reached"]
    assert listed + others == document["n_known"]


def test_the_commands_under_the_table_make_the_same_plans(localllm: Command) -> None:
    arguments = ("recommend", "qwen2.5-0.5b", *ON_A_CARD)
    [row] = json.loads(localllm(*arguments, "--json").out)["rows"]
    command = row["plan_command"]
    assert shlex.join(command) in localllm(*arguments).out.splitlines()
    plan = json.loads(localllm(*command[1:], "--basis", "formula", "--json").out)
    names = ("n_ctx", "n_ubatch", "type_k", "type_v", "n_gpu_layers", "verdict")
    assert {name: plan[name] for name in names} == {name: row[name] for name in names}
    assert plan["model"]["quant"] == row["model"]["quant"]
    assert plan["speed"]["tg_tok_s"] == pytest.approx(row["speed"]["tg_tok_s"])


def test_models_of_one_shape_share_a_line(localllm: Command) -> None:
    page = localllm("recommend", "qwen2.5 0.5b", *ON_A_CARD).out
    assert "qwen2.5-0.5b: the same holds for qwen2.5-coder-0.5b." in page
    assert "2 of 2 known models are listed." in page


def test_the_page_is_as_wide_as_the_terminal_but_for_commands(localllm: Command) -> None:
    page = localllm("recommend", "smollm2", *ON_A_CARD).out
    assert all(len(line) <= 80 for line in page.splitlines() if not line.startswith("localllm "))
    assert "Not shown at 80 columns: " in page


def test_the_column_that_orders_the_rows_never_folds_away(localllm: Command) -> None:
    names = {"context": "context", "j-per-token": "J/token"}
    for sort, heading in names.items():
        page = localllm("recommend", "smollm2", *ON_A_CARD, "--sort", sort).out
        line = next(line for line in page.splitlines() if line.startswith("model "))
        assert heading in line


def test_markdown_has_the_table_and_the_commands(localllm: Command) -> None:
    arguments = ("recommend", "smollm2", *ON_A_CARD, "--limit", "2", "--markdown")
    text = localllm(*arguments).out
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 4
    assert f"\n{shlex.join(('localllm', *arguments))}\n" in text
    assert text.count("\nlocalllm plan smollm2") == 2


def test_nothing_that_runs_well_is_exit_3_with_a_page_all_the_same(localllm: Command) -> None:
    outcome = localllm("recommend", "llama-3-70b", "--hardware", "raspberry-pi-5")
    assert outcome.code == 3
    assert "0 of 1 known models are listed; 1 are too large" in outcome.out
    assert outcome.err.startswith("error: No known model runs well")


def test_unknown_words_are_exit_5_with_the_nearest_names(localllm: Command) -> None:
    outcome = localllm("recommend", "llama-3-7b")
    assert (outcome.code, outcome.out) == (5, "")
    assert "llama-3-8b" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sort", "beauty"), "--sort"),
        (("--quant", "Q4_X"), "Known are"),
        (("--limit", "0"), "--limit"),
        (("--max-gib", "-3"), "--max-gib"),
        (("--json", "--markdown"), "two kinds"),
        (("--hardware", "rtx-4099"), "Nearest"),
    ],
)
def test_what_makes_no_sense_is_refused(
    localllm: Command, arguments: tuple[str, ...], message: str
) -> None:
    outcome = localllm("recommend", "gemma", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_the_command_is_listed(localllm: Command) -> None:
    page = localllm("--help").out
    assert "  recommend " in page
    assert "  compare " in page
    assert cli.get_command(cli.make_context("localllm", [], resilient_parsing=True), "recommend")


def test_a_power_limit_that_the_card_cannot_take_is_refused(localllm: Command) -> None:
    card = ("--hardware", "h100-sxm5-80gb")
    outcome = localllm("recommend", "qwen2.5-0.5b", *card, "--power-limit", "150")
    assert (outcome.code, outcome.out) == (2, "")
    assert "150 W is too low" in outcome.err


def test_what_was_asked_for_is_what_to_ask_less_of(localllm: Command) -> None:
    outcome = localllm("recommend", "qwen2.5-0.5b", *ON_A_CARD, "--max-gib", "0.001")
    assert outcome.code == 3
    assert "a larger --max-gib" in outcome.err
    assert "--ctx" not in outcome.err
