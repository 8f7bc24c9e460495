"""Time to the first token: ``localllm chat FILE -p ...`` beside a plain C program.

    scripts/bench_start.py                       a 1B shape, made of zeros
    scripts/bench_start.py MODEL.gguf -r 9       a file of your own
    scripts/bench_start.py --warm --json

The C program (``bench_start.c``, compiled here against the installed library) loads the same file
with the same context, batch, threads and placement, puts the same question through the model's chat
template and writes one greedy token. Both are timed from their start as a process to their first
byte on standard output. They take turns, and the order turns from round to round (A B B A), so that
a busy machine favours neither. Ratios are of medians and of the least times: the least are the
least disturbed.

Warm: every file was just read. Cold: before each start the model, llama.cpp's libraries, Python's
own files and localllm's are dropped from the page cache, as far as that needs no root
(``POSIX_FADV_DONTNEED``; what a running program has mapped stays). A cold start of a made model
reads a copy without holes, since a hole is never read from a disk.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.support import shapes  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

SOURCE = Path(__file__).with_suffix(".c")
_NOT_AS_USUAL = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "LOCALLLM_MEASUREMENTS"}
"""An installation has its byte code, and a person's measurements are on."""
QUESTION = "hi"
"""Short: the time of a long prompt is the same for both, and hides what is compared."""


def main() -> None:
    """Compile, take turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a .gguf file")
    parser.add_argument("-p", "--prompt", default=QUESTION)
    parser.add_argument("-r", "--rounds", type=int, default=7)
    parser.add_argument("--warm", action="store_true", help="only warm")
    parser.add_argument("--cold", action="store_true", help="only cold")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = compile_program(folder)
        model = options.model or make_model(folder / "llama-3.2-1b.gguf", shapes.LLAMA_32_1B)
        result: dict[str, Any] = {"model": model.name, "rounds": options.rounds}
        if not options.cold:
            result["warm"] = measure(program, model, options, evicted=())
        if not options.warm:
            if has_holes(model):
                model = dense_copy(model, folder / f"dense-{model.name}")
            result["cold"] = measure(program, model, options, evicted=evictable(model))
        print(json.dumps(result) if options.json else as_text(result))


def measure(
    program: Path, model: Path, options: argparse.Namespace, evicted: Sequence[Path]
) -> dict[str, Any]:
    """Take turns on one model; seconds to the first byte of each."""
    ours = [sys.executable, "-m", "localllm", "chat", str(model), "-p", options.prompt]
    ours += ["-n", "1", "--greedy"]
    environ = {key: value for key, value in os.environ.items() if key not in _NOT_AS_USUAL}
    environ |= {f"LOCALLLM_{kind}_DIR": str(program.parent / kind) for kind in ("STATE", "CACHE")}
    theirs = [str(program), str(model), options.prompt, *same_settings(model)]
    seconds: dict[str, list[float]] = {"C": [], "localllm": []}
    for number in range(-1, options.rounds):  # one round before the first: files, and byte code
        turns = [("C", theirs), ("localllm", ours)]
        for name, command in turns if number % 2 == 0 else reversed(turns):
            evict(evicted)
            first_s = seconds_to_first_byte(command, environ)
            if number >= 0:
                seconds[name].append(first_s)
    return {
        **{name: {"median": statistics.median(s), "least": min(s)} for name, s in seconds.items()},
        "ratio_of_medians": statistics.median(seconds["localllm"])
        / statistics.median(seconds["C"]),
        "ratio_of_leasts": min(seconds["localllm"]) / min(seconds["C"]),
        "seconds": seconds,
    }


def same_settings(model: Path) -> list[str]:
    """What the plan tells the engine, as the C program's arguments."""
    command = [sys.executable, "-m", "localllm", "plan", str(model), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    names = ("n_ctx", "n_batch", "n_ubatch", "n_threads", "n_gpu_layers", "use_mmap", "repack")
    return [str(int(plan[name])) for name in names]


def seconds_to_first_byte(command: Sequence[str], environ: Mapping[str, str]) -> float:
    """Start a program and wait for its first byte; then for its end."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
        )
        assert process.stdout is not None
        with process.stdout:
            byte = process.stdout.read(1)
            seconds = time.perf_counter() - began
            process.stdout.read()
        if process.wait() != 0 or not byte:
            errors.seek(0)
            raise SystemExit(f"{command[0]} failed: {errors.read().decode()[-2000:]}")
    return seconds


def has_holes(path: Path) -> bool:
    """Whether a file takes less of the disk than its size says."""
    status = path.stat()
    return status.st_blocks * 512 < status.st_size


def dense_copy(model: Path, copy: Path) -> Path:
    """Copy a file and write its holes out."""
    with model.open("rb") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 24)
        target.flush()
        os.fsync(target.fileno())
    return copy


def evictable(model: Path) -> tuple[Path, ...]:
    """Every file that a start reads: the model, the libraries, the interpreter's and our own."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None and spec.submodule_search_locations is not None
    folders = [
        ROOT / "localllm",
        Path(spec.submodule_search_locations[0]).parent,
        Path(sysconfig.get_paths()["stdlib"]),
    ]
    return (model, *(file for folder in folders for file in files_in(folder)))


def files_in(folder: Path) -> Iterator[Path]:
    """Code below a folder: what an import or the loader may read."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".py", ".pyc")) or ".so" in name:
                yield Path(parent, name)


def evict(paths: Sequence[Path]) -> None:
    """Drop clean pages of files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['model']}: {result['rounds']} rounds, seconds to the first token"]
    for kind in ("warm", "cold"):
        if kind in result:
            found = result[kind]
            c, ours = found["C"], found["localllm"]
            lines.append(
                f"  {kind}   C {c['median']:.3f} (least {c['least']:.3f})   "
                f"localllm {ours['median']:.3f} ({ours['least']:.3f})   "
                f"ratio {found['ratio_of_medians']:.3f} ({found['ratio_of_leasts']:.3f})"
            )
    return "\n".join(lines)


def compile_program(folder: Path) -> Path:
    """Compile the C program against the installed libraries."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("llama-cpp-python is not installed")
    package = Path(spec.submodule_search_locations[0])
    library = package / "lib"
    program = folder / "bench_start"
    subprocess.run(
        [
            os.environ.get("CC", "cc"),
            *("-O2", "-std=c11", "-D_DEFAULT_SOURCE", "-w", str(SOURCE), "-o", str(program)),
            *(f"-I{package.parent / 'include'}", f"-L{library}"),
            *("-lllama", "-lggml", "-lggml-base"),
            *(f"-Wl,-rpath,{library}", f"-Wl,-rpath-link,{library}"),
        ],
        check=True,
    )
    return program


if __name__ == "__main__":
    main()
