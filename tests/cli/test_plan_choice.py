"""``localllm plan`` where something is left open: the choice, its alternatives, and targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localllm.core.hardware_document import hardware_document
from localllm.units import GiB
from tests.cli.conftest import Command
from tests.support.specs import gpu, machine

FORMULA = ("--basis", "formula")


@pytest.fixture(autouse=True)
def few_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target looks at beside the machine at hand: three of the 263 profiles, for speed."""
    monkeypatch.setattr(
        "localllm.probes.profiles.profile_names",
        lambda: ("rtx-3060-12gb", "rtx-4090", "h100-sxm5-80gb"),
    )


@pytest.fixture
def desktop(tmp_path: Path) -> str:
    """A saved machine with a 24 GB card and 60 GiB of RAM."""
    return saved(tmp_path / "desktop.json", free=23)


@pytest.fixture
def laptop(tmp_path: Path) -> str:
    """One with a 6 GB card and 24 GiB of RAM."""
    return saved(tmp_path / "laptop.json", free=6, ram=24)


def saved(path: Path, *, free: int, ram: int = 60) -> str:
    path.write_text(json.dumps(hardware_document(machine(gpu(free=free * GiB), ram=ram * GiB))))
    return str(path)


def document(localllm: Command, *arguments: str) -> dict[str, Any]:
    outcome = localllm("plan", *arguments, *FORMULA, "--json")
    assert outcome.code == 0, outcome.err
    parsed: dict[str, Any] = json.loads(outcome.out)
    return parsed


def test_a_bare_name_gets_the_quantisation_of_the_default(localllm: Command, desktop: str) -> None:
    plan = document(localllm, "llama-3-8b", "--hardware", desktop)
    assert plan["model"]["quant"] == plan["choice"]["quant"] == "Q6_K"
    assert plan["reasons"][0] == plan["choice"]["reason"]
    assert plan["choice"]["reason"].startswith("Q6_K: the fastest of those whose loss")
    assert plan["choice"]["loss"]["kld"] < 0.0077
    assert plan["alternatives"] is None


def test_the_reason_for_the_choice_is_on_the_page(localllm: Command, desktop: str) -> None:
    page = localllm("plan", "llama-3-8b", "--hardware", desktop, *FORMULA).out
    assert "Q6_K: the fastest of those whose loss is too small to notice." in page


@pytest.mark.parametrize(
    "arguments",
    [("llama-3-8b:Q5_K_M",), ("llama-3-8b", "--quant", "q5-k-m")],
    ids=["in the name", "as a flag"],
)
def test_a_quantisation_that_was_named_is_kept(
    localllm: Command, desktop: str, arguments: tuple[str, ...]
) -> None:
    plan = document(localllm, *arguments, "--hardware", desktop)
    assert plan["model"]["quant"] == "Q5_K_M"
    assert plan["choice"] is None
    assert (plan["type_k"], plan["n_ctx"]) == ("f16", 8192)


def test_contradicting_quantisations_are_refused(localllm: Command, desktop: str) -> None:
    outcome = localllm("plan", "llama-3-8b:Q5_K_M", "--quant", "Q6_K", "--hardware", desktop)
    assert (outcome.code, outcome.out) == (2, "")
    assert "hint: " in outcome.err


def test_a_file_keeps_its_quantisation_and_can_be_planned_as_if(
    localllm: Command, bare_llama: Path, desktop: str
) -> None:
    own = document(localllm, str(bare_llama), "--hardware", desktop)
    assert (own["model"]["quant"], own["choice"]) == ("Q4_K_M", None)
    as_if = json.loads(
        localllm("plan", str(bare_llama), "--quant", "Q8_0", "--hardware", desktop, "--json").out
    )
    assert as_if["model"]["quant"] == "Q8_0"
    assert as_if["basis"] == "formula"
    assert "the file is in Q4_K_M" in as_if["basis_reason"]
    assert any("The file is in Q4_K_M" in reason for reason in as_if["reasons"])
    exact = localllm(
        "plan", str(bare_llama), "--quant", "Q8_0", "--hardware", desktop, "--basis", "exact"
    )
    assert exact.code == 6


