"""The diagnosis: facts in, findings out, each with the line that mends it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from localllm.core.hardware import Device
from localllm.doctor.facts import Facts, Folder
from localllm.doctor.finding import Finding, Level
from localllm.doctor.hub_findings import hub_findings
from localllm.doctor.mend import backend_line, compiler_line, reinstall_line
from localllm.units import GiB, MiB, format_bytes

LEAST_PYTHON = (3, 11)
LEAST_COLUMNS = 78
LEAST_MODEL_SPACE_BYTES = 6 * GiB
"""An 8B model at Q4_K_M is 4.6 GiB."""

LEAST_STATE_SPACE_BYTES = 64 * MiB


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Return every finding, in the order in which a person would check."""
    return tuple(finding for check in _CHECKS for finding in check(facts))


def _python(facts: Facts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python_version))
    if facts.python_version[:2] < LEAST_PYTHON:
        yield Finding(
            level="missing",
            topic="Python",
            text=f"{version} is too old: localllm needs 3.11.",
            fix="Install Python 3.11 or newer and set localllm up again.",
        )
        return
    where = "this checkout" if facts.checkout else facts.python
    yield Finding(
        level="ok",
        topic="localllm",
        text=f"{facts.localllm_version} in {where}, Python {version}, {facts.system}",
    )
    absent = [name for name, found in facts.packages.items() if found is None]
    if absent:
        yield Finding(
            level="missing",
            topic="packages",
            text=f"not installed: {', '.join(absent)}",
            fix=f"{facts.python} -m pip install {' '.join(absent)}",
        )


def _engine(facts: Facts) -> Iterator[Finding]:
    engine = facts.engine
    if engine is None:
        fix = facts.engine_fix
        if facts.checkout is not None:
            fix = reinstall_line(facts)
        yield Finding(
            level="missing",
            topic="llama.cpp",
            text=facts.engine_problem or "llama.cpp cannot be used.",
            fix=fix,
        )
        return
    how = f", {facts.build['how']} build" if facts.build and "how" in facts.build else ""
    commit = f", llama.cpp {engine.build_commit}" if engine.build_commit else ""
    rpc = "with RPC" if engine.supports_rpc else "without RPC"
    text = f"llama-cpp-python {engine.version}{commit}{how}, {rpc}"
    pinned = facts.engine_pinned
    if pinned is not None and engine.version != pinned:
        yield Finding(
            level="warn",
            topic="llama.cpp",
            text=f"{text}; this localllm was tested with {pinned}",
            fix=reinstall_line(facts),
        )
    else:
        yield Finding(level="ok", topic="llama.cpp", text=text)


def _devices(facts: Facts) -> Iterator[Finding]:
    engine = facts.engine
    if engine is not None:
        listed = ", ".join(f"{d.name} ({d.description.strip()})" for d in engine.devices)
        yield Finding(level="ok", topic="devices", text=f"llama.cpp lists {listed or 'none'}")
    for device in facts.hardware.devices:
        yield from _device(facts, device)
    if not facts.hardware.devices:
        yield Finding(level="ok", topic="GPU", text="none here; models run on the CPU")


def _device(facts: Facts, device: Device) -> Iterator[Finding]:
    if not device.visible:
        variable = next((n for n in _HIDING if facts.environment.get(n) is not None), None)
        yield Finding(
            level="warn",
            topic="GPU",
            text=f"{device.description} is hidden from llama.cpp"
            + (f" by {variable}={facts.environment[variable]}" if variable else ""),
            fix=f"unset {variable}" if variable else None,
        )
    elif device.backend == "none":
        if facts.engine is None:
            return
        yield Finding(
            level="warn",
            topic="GPU",
            text=f"{device.description} is here, and this llama.cpp cannot use it",
            fix=backend_line(facts, device),
        )
    else:
        free = f", {format_bytes(device.free_bytes)} free" if device.free_bytes else ""
        driver = f", driver {device.driver}" if device.driver else ""
        text = f"{device.name}: {device.description}{free}{driver}"
        yield Finding(level="ok", topic="GPU", text=text)


_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def _cpu(facts: Facts) -> Iterator[Finding]:
    host = facts.hardware.host
    text = f"{host.cpu}, {host.n_threads_default} threads for llama.cpp"
    built_for = _built_for(facts)
    if host.machine == "x86_64" and host.isa and "avx2" not in host.isa:
        yield Finding(level="warn", topic="CPU", text=f"{text}; without AVX2 it is slow")
    elif "avx2" in host.isa and built_for and "avx2" not in built_for:
        yield Finding(
            level="warn",
            topic="CPU",
            text=f"{text}; it has AVX2, and this llama.cpp was built without",
            fix=reinstall_line(facts),
        )
    else:
        yield Finding(level="ok", topic="CPU", text=text)
    free, total = format_bytes(host.available_bytes), format_bytes(host.total_bytes)
    limit = f", limited by {host.memory_limit}" if host.memory_limit else ""
    level: Level = "ok" if host.available_bytes >= 2 * GiB else "warn"
    yield Finding(level=level, topic="RAM", text=f"{free} of {total} available{limit}")


