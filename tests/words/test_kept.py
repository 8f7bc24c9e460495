"""Words of a list of models: its order, what narrows it down, a plan in a few of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.kept import KeptFile, KeptModel
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.units import GiB
from localllm.words.kept import Row, ago, holds, ordered, plan_words
from tests.support.specs import gpu, llama_3_8b, llama_3_70b, machine


def kept(name: str, *, n_bytes: int = GiB, used: float = 0.0) -> KeptModel:
    file = KeptFile(path=Path("/m.gguf"), n_bytes=n_bytes)
    return KeptModel(
        name=name,
        keeper="ollama",
        repo=None,
        commit=None,
        quant="Q4_K_M",
        files=(file,),
        n_parts=1,
        last_used_s=used,
    )


def test_models_are_ordered_by_name_size_or_use() -> None:
    rows = [
        Row(model=kept("b", n_bytes=1, used=3)),
        Row(model=kept("A", n_bytes=2, used=1)),
        Row(model=kept("c", n_bytes=3, used=2)),
    ]
    assert [row.model.name for row in ordered(rows, "name")] == ["A", "b", "c"]
    assert [row.model.name for row in ordered(rows, "size")] == ["c", "A", "b"]
    assert [row.model.name for row in ordered(rows, "used")] == ["b", "c", "A"]
    assert holds(kept("ollama:Llama-3.1:8b"), ["llama3.1", "OLLAMA q4km"])
    assert not holds(kept("ollama:llama3:8b"), ["qwen"])


def test_a_plan_in_a_few_words() -> None:
    card = machine(gpu(free=23 * GiB))
    assert plan_words(make_plan(llama_3_8b(), card, Policy())).endswith(
        " tok/s, 33/33 layers on GPU"
    )
    short = plan_words(make_plan(llama_3_70b(), machine(ram=8 * GiB), Policy()))
    assert short.startswith("short of ") and short.endswith(" in RAM")
    plan = replace(make_plan(llama_3_8b(), machine(), Policy()), speed=None)
    assert plan_words(plan) == "fits, CPU"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (2 * 86400 + 1, "2 days ago"),
        (8 * 86400, "1 week ago"),
        (65 * 86400, "2 months ago"),
        (800 * 86400, "2 years ago"),
        (56 * 366 * 86400, "56 years ago"),
        (5e11, "long ago"),
        (-86401, "in the future"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(seconds) == words
