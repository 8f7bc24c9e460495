"""The parts of the set-up: locks, guards, finished steps, facts, causes of failures."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _setup import compiler, facts
from _setup.choose import Build, Facts, choose
from _setup.errors import CommandFailed, explain, failure, last_words
from _setup.lock import is_free, locked
from _setup.main import of_os
from _setup.run import run
from _setup.state import (
    Steps,
    engine_version,
    group_requirements,
    packages_key,
    read_project,
    write_atomically,
)
from _setup.talk import Talk, format_seconds
from _setup.wheel import cache_key, why_not

from tests.support.processes import gone

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "scripts"


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    """A talk to a file, with a log."""
    with (tmp_path / "said").open("w") as stream:
        talk = Talk(log_path=tmp_path / "log", stream=stream)
        yield talk
        talk.close()


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python that can import the set-up."""
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{code}"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


# ------------------------------------------------------------------------------- lock

HOLD = """
import time
from pathlib import Path
from _setup.lock import locked
with locked(Path(sys.argv[1]), who="the first", waiting=print, tick=lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_dies_with_its_process_and_says_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = python(HOLD, str(path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert not is_free(path)

    heard: list[str] = []

    def waiting(who: str) -> None:
        heard.append(who)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with locked(path, who="the second", waiting=waiting, tick=lambda: None):
        assert heard == ["the first"]
        assert path.read_text() == "the second\n"
    assert is_free(path)
    holder.stdout.close()


# ------------------------------------------------------------------------------ guard

RUN = """
import os
from pathlib import Path
from _setup.main import of_os
from _setup.run import run
from _setup.talk import Talk
code = "import os, time; print('child', os.getpid(), flush=True); time.sleep(600)"
run(
    [sys.executable, "-I", "-c", code],
    talk=Talk(log_path=None, stream=open(os.devnull, "w")),
    environ=os.environ,
    cwd=Path("/"),
    detail=lambda line: print(line, flush=True),
)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_command_outlives_the_set_up(number: signal.Signals) -> None:
    setup = python(RUN)
    assert setup.stdout is not None
    child = int(setup.stdout.readline().split()[1])
    setup.send_signal(number)
    setup.wait()
    setup.stdout.close()
    assert gone(child)


def test_a_command_that_fails_brings_its_output_and_status(talk: Talk, tmp_path: Path) -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(7)"
    with pytest.raises(CommandFailed) as caught:
        run(
            [sys.executable, "-I", "-c", code],
            talk=talk,
            environ=os.environ,
            cwd=tmp_path,
        )
    assert caught.value.returncode == 7
    assert set(caught.value.tail.split()) == {"one", "two"}
    assert "two" in (tmp_path / "log").read_text()


def test_a_server_that_keeps_the_pipe_open_does_not_hold_up_the_set_up(
    talk: Talk, tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys; print('ready', flush=True); "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3)'])"
    )
    began = time.monotonic()
    output = run([sys.executable, "-I", "-c", code], talk=talk, environ=os.environ, cwd=tmp_path)
    assert output == "ready"
    assert time.monotonic() - began < 3


# ------------------------------------------------------------------------------- talk


def test_progress_is_a_live_line_on_a_terminal_and_plain_lines_elsewhere(
    talk: Talk, tmp_path: Path
) -> None:
    class Terminal:
        """A stream that says it is a terminal."""

        def __init__(self) -> None:
            self.text = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

    terminal = Terminal()
    live = Talk(log_path=None, stream=terminal)  # type: ignore[arg-type]
    live.step("compiling")
    time.sleep(0.11)
    live.tick("3 of 9")
    live.done()
    assert "\r\x1b[K  compiling: 3 of 9, 0 s" in terminal.text
    assert terminal.text.endswith(" s\n")

    talk.step("compiling")
    talk.tick("3 of 9")
    talk.done()
    assert (tmp_path / "said").read_text() == "  compiling\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (187, "3 min 07 s")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


# ------------------------------------------------------------------------------ state


