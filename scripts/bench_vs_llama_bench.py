"""Ours beside llama.cpp's own llama-bench, on the same files, taking turns in one run.

    scripts/bench_vs_llama_bench.py                    an 8B and a 1B shape, made of zeros
    scripts/bench_vs_llama_bench.py MODEL.gguf -p 512 -n 128 -r 5
    scripts/bench_vs_llama_bench.py --json > compared.json

llama-bench is compiled from the sources in the sdist of llama-cpp-python, against the libraries
that are installed: both programs run the very same llama.cpp. Both hold the model and go through
the same tests in lockstep: whichever is not measuring is stopped in the pause that ``--delay``
makes before a test, and the order turns from round to round (A B B A). So a machine whose speed
changes within a minute, as shared ones do, favours neither. A ratio is taken of each pair of turns,
and of the best rates, which are the least disturbed. What is compared: tokens per second of prompts
(pp) and of generation (tg), one repetition a round, after the warm-up that both make.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from _setup.wheel import cache_folder  # noqa: E402  (after the path)

from tests.support import shapes  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

Row = dict[str, Any]
PAUSE_S = 1
"""Before each test: long enough for a stop to fall into it."""
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
    n_rounds = options.rounds
    tests = [
        *("-p", ",".join([str(options.n_prompt)] * n_rounds)),
        *("-n", ",".join([str(options.n_gen)] * n_rounds)),
        *("-d", str(options.n_depth), "-r", "1", "-o", "jsonl", "--delay", str(PAUSE_S)),
    ]
    tests += ["-t", str(options.threads)] if options.threads else []
    theirs = [str(program), "-m", str(model), *tests]
    ours = [sys.executable, "-m", "localllm", "bench", str(model), "--no-chat", *tests]
    rates: dict[str, dict[str, list[float]]] = {}
    with Side("llama-bench", theirs) as one, Side("localllm", ours) as other:
        for number in range(2 * n_rounds):
            sides = (one, other) if number % 2 == 0 else (other, one)
            rows = {side.name: side.turn() for side in sides}
            (test,) = {label(row) for row in rows.values()}
            for name, row in rows.items():
                rates.setdefault(test, {}).setdefault(name, []).append(row["avg_ts"])
    return {
        "model": model.name,
        "llama_cpp_python": version("llama-cpp-python"),
        "rounds": n_rounds,
        "tests": {test: compared(found) for test, found in rates.items()},
    }


class Side:
    """One of the programs, stopped unless it is its turn."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        """Start it, and stop it in the pause before its first test at the latest."""
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (it is read when the program fails)
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "LOCALLLM_MEASUREMENTS": "off"},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        os.kill(self._process.pid, signal.SIGSTOP)

    def __enter__(self) -> Self:
        """Return the side itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the program, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def turn(self) -> Row:
        """Let it run up to the end of its next test, and return that test's row."""
        assert self._process.stdout is not None
        os.kill(self._process.pid, signal.SIGCONT)
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"{self.name} failed:\n{self._errors.read()[-2000:].decode()}")
        os.kill(self._process.pid, signal.SIGSTOP)  # it waits before its next test
        row: Row = json.loads(line)
        return row


def label(row: Row) -> str:
    """``pp128``, ``tg32 @ d512``."""
    name = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return name + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def compared(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and bests of both sides, and ours over theirs."""
    ours, theirs = found["localllm"], found["llama-bench"]
    pairs = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {
        **{
            name: {"median": statistics.median(rates), "best": max(rates), "rates": rates}
            for name, rates in found.items()
        },
        "median_of_ratios": statistics.median(pairs),
        "ratio_of_bests": max(ours) / max(theirs),
    }


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['model']}: {result['rounds']} rounds, tokens per second, median (best)"]
    for test, found in result["tests"].items():
        sides = [
            f"{name} {found[name]['median']:,.2f} ({found[name]['best']:,.2f})"
            for name in ("llama-bench", "localllm")
        ]
        ratio = f"{found['median_of_ratios']:.3f}, of the best {found['ratio_of_bests']:.3f}"
        lines.append(f"  {test:<14} {'   '.join(sides)}   ratio: median of pairs {ratio}")
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
