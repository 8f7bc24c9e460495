"""Ours beside llama.cpp's own llama-bench, on the same files, taking turns in one run.

    scripts/bench_vs_llama_bench.py                    an 8B and a 1B shape, made of zeros
    scripts/bench_vs_llama_bench.py MODEL.gguf -p 512 -n 128 -r 5
    scripts/bench_vs_llama_bench.py --json > compared.json

llama-bench is compiled from the sources in the sdist of llama-cpp-python, against the libraries
that are installed: both programs run the very same llama.cpp. A round is one process of each with
one repetition, its warm-up apart, and the order turns from round to round (A B B A), so that a busy
or a warming machine favours neither. Ratios are of medians and of the least times: the least are
the least disturbed. What is compared: tokens per second of prompts (pp) and of generation (tg), and
the streamed chat beside our own tg.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from _setup.wheel import cache_folder  # noqa: E402  (after the path)

from tests.support import shapes  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

Row = dict[str, Any]
SOURCES = ("tools/llama-bench", "common", "vendor")
"""Folders of llama.cpp that llama-bench is compiled from."""


def main() -> None:
    """Compile, take turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help=".gguf files")
    parser.add_argument("-p", "--n-prompt", type=int, default=128)
    parser.add_argument("-n", "--n-gen", type=int, default=32)
    parser.add_argument("-d", "--n-depth", type=int, default=0)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--sdist", type=Path, help="llama_cpp_python-*.tar.gz, if not in the cache")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = compile_llama_bench(folder, options.sdist or cached_sdist())
        models = options.models or [
            make_model(folder / "llama-3.2-1b.gguf", shapes.LLAMA_32_1B),
            make_model(folder / "llama-3-8b.gguf", shapes.LLAMA_3_8B),
        ]
        for model in models:
            result = measure(program, model, options)
            print(json.dumps(result) if options.json else as_text(result), flush=True)


def measure(program: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Take turns on one model and return the rates of each test, in tokens per second."""
    tests = ["-p", str(options.n_prompt), "-n", str(options.n_gen), "-d", str(options.n_depth)]
    tests += ["-r", "1", "-o", "json"]
    tests += ["-t", str(options.threads)] if options.threads else []
    theirs = [str(program), "-m", str(model), *tests]
    ours = [sys.executable, "-m", "localllm", "bench", str(model), *tests]
    rates: dict[str, dict[str, list[float]]] = {}
    environ = {**os.environ, "LOCALLLM_MEASUREMENTS": "off"}
    for number in range(options.rounds):
        turns = [("llama-bench", theirs), ("localllm", ours)]
        for name, command in turns if number % 2 == 0 else reversed(turns):
            for row in rows_of(command, environ):
                rates.setdefault(label(row), {}).setdefault(name, []).append(row["avg_ts"])
    return {
        "model": model.name,
        "llama_cpp_python": version("llama-cpp-python"),
        "rounds": options.rounds,
        "tests": {test: compared(found) for test, found in rates.items()},
    }


def rows_of(command: Sequence[str], environ: dict[str, str]) -> list[Row]:
    """Run one of the programs and return its rows."""
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    rows: list[Row] = json.loads(done.stdout)
    return rows


def label(row: Row) -> str:
    """``pp128``, ``tg32 @ d512``; ``chat`` for a streamed answer."""
    if row.get("kind") == "chat":
        return "chat"
    name = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return name + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def compared(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and bests of both sides, and ours over theirs."""
    result: dict[str, Any] = {
        name: {"median": statistics.median(rates), "best": max(rates), "rates": rates}
        for name, rates in found.items()
    }
    if len(found) == 2:
        ours, theirs = found["localllm"], found["llama-bench"]
        result["ratio_of_medians"] = statistics.median(ours) / statistics.median(theirs)
        result["ratio_of_bests"] = max(ours) / max(theirs)
    return result


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['model']}: {result['rounds']} rounds, tokens per second, median (best)"]
    for test, found in result["tests"].items():
        sides = [
            f"{name} {found[name]['median']:,.2f} ({found[name]['best']:,.2f})"
            for name in ("llama-bench", "localllm")
            if name in found
        ]
        ratio = (
            f"   ratio {found['ratio_of_medians']:.3f} ({found['ratio_of_bests']:.3f})"
            if "ratio_of_medians" in found
            else ""
        )
        lines.append(f"  {test:<14} {'   '.join(sides)}{ratio}")
    return "\n".join(lines)


def cached_sdist() -> Path:
    """The source distribution that the set-up of a checkout has fetched."""
    folder = cache_folder(dict(os.environ), root=ROOT) / "sdist"
    found = folder / f"llama_cpp_python-{version('llama-cpp-python')}.tar.gz"
    if not found.is_file():
        raise SystemExit(
            f"There is no {found}. Get it with: pip download --no-deps --no-binary :all: "
            f"llama-cpp-python=={version('llama-cpp-python')}, and name it with --sdist."
        )
    return found


def compile_llama_bench(folder: Path, sdist: Path) -> Path:
    """Compile llama-bench against the installed libraries; seconds, not minutes."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("llama-cpp-python is not installed")
    site = Path(spec.submodule_search_locations[0]).parent
    library, include = site / "lib", site / "include"
    if not (library / "libllama-common.so").exists():
        raise SystemExit("This build of llama-cpp-python has no libllama-common to link with.")
    with tarfile.open(sdist) as archive:
        top = archive.getnames()[0].partition("/")[0]
        base = f"{top}/vendor/llama.cpp/"
        wanted = tuple(base + name + "/" for name in SOURCES)
        members = [one for one in archive.getmembers() if one.name.startswith(wanted)]
        archive.extractall(folder, members=members, filter="data")
    source = folder / base
    program = folder / "llama-bench"
    subprocess.run(
        [
            os.environ.get("CXX", "c++"),
            *("-O2", "-DNDEBUG", "-std=c++17", "-w"),
            *map(str, sorted((source / "tools/llama-bench").glob("*.cpp"))),
            *(f"-I{path}" for path in (source / "common", source / "vendor", include)),
            *(f"-L{library}", "-lllama-common", "-lllama", "-lggml", "-lggml-base", "-lggml-cpu"),
            *(f"-Wl,-rpath,{library}", f"-Wl,-rpath-link,{library}", "-pthread"),
            *("-o", str(program)),
        ],
        check=True,
    )
    return program


if __name__ == "__main__":
    main()
