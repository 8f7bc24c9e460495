"""What is copied of a plan makes the same plan again."""

from __future__ import annotations

import shlex

import pytest

from localllm.core.policy import Policy
from localllm.tui.desk import Desk
from localllm.tui.plan.copying import Form, copied, usual_form
from localllm.tui.subject import Subject
from localllm.units import GiB
from tests.tui.plan.conftest import with_a_card


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("plan", "localllm plan llama-3.1-8b --prefer quality --kv auto --ctx 16384"),
        ("chat", "localllm chat llama-3.1-8b --prefer quality --kv auto --ctx 16384"),
        (
            "bench",
            "localllm bench llama-3.1-8b --quant {quant} --kv {kv} --ctx 16384 --ubatch {ub}",
        ),
    ],
)
def test_commands_say_the_wishes_and_bench_what_became_of_them(form: Form, line: str) -> None:
    """Bench measures one fixed plan: it knows neither preferences nor types left open."""
    wishes = Policy(n_ctx=16384, type_k="auto", type_v="auto", prefer="quality")
    desk = Desk(machine=with_a_card(6 * GiB), exact=False)
    planned = desk.plan(Subject(name="llama-3.1-8b", wishes=wishes))
    desk.close()
    plan = planned.plan
    expected = line.format(quant=plan.model.quant, kv=plan.type_k, ub=plan.n_ubatch)
    assert copied(form, planned).text == expected.replace("MODEL", "llama-3.1-8b")
    assert usual_form(planned) == "chat"
    flags = copied("llama", planned).text
    assert flags is not None
    assert shlex.split(flags.replace("\\\n", "")) == ["llama-server", *plan.llama_args]