def _built_for(facts: Facts) -> frozenset[str]:
    """Instruction sets that ``llama_print_system_info`` says are compiled in: ``AVX2 = 1``."""
    if facts.engine is None:
        return frozenset()
    names = re.findall(r"(\w+) = [1-9]", facts.engine.system_info)
    return frozenset(name.lower() for name in names)


def _compiler(facts: Facts) -> Iterator[Finding]:
    compiler = facts.tool("c++") or facts.tool("g++") or facts.tool("clang++")
    if compiler is None:
        yield Finding(
            level="ok" if facts.engine is not None else "warn",
            topic="compiler",
            text="none; it is needed only to build llama.cpp here",
            fix=None if facts.engine is not None else compiler_line(facts),
        )
        return
    nvcc = facts.tool("nvcc")
    cuda = f"; CUDA: {nvcc.version or nvcc.path}" if nvcc else ""
    text = f"{compiler.version or compiler.path}{cuda}"
    yield Finding(level="ok", topic="compiler", text=text)


def _folders(facts: Facts) -> Iterator[Finding]:
    for folder in facts.folders:
        yield _folder(folder)


def _folder(folder: Folder) -> Finding:
    free = "" if folder.free_bytes is None else f", {format_bytes(folder.free_bytes)} free"
    text = f"{folder.path}{free}"
    if not folder.writable:
        return Finding(
            level="warn",
            topic=folder.purpose,
            text=f"{folder.path} cannot be written",
            fix=_FOLDER_VARIABLES.get(folder.purpose),
        )
    least = LEAST_MODEL_SPACE_BYTES if folder.purpose == "models" else LEAST_STATE_SPACE_BYTES
    if folder.free_bytes is not None and folder.free_bytes < least:
        return Finding(
            level="warn",
            topic=folder.purpose,
            text=f"{text}: little",
            fix=_FOLDER_VARIABLES.get(folder.purpose),
        )
    return Finding(level="ok", topic=folder.purpose, text=text)


_FOLDER_VARIABLES = {
    "models": "export HF_HOME=/a/folder/with/room",
    "state": "export LOCALLLM_STATE_DIR=/a/folder/of/yours",
}


def _demo(facts: Facts) -> Iterator[Finding]:
    if facts.demo_problem is None:
        yield Finding(level="ok", topic="demo", text="the demo model is here: localllm chat demo")
    else:
        yield Finding(level="warn", topic="demo", text=facts.demo_problem)


def _terminal(facts: Facts) -> Iterator[Finding]:
    terminal = facts.terminal
    if not terminal.is_terminal:
        yield Finding(level="ok", topic="terminal", text="standard output is not a terminal")
        return
    text = f"{terminal.term or 'unnamed'}, {terminal.columns} columns, {terminal.encoding}"
    text += ", inside tmux" if terminal.inside_tmux else ""
    text += ", no colour (NO_COLOR)" if terminal.no_colour else ""
    problems: list[tuple[str, str | None]] = []
    if not terminal.encoding.lower().replace("_", "-").startswith("utf"):
        problems.append(("it is not UTF-8, so tables use ASCII", "export LANG=C.UTF-8"))
    if terminal.term in ("", "dumb"):
        problems.append(("it cannot move the cursor", "export TERM=xterm-256color"))
    elif terminal.inside_tmux and not terminal.term.startswith("tmux"):
        problems.append(
            (
                "tmux is told to hide some of its abilities",
                "tmux set -g default-terminal tmux-256color",
            )
        )
    if terminal.columns < LEAST_COLUMNS:
        problems.append((f"tables need {LEAST_COLUMNS} columns", None))
    if not problems:
        yield Finding(level="ok", topic="terminal", text=text)
    for problem, fix in problems:
        yield Finding(level="warn", topic="terminal", text=f"{text}; {problem}", fix=fix)


def _environment(facts: Facts) -> Iterator[Finding]:
    if facts.environment:
        pairs = ", ".join(f"{name}={value}" for name, value in facts.environment.items())
        yield Finding(level="ok", topic="variables", text=pairs)


def _power(facts: Facts) -> Iterator[Finding]:
    """Which meters tell watts and joules; what a line would enable is worth a warning."""
    sources = [seen.source for seen in facts.meters.meters]
    if sources:
        text = "; ".join(f"{s.scope} {s.device} ({s.name})" for s in sources)
        yield Finding(level="ok", topic="power", text=text)
    by_reason: dict[tuple[str, str | None], list[str]] = {}
    for absent in facts.meters.missing:
        key = (absent.reason, absent.fix)
        by_reason.setdefault(key, []).append(absent.label)
    for (reason, fix), scopes in by_reason.items():
        yield Finding(
            level="ok" if fix is None else "warn",
            topic="power",
            text=f"no meter for {', '.join(scopes)}: {reason}",
            fix=fix,
        )


def _notes(facts: Facts) -> Iterator[Finding]:
    """What the probes have to say; a machine without a GPU needs no explanation for it."""
    for note in facts.hardware.notes:
        if not note.startswith("no GPU"):
            yield Finding(level="ok", topic="note", text=note)


_CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _python,
    _engine,
    _devices,
    _cpu,
    _power,
    _notes,
    _compiler,
    _folders,
    hub_findings,
    _demo,
    _terminal,
    _environment,
)