def test_a_step_that_was_begun_counts_as_not_done(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    Steps(path).finish("packages", "key")
    assert Steps(path).get("packages") == "key"
    Steps(path).begin("packages")
    assert Steps(path).get("packages") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99, "steps": {"venv": "x"}}', "null"])
def test_a_torn_file_of_steps_means_that_nothing_is_done(tmp_path: Path, text: str) -> None:
    path = tmp_path / "steps.json"
    path.write_text(text)
    assert Steps(path).get("venv") is None


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udcff")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_linter_settings_do_not_reinstall_and_dependencies_do() -> None:
    project = read_project(REPOSITORY)
    before = packages_key(project, root=REPOSITORY)
    project["tool"]["ruff"]["line-length"] = 80
    assert packages_key(project, root=REPOSITORY) == before
    project["project"]["dependencies"].append("another")
    assert packages_key(project, root=REPOSITORY) != before


def test_groups_may_include_groups() -> None:
    project = {"dependency-groups": {"a": ["x", {"include-group": "b"}], "b": ["y>=1"]}}
    assert group_requirements(project, "a") == ["x", "y>=1"]


def code_strings(path: Path) -> list[str]:
    """The strings of a program that it works with: docstrings cite versions, and may."""
    tree = ast.parse(path.read_text())
    cited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in cited
    ]


def test_the_version_of_llama_cpp_python_is_stated_once() -> None:
    version = engine_version(read_project(REPOSITORY))
    release = version.rpartition(".")[2]  # parsing all of the package takes seconds
    programs = [
        path
        for path in (*REPOSITORY.glob("localllm/**/*.py"), *SCRIPTS.glob("**/*.py"))
        if release in path.read_text()
    ]
    stating = [path for path in programs if any(version in text for text in code_strings(path))]
    # The versions whose inner structures were verified are another fact: the pin must be one.
    stating.remove(REPOSITORY / "localllm/engine/layouts.py")
    stating += [path for path in SCRIPTS.glob("**/*.sh") if version in path.read_text()]
    assert stating == []
    assert (REPOSITORY / "pyproject.toml").read_text().count(version) == 1


# ------------------------------------------------------------------------------ wheel


def test_a_wheel_in_the_cache_is_named_by_all_that_it_depends_on() -> None:
    base = Facts(system="linux", machine="x86_64")
    cpu = choose(base).builds[0]
    other_flags = Build(backend="cpu", how="source", cmake_args=("-DGGML_NATIVE=OFF",))
    environ = {"PATH": "/usr/bin"}
    keys = {
        cache_key(cpu, version="1", environ=environ),
        cache_key(cpu, version="2", environ=environ),
        cache_key(other_flags, version="1", environ=environ),
        cache_key(cpu, version="1", environ=environ | {"CC": "clang"}),
        cache_key(Build(backend="cuda", how="source"), version="1", environ=environ),
    }
    assert len(keys) == 5
    assert cache_key(cpu, version="1", environ={}) == cache_key(cpu, version="1", environ=environ)


# ------------------------------------------------------------------------------ facts


def test_an_amd_gpu_counts_when_it_has_memory_of_its_own(tmp_path: Path) -> None:
    card = tmp_path / "class" / "drm" / "card1" / "device"
    card.mkdir(parents=True)
    assert not facts.has_amd_gpu(tmp_path)
    (card / "vendor").write_text("0x1002\n")
    assert not facts.has_amd_gpu(tmp_path)
    (card / "mem_info_vram_total").write_text(f"{512 << 20}\n")
    assert not facts.has_amd_gpu(tmp_path)
    (card / "mem_info_vram_total").write_text(f"{16 << 30}\n")
    assert facts.has_amd_gpu(tmp_path)


def test_the_identity_of_a_cpu_is_its_model_and_its_instruction_sets(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_text(
        "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 1234\nflags\t\t: fpu avx2\n\n"
        "processor\t: 1\nmodel name\t: A\ncpu MHz\t\t: 999\nflags\t\t: fpu avx2\n"
    )
    two = tmp_path / "two"
    two.write_text("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2\n")
    three = tmp_path / "three"
    three.write_text("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2 avx512f\n")
    assert facts.cpu_identity(one) == facts.cpu_identity(two) != facts.cpu_identity(three)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "debian"),
        ("ID=debian\n", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "suse"),
        ("ID=alpine\n", "alpine"),
        ("ID=slackware\n", ""),
    ],
)
def test_the_family_of_a_distribution(tmp_path: Path, text: str, family: str) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    assert facts.distribution(path) == family
    assert family in (*compiler.HINTS, "")


