"""Diagnoses from facts alone: every fault is found, and its fix is a line that can be typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm.core.generation import EngineDevice, EngineInfo
from localllm.core.hardware import Device
from localllm.core.metered.meters import Missing, SeenMeter, SeenMeters
from localllm.core.metered.readings import Source
from localllm.doctor import Facts, Finding, diagnose
from localllm.doctor.facts import Folder, HubFacts, Terminal, Tool
from localllm.units import GiB, MiB
from tests.support.specs import gpu, host, machine

CPU = EngineDevice(
    name="CPU", description="Test CPU", type="cpu", total_bytes=64 * GiB, free_bytes=60 * GiB
)
ENGINE = EngineInfo(
    version="0.3.36",
    system_info="CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | REPACK = 1 |",
    devices=(CPU,),
    supports_rpc=True,
    library_path="/venv/lib/libllama.so",
    build_commit="0c1e570",
)
HEALTHY = Facts(
    localllm_version="0.1.0",
    python_version=(3, 12, 4),
    python="/venv/bin/python",
    system="Linux 6.8.0 (Ubuntu 24.04)",
    distribution=("ubuntu", "debian"),
    checkout=None,
    engine=ENGINE,
    engine_pinned="0.3.36",
    hardware=machine(),
    tools=(Tool(name="c++", path="/usr/bin/c++", version="c++ 13.2.0"),),
    folders=(
        Folder(purpose="models", path="/home/me/hub", writable=True, free_bytes=200 * GiB),
        Folder(purpose="state", path="/home/me/state", writable=True, free_bytes=200 * GiB),
    ),
    hub=HubFacts(endpoint="https://huggingface.co", token_source="HF_TOKEN", can_link=True),
    packages={"click": "8.1", "rich": "13.9"},
    terminal=Terminal(is_terminal=True, columns=120, encoding="utf-8", term="xterm-256color"),
)
UNUSED = replace(
    gpu(),
    name="nvidia0",
    description="NVIDIA GeForce RTX 4090",
    backend="none",
    cuda_version="12.6",
)


def faults(facts: Facts) -> list[Finding]:
    return [finding for finding in diagnose(facts) if finding.level != "ok"]


def fault(**changes: Any) -> Finding:
    """The one fault of an otherwise healthy machine."""
    (finding,) = faults(replace(HEALTHY, **changes))
    return finding


def test_a_healthy_machine_has_no_faults() -> None:
    assert faults(HEALTHY) == []


def test_what_is_fine_is_said_too() -> None:
    topics = [finding.topic for finding in diagnose(HEALTHY)]
    expected = "localllm|llama.cpp|devices|GPU|CPU|RAM|compiler|models|state|Hub|demo|terminal"
    assert topics == expected.split("|")
    llama = next(f for f in diagnose(HEALTHY) if f.topic == "llama.cpp")
    assert llama.text == "llama-cpp-python 0.3.36, llama.cpp 0c1e570, with RPC"


def test_without_llama_cpp_nothing_can_run() -> None:
    found = fault(
        engine=None,
        engine_problem="llama-cpp-python is not installed.",
        engine_fix="/venv/bin/python -m pip install llama-cpp-python==0.3.36",
    )
    assert (found.level, found.topic) == ("missing", "llama.cpp")
    assert found.fix == "/venv/bin/python -m pip install llama-cpp-python==0.3.36"


def test_a_checkout_mends_itself() -> None:
    found = fault(engine=None, engine_problem="gone", checkout=Path("/home/me/localllm"))
    assert found.fix == "rm -rf .venv && ./scripts/localllm doctor"


def test_another_version_of_llama_cpp_is_a_warning() -> None:
    found = fault(engine=replace(ENGINE, version="0.3.40"))
    assert found.level == "warn"
    assert "tested with 0.3.36" in found.text
    assert found.fix is not None
    assert found.fix.endswith("llama-cpp-python==0.3.36")


def test_a_missing_package_is_named_with_its_line() -> None:
    found = fault(packages={"click": "8.1", "psutil": None})
    assert (found.level, found.text) == ("missing", "not installed: psutil")
    assert found.fix == "/venv/bin/python -m pip install psutil"


def test_python_that_is_too_old_is_the_first_fault() -> None:
    first = faults(replace(HEALTHY, python_version=(3, 9, 2)))[0]
    assert (first.level, first.topic) == ("missing", "Python")


def test_a_cpu_build_on_a_gpu_machine_is_never_silent() -> None:
    found = fault(hardware=machine(UNUSED))
    assert (found.level, found.topic) == ("warn", "GPU")
    assert found.text == "NVIDIA GeForce RTX 4090 is here, and this llama.cpp cannot use it"
    assert found.fix is not None
    assert "/whl/cu125 llama-cpp-python==0.3.36" in found.fix


def test_the_set_ups_own_advice_wins_in_a_checkout() -> None:
    advice = "LOCALLLM_BACKEND=cuda ./scripts/localllm doctor tries again"
    found = fault(
        hardware=machine(UNUSED),
        checkout=Path("/home/me/localllm"),
        build={"how": "source", "gpu_left_out": "an NVIDIA GPU", "mend": advice},
    )
    assert found.fix == advice


def test_a_gpu_is_not_blamed_on_a_llama_cpp_that_is_missing() -> None:
    facts = replace(HEALTHY, engine=None, engine_problem="gone", hardware=machine(UNUSED))
    assert [finding.topic for finding in faults(facts)] == ["llama.cpp"]


def test_a_hidden_gpu_names_the_variable_that_hides_it() -> None:
    found = fault(
        hardware=machine(replace(UNUSED, visible=False)),
        environment={"CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert "hidden from llama.cpp by CUDA_VISIBLE_DEVICES=-1" in found.text
    assert found.fix == "unset CUDA_VISIBLE_DEVICES"


def test_a_gpu_that_llama_cpp_uses_is_fine() -> None:
    used: Device = replace(gpu(), driver="560.35.03")
    found = next(f for f in diagnose(replace(HEALTHY, hardware=machine(used))) if f.topic == "GPU")
    assert (found.level, found.text) == (
        "ok",
        "CUDA0: Test GPU, 23.0 GiB free, driver 560.35.03",
    )


def test_a_cpu_without_avx2_is_slow() -> None:
    slow = replace(machine(), host=host(isa=("sse3", "avx")))
    assert "without AVX2 it is slow" in fault(hardware=slow).text


def test_a_build_that_leaves_instructions_unused_is_slow() -> None:
    found = fault(engine=replace(ENGINE, system_info="CPU : SSE3 = 1 | AVX2 = 0 |"))
    assert "built without" in found.text
    assert found.fix is not None
    assert "--no-binary llama-cpp-python" in found.fix


def test_little_memory_is_a_warning() -> None:
    assert fault(hardware=machine(ram=GiB)).topic == "RAM"


def test_a_compiler_is_missed_only_where_it_is_needed() -> None:
    assert faults(replace(HEALTHY, tools=())) == []
    found = faults(replace(HEALTHY, tools=(), engine=None, engine_problem="gone"))
    assert [(f.topic, f.fix) for f in found][1:] == [
        ("compiler", "sudo apt install build-essential")
    ]


@pytest.mark.parametrize(
    ("purpose", "writable", "free_bytes", "fix"),
    [
        ("models", False, GiB, "export HF_HOME=/a/folder/with/room"),
        ("models", True, 2 * GiB, "export HF_HOME=/a/folder/with/room"),
        ("state", False, GiB, "export LOCALLLM_STATE_DIR=/a/folder/of/yours"),
        ("state", True, 5 * MiB, "export LOCALLLM_STATE_DIR=/a/folder/of/yours"),
    ],
)
def test_folders_need_room_and_permission(
    purpose: str, writable: bool, free_bytes: int, fix: str
) -> None:
    folder = Folder(purpose=purpose, path="/x", writable=writable, free_bytes=free_bytes)
    found = fault(folders=(folder,))
    assert (found.topic, found.fix) == (purpose, fix)


def test_a_folder_whose_room_is_unknown_is_no_fault() -> None:
    folder = Folder(purpose="models", path="/x", writable=True, free_bytes=None)
    assert faults(replace(HEALTHY, folders=(folder,))) == []


@pytest.mark.parametrize(
    ("changes", "text", "fix"),
    [
        ({"encoding": "ISO-8859-1"}, "not UTF-8", "export LANG=C.UTF-8"),
        ({"term": "dumb"}, "cannot move the cursor", "export TERM=xterm-256color"),
        ({"columns": 60}, "tables need 78 columns", None),
        (
            {"inside_tmux": True, "term": "screen"},
            "tmux",
            "tmux set -g default-terminal tmux-256color",
        ),
    ],
)
def test_a_poor_terminal_is_named(changes: dict[str, Any], text: str, fix: str | None) -> None:
    found = fault(terminal=replace(HEALTHY.terminal, **changes))
    assert text in found.text
    assert found.fix == fix


def test_a_pipe_is_not_judged_as_a_terminal() -> None:
    pipe = Terminal(is_terminal=False, columns=20, encoding="ascii", term="")
    assert faults(replace(HEALTHY, terminal=pipe)) == []


RAPL = SeenMeter(
    source=Source(
        name="RAPL", scope="CPU package", kind="counter", device="package 0", period_s=0.001
    )
)


def test_meters_are_listed_and_their_absence_explained() -> None:
    none = Missing(scope="GPU board", device="amd0", reason="the GPU sleeps")
    facts = replace(HEALTHY, meters=SeenMeters(meters=(RAPL,), missing=(none,)))
    texts = [finding.text for finding in diagnose(facts) if finding.topic == "power"]
    assert texts == ["CPU package package 0 (RAPL)", "no meter for GPU board amd0: the GPU sleeps"]
    assert faults(facts) == []


def test_a_meter_that_a_line_would_enable_is_worth_a_warning_once() -> None:
    locked = [
        Missing(scope=scope, device="package 0", reason="only root may", fix="sudo x")
        for scope in ("CPU package", "DRAM")
    ]
    found = fault(meters=SeenMeters(missing=tuple(locked)))
    assert (found.level, found.topic, found.fix) == ("warn", "power", "sudo x")
    assert found.text == "no meter for CPU package package 0, DRAM package 0: only root may"


def test_notes_of_the_probes_are_passed_on() -> None:
    noted = replace(machine(), notes=("NVML is silent", "no GPU: no driver"))
    notes = [f.text for f in diagnose(replace(HEALTHY, hardware=noted)) if f.topic == "note"]
    assert notes == ["NVML is silent"]
