"""scripts/localllm from a bare checkout to a running command, and what can happen on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.setup.conftest import Checkout, Hardship, Ready, wait_for


def tools(folder: Path, *names: str) -> str:
    """A PATH that holds these programs and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return str(folder)


def processes_of(checkout: Checkout) -> list[str]:
    """Command lines that still mention the checkout, read from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(checkout.root) in line:
            found.append(line)
    return found


def test_one_command_sets_up_says_which_devices_there_are_and_runs(ready: Ready) -> None:
    assert ready.first.stderr.count("devices CPU [") == 1
    assert ready.first.stdout == "localllm got ['chat', 'two words', '']\n"
    assert ready.first.returncode == 0

    record = ready.record
    assert record["schema"] == "localllm.build/1"
    assert (record["backend"], record["how"]) == ("cpu", "source")
    assert record["version"] == ready.checkout.version
    assert "-DGGML_RPC=ON" in record["cmake_args"]
    assert [device["type"] for device in record["devices"]] == ["cpu"]


def test_the_next_command_starts_no_python_of_its_own_and_touches_nothing(ready: Ready) -> None:
    # Through a link, from elsewhere, with a python3 that must not be called.
    checkout = ready.checkout
    assert checkout.run().returncode == 0
    before = checkout.files()
    bin_folder = checkout.root.parent / "bin"
    tools(bin_folder, "sh", "cksum", "readlink")
    for name in ("python3", "python", "pip"):
        (bin_folder / name).write_text("#!/bin/sh\necho called >&2\nexit 99\n")
        (bin_folder / name).chmod(0o755)
    link = checkout.root.parent / "link"
    link.symlink_to(Path("a checkout", "scripts", "localllm"))
    environ = checkout.environ | {"PATH": str(bin_folder), "PYTHON": "python3", "CDPATH": "/"}
    for command, folder in (([str(link)], Path("/")), (["sh", "link"], link.parent)):
        again = subprocess.run(
            [*command, "x"], env=environ, cwd=folder, capture_output=True, text=True
        )
        assert (again.stdout, again.stderr) == ("localllm got ['x']\n", "")
        assert again.returncode == 0
    assert checkout.files() == before


def test_a_set_up_killed_at_every_step_is_completed_by_the_next(hardship: Hardship) -> None:
    assert len(hardship.killed_at) == 3
    assert not any(hardship.stamps_after_kills)

    assert hardship.after.stdout == "localllm got ['after']\n", hardship.after.stderr
    assert hardship.after.returncode == 0
    assert "in .venv" not in hardship.after.stderr  # what was finished is not done again
    checkout = hardship.checkout
    assert not list(checkout.root.glob(".venv-old-*"))
    assert not list(Path(checkout.environ["XDG_CACHE_HOME"], "localllm", "tmp").iterdir())
    assert list(checkout.root.glob(".venv/*.stamp"))


def test_a_moved_checkout_is_set_up_anew(hardship: Hardship) -> None:
    command = (hardship.checkout.root / ".venv" / "bin" / "localllm").read_text()
    assert str(hardship.checkout.root) in command
    assert str(hardship.before.root) not in command


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_ctrl_c_ends_the_children_and_says_that_the_command_continues(checkout: Checkout) -> None:
    process = checkout.start()
    wait_for(process, "in .venv")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode in (
        130,
        -signal.SIGINT,
    )  # dash says the one, bash is ended by the other
    assert "interrupted; the same command continues" in stderr
    assert "Traceback" not in stderr
    assert processes_of(checkout) == []


def test_two_at_once_do_the_work_once(ready: Ready) -> None:
    ready.checkout.forget("packages", "engine")
    first = ready.checkout.start("one")
    wait_for(first, "its packages")
    second = ready.checkout.start("two")
    said = wait_for(second, "another set-up of this checkout is at work")
    assert "process " in said
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.append(second.communicate()[1]))
    reader.start()
    assert first.communicate()[0] == "localllm got ['one']\n"
    reader.join()
    assert (first.returncode, second.returncode) == (0, 0)
    assert "its packages" not in texts[0]
    assert "devices" not in texts[0]


def test_another_backend_changes_the_engine_alone_and_is_kept(ready: Ready) -> None:
    checkout = ready.checkout
    packages = checkout.root / ".venv" / "lib"
    marker = next(packages.glob("*/site-packages/localllm-0.1.0.dist-info/RECORD"))
    installed_at = marker.stat().st_mtime_ns

    checkout.cache_wheel("vulkan")
    changed = checkout.run(LOCALLLM_BACKEND="vulkan")
    assert changed.returncode == 0
    # The shim has no GPU: a GPU build that sees none is announced, with a way out.
    assert "warning: llama.cpp was built for vulkan and sees no such device" in changed.stderr
    assert "LOCALLLM_BACKEND=cpu ./scripts/localllm" in changed.stderr
    assert marker.stat().st_mtime_ns == installed_at

    environ = {
        name: value for name, value in checkout.environ.items() if name != "LOCALLLM_BACKEND"
    }
    kept = Checkout(root=checkout.root, environ=environ).run("kept")
    assert (kept.stdout, kept.stderr) == ("localllm got ['kept']\n", "")


def test_a_broken_venv_of_someone_else_is_left_alone(checkout: Checkout) -> None:
    theirs = checkout.root / ".venv" / "bin"
    theirs.mkdir(parents=True)
    (theirs / "python").symlink_to("/nonexistent/python3")
    done = checkout.run()
    assert done.returncode == 1
    assert "was not made by this set-up" in done.stderr
    assert "hint:" in done.stderr
    assert (theirs / "python").is_symlink()


def test_a_backend_that_does_not_exist_is_a_usage_error_that_touches_nothing(
    checkout: Checkout,
) -> None:
    before = checkout.files()
    done = checkout.run(LOCALLLM_BACKEND="opencl")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: LOCALLLM_BACKEND=opencl is not a backend"
    assert "cpu, cuda, metal, vulkan, rocm" in done.stderr
    assert checkout.files() == before


def test_without_a_compiler_the_package_to_install_is_named_before_anything_is_made(
    checkout: Checkout,
) -> None:
    shutil.rmtree(checkout.environ["XDG_CACHE_HOME"])
    path = tools(checkout.root.parent / "bin", "sh", "cksum", "uname")
    done = checkout.run(PATH=path)
    assert done.returncode == 1
    assert "error: no C compiler found" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_a_compiler_that_cannot_link_is_told_apart_from_none(checkout: Checkout) -> None:
    shutil.rmtree(checkout.environ["XDG_CACHE_HOME"])
    false = shutil.which("false")
    assert false is not None
    done = checkout.run(CXX=false)
    assert done.returncode == 1
    assert "the C++ compiler" in done.stderr
    assert "cannot build" in done.stderr


def test_without_a_network_there_is_one_sentence_and_a_hint(ready: Ready) -> None:
    project = ready.checkout.root / "pyproject.toml"
    text = project.read_text()
    project.write_text(text.replace("requires = []", 'requires = ["hatchling"]'))
    environ = ready.checkout.environ | {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }
    del environ["PIP_NO_INDEX"]
    try:
        done = Checkout(root=ready.checkout.root, environ=environ).run()
    finally:
        project.write_text(text)
    assert done.returncode == 1
    assert "error: installing localllm's packages failed: the package index" in done.stderr
    assert "hint: The first set-up needs PyPI" in done.stderr
    assert "Traceback" not in done.stderr
    log = next(line for line in done.stderr.splitlines() if line.startswith("log: "))
    assert "127.0.0.1" in Path(log.removeprefix("log: ")).read_text()


def test_without_a_python_that_is_new_enough_the_hint_says_where_to_get_one(
    checkout: Checkout,
) -> None:
    old = checkout.root.parent / "bin" / "python3"
    path = tools(old.parent, "sh", "cksum", "uname")
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = checkout.run(PATH=path, PYTHON="python3")
    assert done.returncode == 1
    assert "error: localllm needs Python 3.11 or newer" in done.stderr
    assert "hint:" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_checkout_that_cannot_be_written_says_so(checkout: Checkout) -> None:
    checkout.root.chmod(0o555)
    try:
        done = checkout.run()
    finally:
        checkout.root.chmod(0o755)
    assert done.returncode == 1
    assert "error: cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_set_up_runs_on_the_standard_library_alone() -> None:
    code = "import sys; from _setup import main; print(*{m.partition('.')[0] for m in sys.modules})"
    scripts = Path(__file__).parents[2] / "scripts"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(scripts)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    foreign = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"_setup", "__main__"}
    assert foreign == set()