def test_jobs_are_as_many_as_memory_allows(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert compiler.available_memory(tmp_path, tmp_path) == 2 << 30
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{256 << 20}\n")
    assert compiler.available_memory(tmp_path, tmp_path) == 768 << 20
    assert compiler.build_jobs("cpu") >= 1


# ----------------------------------------------------------------------------- causes


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (  # pip 23.2
            "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
            "'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: "
            "Failed to establish a new connection: [Errno 111] Connection refused')': /click/\n"
            "ERROR: No matching distribution found for click>=8.1",
            "the package index cannot be reached",
        ),
        (  # uv 0.9
            "error: Failed to fetch: `https://pypi.org/simple/click/`\n  Caused by: error sending "
            "request for url (https://pypi.org/simple/click/)\n  Caused by: dns error",
            "the package index cannot be reached",
        ),
        (
            "error: Failed to fetch\n  Caused by: error sending request for url\n"
            "  Caused by: invalid peer certificate: UnknownIssuer",
            "the package index's TLS certificate was not accepted",
        ),
        (
            "fatal error: error writing to ccO0.s: No space left on device\nninja: build stopped",
            "the disk is full",
        ),
        (
            "c++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.",
            "memory ran out",
        ),
    ],
)
def test_the_cause_is_read_from_what_the_command_said(said: str, cause: str) -> None:
    found = explain(said)
    assert found is not None
    assert found[0] == cause
    error = failure("it failed", CommandFailed(command=["pip"], returncode=1, tail=said))
    assert error.message == f"it failed: {cause}"
    assert error.hint is not None


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "cannot write /x/.venv: Read-only file system"),
        (errno.EACCES, "cannot write /x/.venv: Permission denied"),
        (errno.ENOSPC, "the disk is full (/x/.venv)"),
    ],
)
def test_what_the_file_system_refuses_is_said_in_words(number: int, said: str) -> None:
    error = of_os(OSError(number, os.strerror(number), "/x/.venv"), root=Path("/x"))
    assert error is not None
    assert (error.message, error.exit_code) == (said, 1)
    assert error.hint is not None
    assert of_os(OSError(errno.EBADF, "a bug"), root=Path("/x")) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "-- Detecting\nCMake Error at CMakeLists.txt:12 (find):\n"
            "  Could NOT find Vulkan (missing: glslc)\n\n*** CMake configuration failed",
            "CMake Error at CMakeLists.txt:12 (find): Could NOT find Vulkan (missing: glslc)",
        ),
        ("a.c:1:2: warning: x\na.c:3:4: error: y\nninja: build stopped.", "a.c:3:4: error: y"),
        (
            "Traceback (most recent call last):\n  File ...\nFileNotFoundError: profiles\n"
            "error: metadata-generation-failed\nnote: not a problem with pip.",
            "FileNotFoundError: profiles",
        ),
        ("Illegal instruction", "Illegal instruction"),
        ("", ""),
    ],
)
def test_the_most_telling_line_of_a_failure(said: str, words: str) -> None:
    assert last_words(said) == words


def test_an_index_without_the_wheel_is_not_called_a_lost_network() -> None:
    (wheel, *_) = choose(Facts(system="linux", machine="x86_64", cuda_driver=(12, 4))).builds
    said = (
        "ERROR: Could not find a version that satisfies the requirement llama-cpp-python==9 "
        "(from versions: none)\nERROR: No matching distribution found for llama-cpp-python==9"
    )
    why = why_not(wheel, CommandFailed(command=["pip"], returncode=1, tail=said))
    assert why == "cuda, prebuilt for CUDA 12.4: its index has no such wheel"