def test_running_a_file_in_another_quantisation_is_refused(
    localllm: Command, bare_llama: Path
) -> None:
    outcome = localllm("bench", str(bare_llama), "--quant", "Q8_0")
    assert outcome.code == 2
    assert "is in Q4_K_M, and --quant Q8_0 asks for another" in outcome.err


def test_preferences_differ_where_they_should(localllm: Command, laptop: str) -> None:
    plans = {
        prefer: document(localllm, "llama-3.1-8b", "--hardware", laptop, "--prefer", prefer)
        for prefer in ("quality", "balanced", "speed", "context")
    }
    speeds = {prefer: plan["speed"]["tg_tok_s"] for prefer, plan in plans.items()}
    losses = {prefer: plan["choice"]["loss"]["kld"] for prefer, plan in plans.items()}
    assert losses["quality"] <= losses["balanced"] <= losses["speed"]
    assert speeds["quality"] <= speeds["balanced"] <= speeds["speed"]
    assert plans["context"]["n_ctx"] > plans["balanced"]["n_ctx"] == 8192


def test_a_wish_for_speed_is_met_or_said_to_be_unmet(localllm: Command, laptop: str) -> None:
    met = document(localllm, "llama-3-8b", "--hardware", laptop, "--min-tok-s", "30 tok/s")
    assert met["speed"]["tg_tok_s"] >= 30
    assert met["choice"]["unmet"] is None
    unmet = document(localllm, "llama-3-8b", "--hardware", laptop, "--min-tok-s", "9000")
    assert "Nothing here decodes at 9,000 tok/s" in unmet["choice"]["unmet"]
    assert unmet["choice"]["unmet"] in unmet["reasons"]


def test_the_alternatives_are_a_front_with_the_plan_marked(localllm: Command, laptop: str) -> None:
    arguments = ("llama-3-8b", "--hardware", laptop, "--alternatives")
    plan = document(localllm, *arguments)
    rows = plan["alternatives"]
    losses = [row["loss"]["kld"] for row in rows]
    speeds = [row["speed"]["tg_tok_s"] for row in rows]
    assert losses == sorted(losses) and len(rows) > 3
    assert speeds == sorted(speeds)
    (chosen,) = [row for row in rows if row["chosen"]]
    assert chosen["model"]["quant"] == plan["model"]["quant"]
    page = localllm("plan", *arguments, *FORMULA).out
    table = page[page.index("Alternatives") :]
    marked, legend = (line for line in table.splitlines() if line.startswith("▸"))
    assert legend.startswith("▸ is this plan.")
    assert plan["model"]["quant"] in marked
    for row in rows:
        assert row["model"]["quant"] in table


def test_a_file_shows_what_other_quantisations_of_it_would_do(
    localllm: Command, bare_llama: Path, desktop: str
) -> None:
    plan = document(localllm, str(bare_llama), "--hardware", desktop, "--alternatives")
    assert plan["choice"] is None
    quants = [row["model"]["quant"] for row in plan["alternatives"]]
    assert {"Q8_0", "Q6_K", "Q4_K_M"} <= set(quants)
    assert [row["model"]["quant"] for row in plan["alternatives"] if row["chosen"]] == ["Q4_K_M"]


def test_a_target_that_is_reached_says_so(localllm: Command, desktop: str) -> None:
    outcome = localllm("plan", "llama-3-8b", "--hardware", desktop, "--want", "20tok/s", *FORMULA)
    assert outcome.code == 0
    assert "Target  20 tok/s: reached." in outcome.out


