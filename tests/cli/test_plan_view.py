"""A plan on paper: compared whole where it is small, by its claims elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from localllm.cli.plan_view import print_plan
from localllm.core.change import Change
from localllm.core.documents import plan_document
from localllm.core.plan import (
    Cliff,
    Counterfactual,
    DeviceMemory,
    Plan,
    PowerEstimate,
    SpeedEstimate,
)
from localllm.core.planner import make_plan
from localllm.core.policy import Policy, Prices
from localllm.units import GiB, MiB, format_bytes
from localllm.words.failures import does_not_fit
from localllm.words.plan import summary
from tests.support.specs import gpu, llama, llama_3_8b, llama_3_70b, machine, mixtral


def printed(plan: Plan, *, width: int = 80, explain: bool = False) -> str:
    paper = StringIO()
    console = Console(file=paper, width=width, highlight=False, markup=False, emoji=False)
    print_plan(console, plan, explain=explain)
    return "\n".join(line.rstrip() for line in paper.getvalue().splitlines())


def written_by_hand() -> Plan:
    """A plan whose every figure stands here, so that it can be checked against the page."""
    return replace(
        make_plan(llama_3_8b(), machine(gpu()), Policy()),
        devices=(
            DeviceMemory(
                name="CUDA0",
                kind="gpu",
                total_bytes=24 * GiB,
                free_bytes=23 * GiB,
                model_bytes=4404 * MiB,
                context_bytes=GiB,
                compute_bytes=116 * MiB,
                overhead_bytes=450 * MiB,
                headroom_bytes=512 * MiB,
                n_layers=33,
            ),
            DeviceMemory(
                name="host",
                kind="host",
                total_bytes=64 * GiB,
                free_bytes=60 * GiB,
                model_bytes=282 * MiB,
                context_bytes=0,
                compute_bytes=24 * MiB,
                overhead_bytes=161 * MiB,
                headroom_bytes=256 * MiB,
            ),
        ),
        speed=SpeedEstimate(
            tg_tok_s=131.6,
            tg_low=115.2,
            tg_high=151.4,
            pp_tok_s=5656.3,
            pp_low=3812.0,
            pp_high=10464.0,
            at_depth=0,
            basis="formula",
            bound_by="VRAM bandwidth",
        ),
        power=PowerEstimate(
            board_w=315.2, board_low_w=211.2, board_high_w=412.9, j_per_token=2.395, basis="made up"
        ),
        reasons=("All 33 layers lie on CUDA0.",),
        cliff=Cliff(device="CUDA0", bytes=17046 * MiB, consequence="then a layer goes to RAM"),
        counterfactuals=(),
        estimated_terms=("pools",),
        llama_args=("-m", "/models/llama 3.gguf", "-ngl", "33"),
    )


WHOLE = """\
llama-3-8b  Q4_K_M, 8.03 B parameters, 4.58 GiB, llama  [formula]
planned for test (test), not for this machine
✓ fits  33 of 33 layers on CUDA0, context 8,192, KV f16

MiB   layers model context compute overhead headroom  spare free now
                 █       ▓       ▒        ░        ┈      ·
CUDA0     33 4,404   1,024     116      450      512 17,046   23,552
RAM        0   282       0      24      161      256 60,717   61,440

CUDA0 ╱╱███████▓▓▒░┈····························· of 24.0 GiB (╱ 1.00 GiB used)
RAM   ╱╱╱█▒░┈···································· of 64.0 GiB (╱ 4.00 GiB used)

Speed  132 tok/s (115 to 151), prompt 5,660 tok/s (3,810 to 10,500); bound by
       VRAM bandwidth (estimate: formula).
Power  315 W (211 to 413) on the GPU boards while decoding, 2.40 J per token
       (estimate).
Why    All 33 layers lie on CUDA0.
Next   16.6 GiB on CUDA0: then a layer goes to RAM.
Basis  our formulas over the file's header; upper estimates: pools.

