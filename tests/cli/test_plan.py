"""``localllm plan`` on real files: the page, the document, exit 3, and other machines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.core.hardware_document import hardware_document
from localllm.units import GiB
from tests.cli.conftest import Command
from tests.support.specs import gpu, machine


@pytest.fixture
def desktop(tmp_path: Path) -> str:
    """A saved machine with a 24 GB card and 60 GiB of RAM."""
    path = tmp_path / "desktop.json"
    path.write_text(json.dumps(hardware_document(machine(gpu()))))
    return str(path)


def test_a_plan_is_one_page_on_standard_output(
    localllm: Command, llama_3_8b: Path, desktop: str
) -> None:
    outcome = localllm("plan", str(llama_3_8b), "--hardware", desktop)
    assert (outcome.code, outcome.err) == (0, "")
    title, place, *rest, command = outcome.out.splitlines()
    assert "Q4_K_M, 8.03 B parameters, 4.58 GiB, llama  [exact]" in title
    assert place.startswith("planned for test")
    assert "✓ fits  33 of 33 layers on CUDA0, context 8,192, KV f16" in rest
    assert command.startswith(f"llama-server -m {llama_3_8b} -c 8192 ")
    assert "\x1b" not in outcome.out
    assert all(line == line.rstrip() for line in outcome.out.splitlines())


def test_the_document_and_the_page_agree(localllm: Command, bare_llama: Path, desktop: str) -> None:
    arguments = ("plan", str(bare_llama), "--hardware", desktop, "-c", "4k", "-ngl", "20")
    document = json.loads(localllm(*arguments, "--json").out)
    page = localllm(*arguments).out
    assert (document["n_gpu_layers"], document["n_ctx"]) == (20, 4096)
    assert "20 of 33 layers on CUDA0, context 4,096" in page
    for device in document["devices"]:
        assert f"{-(-device['model_bytes'] // 1024**2):,}" in page
    assert document["model"]["source"] == str(bare_llama)
    assert document["hardware"]["source"] == desktop


def test_what_does_not_fit_is_printed_and_exits_3(
    localllm: Command, bare_llama: Path, desktop: str
) -> None:
    arguments = ("plan", str(bare_llama), "--hardware", desktop, "-ngl", "0", "--ram-budget", "3G")
    page = localllm(*arguments)
    assert page.code == 3
    assert "✗ does not fit" in page.out
    assert page.err.startswith("error: ")
    assert "does not fit: short of" in page.err
    assert "\nhint: " in page.err
    document = localllm(*arguments, "--json")
    assert document.code == 3
    assert json.loads(document.out)["verdict"] == "does-not-fit"
    assert document.err == page.err


def test_the_hint_of_a_misfit_really_helps(
    localllm: Command, bare_llama: Path, desktop: str
) -> None:
    arguments = (
        "plan",
        str(bare_llama),
        "--hardware",
        desktop,
        "-ngl",
        "33",
        "--vram-budget",
        "4G",
    )
    misfit = localllm(*arguments)
    assert misfit.code == 3
    assert "hint: This would help: the number of GPU layers left to the planner" in misfit.err
    without = [*arguments[:4], *arguments[6:]]
    assert localllm(*without).code == 0


def test_profiles_and_several_of_them_are_other_machines(
    localllm: Command, bare_llama: Path
) -> None:
    one = localllm("plan", str(bare_llama), "--hardware", "rtx-4090", "--json")
    assert json.loads(one.out)["hardware"]["source"] == "profile rtx-4090"
    two = localllm(
        "plan", str(bare_llama), "--hardware", "rtx-4090", "--hardware", "rtx-3090", "--json"
    )
    names = [device["description"] for device in json.loads(two.out)["hardware"]["devices"]]
    assert len(names) == 2
    assert "4090" in names[0]
    assert "3090" in names[1]


def test_hardware_has_its_environment_twin_spaces_included(
    localllm: Command, bare_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_HARDWARE", "2x rtx-3090")
    document = json.loads(localllm("plan", str(bare_llama), "--json").out)
    assert document["hardware"]["name"] == "2x rtx-3090"


def test_an_unknown_machine_offers_the_nearest(localllm: Command, bare_llama: Path) -> None:
    outcome = localllm("plan", str(bare_llama), "--hardware", "rtx-409")
    assert (outcome.code, outcome.out) == (2, "")
    assert "rtx-4090" in outcome.err


def test_this_machine_is_the_default(localllm: Command, toy_model: Path) -> None:
    outcome = localllm("plan", str(toy_model), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["hardware"]["source"] == "this machine"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-c", "1000000"], "was trained for a context of"),
        (["-ctv", "q8_0", "-fa", "off"], "needs flash attention"),
        (["-ts", "1,1"], "--tensor-split needs one share per GPU"),
        (["-ncmoe", "2"], "has no experts"),
    ],
)
def test_wishes_that_contradict_are_usage_errors(
    localllm: Command, bare_llama: Path, desktop: str, flags: list[str], message: str
) -> None:
    outcome = localllm("plan", str(bare_llama), "--hardware", desktop, *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "\nhint: " in outcome.err


def test_files_that_are_no_models_have_their_own_exit_codes(
    localllm: Command, tmp_path: Path
) -> None:
    page = tmp_path / "page.gguf"
    page.write_text("<!DOCTYPE html><html></html>")
    short = tmp_path / "short.gguf"
    short.write_bytes(b"GGUF\x03\x00\x00\x00")
    codes = {
        str(tmp_path / "missing.gguf"): 5,
        str(tmp_path): 2,
        str(page): 7,
        str(short): 7,
        "nobody/knows-it": 5,
    }
    for name, code in codes.items():
        outcome = localllm("plan", name)
        assert (outcome.code, outcome.out) == (code, ""), name
        assert outcome.err.startswith("error: ")


def test_a_terminal_without_unicode_gets_ascii(bare_llama: Path, desktop: str) -> None:
    environ = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "localllm", "plan", str(bare_llama), "--hardware", desktop],
        capture_output=True,
        env=environ,
        check=True,
    )
    text = done.stdout.decode("ascii")
    assert "\nfits  33 of 33 layers" in text
    assert "CUDA0 //###" in text
    assert "?" not in text


def test_a_file_name_that_is_not_utf8_is_planned_like_any_other(
    localllm: Command, tmp_path: Path, bare_llama: Path, desktop: str
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m.gguf")
    try:
        os.symlink(bare_llama, odd)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    page = localllm("plan", odd, "--hardware", desktop)
    assert page.code == 0
    assert "\x1b" not in page.out
    document = localllm("plan", odd, "--hardware", desktop, "--json")
    assert json.loads(document.out)["model"]["source"] == odd


def test_the_command_is_what_llama_cpp_understands(
    localllm: Command, bare_llama: Path, desktop: str
) -> None:
    """Every flag is one of ``common/arg.cpp``, and of ``llama-server`` where there is one."""
    document = json.loads(
        localllm("plan", str(bare_llama), "--hardware", desktop, "-nr", "--no-mmap", "--json").out
    )
    flags = {argument for argument in document["llama_args"] if argument.startswith("-")}
    known = {"-m", "-c", "-b", "-ub", "-t", "-fa", "-ctk", "-ctv", "-ngl", "-dev", "-ts", "-ot"}
    assert flags <= known | {"-np", "-lm", "--no-repack"}
    assert document["llama_args"][-3:] == ["-lm", "none", "--no-repack"]  # no --no-mmap any more
    server = shutil.which("llama-server")
    if server is not None:
        listed = subprocess.run([server, "--help"], capture_output=True, text=True, check=False)
        assert all(flag in listed.stdout for flag in flags)


def test_a_larger_card_elsewhere_takes_more_layers(localllm: Command, bare_llama: Path) -> None:
    arguments = ("plan", str(bare_llama), "--json", "--vram-headroom", "70%", "--hardware")
    documents = [
        json.loads(localllm(*arguments, name).out) for name in ("rtx-3060-12gb", "h100-sxm5-80gb")
    ]
    small, large = (document["n_gpu_layers"] for document in documents)
    assert 0 < small < large == 33
    assert documents[1]["devices"][0]["total_bytes"] > 79 * GiB


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_plan_that_is_ended_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    """Neither hollow files, which look as large as the model, nor llama.cpp's process."""
    command = [sys.executable, "-m", "localllm", "plan", "deepseek-r1", "--ctx", "4k"]
    with subprocess.Popen(
        [*command, "--hardware", "2x rtx-4090"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        deadline = time.monotonic() + 30
        # A file of another name is Python's own, which tries the folder before it is used.
        while not list(tmp_path.glob("localllm-*/*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(number)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_llama_cpp_would_refuse_is_printed_and_ends_with_6(
    localllm: Command, desktop: str
) -> None:
    """With a quantised cache this model's graph outgrows llama.cpp's table of its tensors."""
    arguments = ("plan", "granite-3.1-1b-a400m", "--hardware", desktop)
    refused = localllm(*arguments, "--kv", "q8_0")
    assert refused.code == 6
    assert "would fit, but llama.cpp refuses to run it" in refused.out
    assert refused.err.startswith("error: It fits, but the installed llama.cpp would not run it (")
    assert "hint: Try other cache types" in refused.err
    assert localllm(*arguments, "--kv", "q8_0", "--basis", "formula").code == 0
    assert localllm(*arguments).code == 0
