"""``localllm compare``: the page at two widths, Markdown, the document, the picture, exit codes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from localllm.core.hardware_document import hardware_document
from localllm.units import GiB
from tests.cli.conftest import Command
from tests.support.specs import gpu, host, machine

MODEL = "llama-3.2-1b"


@pytest.fixture
def desk(tmp_path: Path) -> str:
    """A saved machine with a 24 GB card."""
    path = tmp_path / "desk.json"
    path.write_text(json.dumps(hardware_document(machine(gpu()))))
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A saved machine with next to no memory."""
    from localllm.core.hardware import Hardware

    small = Hardware(name="tiny", source="test", host=host(available=GiB // 8))
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(hardware_document(small)))
    return str(path)


def rows(page: str) -> list[list[str]]:
    """The table's rows: the lines between its heading and the next empty line."""
    lines = page.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("machine "))
    body = lines[start + 1 : lines.index("", start)]
    return [re.split(r"\s{2,}", line.strip()) for line in body]


def test_every_machine_has_a_row_in_the_order_given(localllm: Command) -> None:
    outcome = localllm("compare", MODEL, "--hardware", "rtx-4090", "--hardware", "desktop-ddr5")
    assert (outcome.code, outcome.err) == (0, "")
    first, second = rows(outcome.out)
    assert first[:2] == ["rtx-4090", "yes"]
    assert second[0] == "desktop-ddr5"
    assert "17/17" in first
    assert "CPU" in second
    assert re.search(r"\d[\d.,]* \(\d[\d.,]*-\d[\d.,]*\)", outcome.out)
    assert "Estimates by localllm" in outcome.out
    assert "\x1b" not in outcome.out


def test_without_names_this_machine_comes_before_the_usual_ones(localllm: Command) -> None:
    page = localllm("compare", "demo").out
    assert [row[0] for row in rows(page)] == [
        "this machine",
        "desktop-ddr5",
        "rtx-4090",
        "2x rtx-4090",
        "a100-pcie-40gb",
        "a100-pcie-80gb",
        "h100-sxm5-80gb",
    ]


def test_commas_part_machines_and_plus_joins_one(localllm: Command) -> None:
    page = localllm("compare", MODEL, "--hardware", "rtx-4090,rtx-3060-12gb+epyc-9654").out
    assert [row[0] for row in rows(page)] == ["rtx-4090", "rtx-3060-12gb + epyc-9654"]


def test_what_does_not_fit_says_how_much_is_short(localllm: Command, desk: str, tiny: str) -> None:
    both = localllm("compare", MODEL, "--hardware", tiny, "--hardware", desk)
    assert both.code == 0
    short = next(row for row in rows(both.out) if row[0] == "tiny")
    assert short[1] == "no"
    assert any(re.fullmatch(r"[\d.]+ [MG]iB short", cell) for cell in short)
    assert re.search(r"^tiny: short of [\d.]+ [MG]iB in RAM\.$", both.out, re.MULTILINE)
    alone = localllm("compare", MODEL, "--hardware", tiny)
    assert alone.code == 3
    assert "tiny  " in alone.out
    assert "comes nearest" in alone.err


def test_columns_that_fold_away_are_named_and_back_on_a_wide_terminal(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("compare", "llama-3-70b", "--hardware", "rtx-4090", "--hardware", "desktop-ddr5")
    narrow = localllm(*arguments).out
    assert all(len(line) <= 80 for line in narrow.splitlines())
    gone = " ".join(narrow.split()).partition("Not shown at 80 columns: ")[2].partition(".")[0]
    assert "prompt tok/s" in gone
    heading = next(line for line in narrow.splitlines() if line.startswith("machine "))
    assert not any(name in heading for name in gone.split(", "))
    monkeypatch.setenv("COLUMNS", "110")
    wide = localllm(*arguments).out
    assert "prompt tok/s" in next(line for line in wide.splitlines() if line.startswith("machine "))


def test_a_quantisation_can_be_fixed_and_then_stands_in_the_title(localllm: Command) -> None:
    arguments = ("compare", MODEL, "--hardware", "rtx-4090", "--hardware", "desktop-ddr5")
    page = localllm(*arguments, "--quant", "q5-k-m").out
    assert "Q5_K_M" in page.splitlines()[0]
    assert localllm("compare", f"{MODEL}:Q5_K_M", *arguments[2:]).out == page


def test_all_quantisations_make_a_grid_that_is_cut_nowhere(localllm: Command) -> None:
    from localllm.core.quants import OFFERED

    arguments = ("compare", MODEL, "--quant", "all", "--hardware", "rtx-4090,desktop-ddr5")
    page = localllm(*arguments).out
    assert all(len(line) <= 80 for line in page.splitlines())
    headings = [line.split()[1:] for line in page.splitlines() if line.startswith("tok/s ")]
    quants = [name for block in headings for name in block]
    assert sorted(quants) == sorted(OFFERED)
    table = localllm(*arguments, "--markdown").out
    document = json.loads(localllm(*arguments, "--json").out)
    assert len(document["rows"]) == 2 * len(OFFERED)
    assert [row["model"]["quant"] for row in document["rows"][: len(OFFERED)]] == quants
    sizes = [row["model"]["file_bytes"] for row in document["rows"][: len(OFFERED)]]
    assert sizes == sorted(sizes, reverse=True)
    assert all(quant.replace("_", "\\_") in table for quant in OFFERED)


def test_markdown_has_every_column_and_says_how_to_make_it_again(
    localllm: Command, desk: str
) -> None:
    arguments = ("compare", MODEL, "--hardware", "rtx-4090", "--hardware", desk, "--markdown")
    text = localllm(*arguments).out
    heading, rule, first, second = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in (heading, rule, first, second)}) == 1
    assert "prompt tok/s" in heading
    assert "J/token" in heading
    assert f"\n{shlex.join(('localllm', *arguments))}\n" in text
    assert "Estimates by localllm" in text