llama-server -m '/models/llama 3.gguf' -ngl 33"""


def test_a_plan_is_printed_whole() -> None:
    assert printed(written_by_hand()) == WHOLE


def test_ram_that_a_gpu_takes_is_counted_where_it_is_taken_from() -> None:
    plan = make_plan(llama_3_8b(), machine(replace(gpu(), unified=True)), Policy())
    page = printed(plan)
    taken = next(line for line in page.splitlines() if line.startswith("RAM  ")).split()
    assert "for GPU" in page
    assert int(taken[6].replace(",", "")) == -(-plan.host.shared_bytes // MiB)
    assert int(taken[8].replace(",", "")) * MiB <= (plan.host.spare_bytes or 0)
    assert "for GPU" not in printed(make_plan(llama_3_8b(), machine(gpu()), Policy()))


def test_only_another_machine_is_named() -> None:
    here = make_plan(llama_3_8b(), replace(machine(), source="this machine"), Policy())
    assert "planned for" not in printed(here)
    profile = replace(machine(), name="2x rtx-3090", source="profile 2x rtx-3090")
    there = printed(make_plan(llama_3_8b(), profile, Policy()))
    assert there.splitlines()[1] == "planned for 2x rtx-3090, not for this machine"


@pytest.mark.parametrize("width", [80, 96, 110])
def test_no_line_but_the_command_is_wider_than_the_terminal(width: int) -> None:
    for hardware in (machine(), machine(gpu()), machine(gpu(free=200 * GiB), gpu("CUDA1"))):
        for model in (llama_3_8b(), llama_3_70b(), mixtral()):
            *lines, command = printed(
                make_plan(model, hardware, Policy()), width=width, explain=True
            ).splitlines()
            assert max(map(len, lines)) <= width
            assert command.startswith("llama-server -m ")


def test_the_command_is_one_line_that_a_shell_reads_back() -> None:
    import shlex

    plan = make_plan(mixtral(), machine(gpu()), Policy(n_cpu_moe=8))
    *_, command = printed(plan).splitlines()
    assert shlex.split(command) == ["llama-server", *plan.llama_args]


def test_printed_figures_are_those_of_the_document() -> None:
    plan = make_plan(llama_3_70b(), machine(gpu(), gpu("CUDA1")), Policy())
    rows = {
        line.split()[0]: [int(cell.replace(",", "")) for cell in line.split()[1:]]
        for line in printed(plan).splitlines()
        if re.fullmatch(r"(CUDA\d|RAM)( +-?[\d,]+){8}", line)
    }
    assert len(rows) == 3
    for device in plan_document(plan)["devices"]:
        cells = rows["RAM" if device["kind"] == "host" else device["name"]]
        assert cells[0] == device["n_layers"]
        terms = [device[f"{t}_bytes"] for t in ("model", "context", "compute", "overhead")]
        assert cells[1:5] == [-(-term // 1024**2) for term in terms]


def test_what_is_missing_is_said_in_words_and_in_the_error() -> None:
    plan = make_plan(llama_3_70b(), machine(ram=16 * GiB), Policy())
    text = printed(plan)
    assert "✗ does not fit" in text
    missing = format_bytes(-(plan.host.spare_bytes or 0))
    assert f"{missing} short" in text
    error = does_not_fit(plan)
    assert error.message == f"llama-3-70b does not fit: short of {missing} in RAM."
    assert error.exit_code == 3


def test_the_error_offers_the_first_change_that_rescues() -> None:
    plan = make_plan(llama_3_70b(), machine(ram=16 * GiB), Policy())
    rescue = Counterfactual(
        change="context 2,048: fits in RAM",
        n_gpu_layers=0,
        tg_tok_s=None,
        verdict="fits",
        applied=Change(wishes={"n_ctx": 2048}),
    )
    hint = does_not_fit(replace(plan, counterfactuals=(rescue,))).hint
    assert hint == "This would help: context 2,048: fits in RAM."


def test_estimates_are_shown_when_there_are_any() -> None:
    plan = replace(
        make_plan(llama_3_8b(), machine(gpu()), Policy()),
        basis="exact",
        speed=SpeedEstimate(
            tg_tok_s=128.4,
            tg_low=101.0,
            tg_high=140.0,
            pp_tok_s=5210.0,
            pp_low=4000.0,
            pp_high=6000.0,
            at_depth=4096,
            basis="roofline",
            bound_by="memory bandwidth",
        ),
        power=PowerEstimate(board_w=310.0, j_per_token=2.41, basis="profile"),
    )
    text = " ".join(printed(plan).split())
    assert "[exact]" in text
    assert (
        "Speed 128 tok/s (101 to 140), prompt 5,210 tok/s (4,000 to 6,000), 4,096 tokens into "
        "the context; "
        "bound by memory bandwidth (estimate: roofline). "
        "Power 310 W on the GPU boards while decoding, 2.41 J per token (estimate). Why"
    ) in text
    several = make_plan(
        llama_3_70b(), machine(gpu(), gpu("CUDA1")), Policy(prices=Prices(per_kwh=0.3))
    )
    page = " ".join(printed(several).split())
    assert "at the socket at most" in page
    assert "USD per million tokens (electricity at 0.3 USD per kWh" in page
    assert "at the socket at most" not in text
    assert "one token, CUDA0" in printed(several, explain=True)
    assert "operations per byte" in printed(several, explain=True).replace("\n", " ")


def test_explain_shows_the_arithmetic_of_the_cache() -> None:
    """32 layers x 8,192 cells x 2 x 1,024 elements x 2 bytes = 1 GiB."""
    plan = make_plan(llama_3_8b(), machine(gpu()), Policy())
    assert "Counted" not in printed(plan)
    text = " ".join(printed(plan, explain=True).split())
    assert (
        "context: 32 layers x 8,192 cells x (1,024 K as f16 + 1,024 V as f16) = "
        "32 x 32.0 MiB = 1.00 GiB"
    ) in text


def test_names_from_files_cannot_write_escapes() -> None:
    plan = make_plan(llama(name="evil\x1b[2J\r"), machine(), Policy())
    text = printed(plan, explain=True)
    assert "\x1b" not in text
    assert "\r" not in text
    assert r"evil\x1b[2J" in text


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (Policy(), "33 of 33 layers on CUDA0, context 8,192, KV f16"),
        (
            Policy(n_gpu_layers=0, n_ctx=512),
            "33 layers on the CPU, 8 threads, context 512, KV f16",
        ),
        (
            Policy(type_k="q8_0", n_ctx=512),
            "33 of 33 layers on CUDA0, context 512, KV q8_0/f16",
        ),
    ],
)
def test_a_plan_in_one_line(policy: Policy, line: str) -> None:
    assert summary(make_plan(llama_3_8b(), machine(gpu()), policy)) == line