def test_a_target_that_is_not_reached_exits_3_with_the_least_change(
    localllm: Command, laptop: str
) -> None:
    arguments = ("llama-3.1-8b:Q8_0", "--hardware", laptop, "--want", "60tok/s", "-c", "16k")
    outcome = localllm("plan", *arguments, *FORMULA, "--json")
    target = json.loads(outcome.out)["target"]
    assert outcome.code == 3
    assert not target["reached"]
    assert all(step["speed"]["tg_tok_s"] >= 60 for step in target["steps"])
    first = target["steps"][0]
    assert first["kind"] == "quantisation"
    assert "does not reach 60 tok/s here" in outcome.err
    assert f"This would reach it: {first['change']}" in outcome.err


def test_a_target_has_its_place_on_the_page(localllm: Command, desktop: str) -> None:
    page = localllm(
        "plan", "llama-3-8b:Q8_0", "--hardware", desktop, "--want", "0.001 J/token", *FORMULA
    )
    assert page.code == 3
    labels = ["Target", "Missing", "Nearest"]
    lines = [line for line in page.out.splitlines() if line.split("  ")[0] in labels]
    assert [line.split("  ")[0] for line in lines] == labels
    assert "0.001 J/token: not reached." in lines[0]


def test_an_open_quantisation_gives_way_to_a_target(localllm: Command, laptop: str) -> None:
    plain = document(localllm, "llama-3-8b", "--hardware", laptop)
    wish = 1.3 * plain["speed"]["tg_tok_s"]
    wished = document(localllm, "llama-3-8b", "--hardware", laptop, "--want", f"{wish:.1f}")
    assert wished["speed"]["tg_tok_s"] >= 0.99 * wish
    assert wished["choice"]["loss"]["kld"] > plain["choice"]["loss"]["kld"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--want", "-5"), "20tok/s"),
        (("--want", "nan"), "20tok/s"),
        (("--want", "20W"), "20tok/s"),
        (("--prefer", "best"), "quality, balanced, speed or context"),
        (("--min-tok-s", "0"), "above 0"),
        (("--min-tok-s", "inf"), "above 0"),
        (("--max-j-per-token", "-1"), "above 0"),
        (("--power-limit", "none"), "above 0"),
        (("--price-kwh", "-0.3"), "from 0 up"),
        (("--price-hour", "nan"), "from 0 up"),
        (("--price-kwh", "30ct"), "0.30EUR"),
        (("--price-kwh", "0.3EUR", "--price-hour", "$1"), "EUR and USD"),
        (("--power-limit", "300J"), "0.3kW"),
        (("--min-tok-s", "20J/token"), "20tok/s"),
        (("--max-j-per-token", "20tok/s"), "0.5J/token"),
        (("--depth", "-4"), "from 0 up"),
        (("--currency", "1"), "EUR"),
        (("--quant", "Q9_K"), "Q4_K_M"),
        (("--quant", "!"), "Q4_K_M"),
    ],
)
def test_nonsense_is_refused_with_what_is_possible(
    localllm: Command, flags: tuple[str, str], says: str
) -> None:
    outcome = localllm("plan", "llama-3-8b", "--hardware", "rtx-4090", *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err


def test_prices_and_a_power_limit_reach_the_plan(localllm: Command) -> None:
    arguments = ("llama-3-8b:Q4_K_M", "--hardware", "rtx-4090")
    plan = document(localllm, *arguments, "--price-hour", "0.75", "--currency", "eur")
    speed, cost = plan["speed"]["tg_tok_s"], plan["cost"]
    assert cost["currency"] == "EUR"
    assert cost["per_million_tokens"] == pytest.approx(0.75 / 3600 / speed * 1e6)
    assert document(localllm, *arguments, "--price-hour", "0.75 EUR/h")["cost"] == cost
    capped = document(localllm, *arguments, "--power-limit", "200W")
    assert capped["power"]["board_w"] <= 200 < plan["power"]["board_w"]
    assert document(localllm, *arguments, "--power-limit", "0.2kW")["power"] == capped["power"]
