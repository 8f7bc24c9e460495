"""``localllm doctor``: findings on paper, facts as JSON, exit 1 when models cannot run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import localllm.doctor
from localllm.doctor import Facts
from tests.cli.conftest import Command
from tests.doctor.test_findings import HEALTHY, UNUSED
from tests.support.specs import machine


def gathers(monkeypatch: pytest.MonkeyPatch, facts: Facts) -> None:
    monkeypatch.setattr(localllm.doctor, "gather", lambda: facts)


def test_a_healthy_machine_is_exit_0(localllm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    gathers(monkeypatch, HEALTHY)
    outcome = localllm("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert all(line.startswith(("✓  ", "   ")) for line in lines)
    assert "To mend" not in outcome.out


def test_a_fix_is_one_line_that_can_be_copied(
    localllm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathers(monkeypatch, replace(HEALTHY, hardware=machine(UNUSED)))
    outcome = localllm("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert "!  GPU" in outcome.out
    *_, title, line = outcome.out.splitlines()
    assert title == "To mend GPU:"
    assert line.startswith("/venv/bin/python -m pip install ")
    assert line.endswith(" nvidia-cuda-runtime-cu12 nvidia-cublas-cu12")


def test_without_llama_cpp_it_is_exit_1(localllm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(HEALTHY, engine=None, engine_problem="It is gone.", engine_fix="pip install it")
    gathers(monkeypatch, facts)
    outcome = localllm("doctor")
    assert outcome.code == 1
    assert "✗  llama.cpp" in outcome.out
    assert outcome.err == (
        "error: Models cannot run here: llama.cpp: It is gone.\nhint: pip install it\n"
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({}, "ok", 0),
        ({"hardware": machine(UNUSED)}, "warn", 0),
        ({"engine": None, "engine_problem": "gone"}, "missing", 1),
    ],
)
def test_the_document_holds_verdict_findings_and_facts(
    localllm: Command,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    verdict: str,
    code: int,
) -> None:
    gathers(monkeypatch, replace(HEALTHY, **changes))  # type: ignore[arg-type]
    outcome = localllm("doctor", "--json")
    document = json.loads(outcome.out)
    assert outcome.code == code
    assert (document["schema"], document["verdict"]) == ("localllm.doctor/1", verdict)
    assert document["hardware"]["schema"] == "localllm.hardware/1"
    assert {"level", "topic", "text", "fix"} == set(document["findings"][0])
    assert document["python_version"] == "3.12.4"
    assert document["terminal"]["columns"] == 120


def test_this_installation_can_run_models(localllm: Command) -> None:
    outcome = localllm("doctor", "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 0
    assert document["engine"]["devices"]
    assert document["engine"]["build_commit"]