def test_markdown_names_the_variables_that_stood_in_for_options(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_CTX", "2k")
    text = localllm("compare", MODEL, "--hardware", "rtx-4090", "--markdown").out
    assert f"env LOCALLLM_CTX=2k localllm compare {MODEL} --hardware rtx-4090 --markdown" in text


def test_the_document_agrees_with_the_plan_of_the_same_choice(localllm: Command) -> None:
    compared = localllm("compare", f"{MODEL}:Q8_0", "--hardware", "rtx-4090", "--json")
    row = json.loads(compared.out)["rows"][0]
    ubatch, kv = str(row["n_ubatch"]), row["type_k"]
    arguments = ("--hardware", "rtx-4090", "--kv", kv, "-ub", ubatch, "--basis", "formula")
    plan = json.loads(localllm("plan", f"{MODEL}:Q8_0", *arguments, "--json").out)
    names = ("verdict", "n_ctx", "type_k", "type_v", "n_gpu_layers", "n_layer_total", "n_threads")
    assert {name: row[name] for name in names} == {name: plan[name] for name in names}
    assert row["speed"]["tg_tok_s"] == pytest.approx(plan["speed"]["tg_tok_s"])
    assert row["hardware"]["name"] == plan["hardware"]["name"]
    assert row["model"]["quant"] == plan["model"]["quant"]


def test_a_picture_is_written_beside_the_page(
    localllm: Command, desk: str, tiny: str, tmp_path: Path
) -> None:
    target = tmp_path / "speeds.svg"
    names = ("--hardware", desk, "--hardware", tiny)
    outcome = localllm("compare", MODEL, *names, "--plot", str(target))
    assert outcome.code == 0
    text = target.read_text()
    assert "does not fit: short of" in text
    assert "estimated speed by machine" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hardware", "rtx-4099"), "Nearest: rtx-4090"),
        (("--hardware", "rtx-4090+"), "names no machine"),
        (("--quant", "Q4_X"), "Known are"),
        (("--plot", "speeds.png"), "ends in .svg"),
        (("--plot", "speeds.svg", "--quant", "all"), "one bar per machine"),
        (("--json", "--markdown"), "Give one of them"),
        (("--ctx", "9999999"), "was trained for a context"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_possible(
    localllm: Command, arguments: tuple[str, ...], message: str
) -> None:
    outcome = localllm("compare", MODEL, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_name_s_quantisation_and_another_one_contradict_each_other(localllm: Command) -> None:
    outcome = localllm("compare", f"{MODEL}:Q5_K_M", "--quant", "Q4_K_M")
    assert outcome.code == 2
    assert f"{MODEL} --quant Q4_K_M" in outcome.err


def test_a_price_gives_a_cost_that_stays_on_a_narrow_page(localllm: Command) -> None:
    arguments = ("compare", "llama-3-70b", "--hardware", "rtx-4090,desktop-ddr5")
    page = localllm(*arguments, "--price-hour", "0.75", "--currency", "EUR").out
    assert "EUR/M tok" in page
    assert "at a rent of 0.75 EUR per hour" in " ".join(page.split())
    document = json.loads(localllm(*arguments, "--price-hour", "0.75", "--json").out)
    for row in document["rows"]:
        cost = 0.75 / 3600 / row["speed"]["tg_tok_s"] * 1e6
        assert row["cost"]["per_million_tokens"] == pytest.approx(cost)
    assert "M tok" not in localllm(*arguments).out
