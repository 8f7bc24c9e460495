#!/usr/bin/env python3
"""How long a plan takes as a whole process, beside llama.cpp's own llama-fit-params.

    scripts/bench_plan.py                                     our side alone
    scripts/bench_plan.py --sdist llama_cpp_python-0.3.36     builds llama-fit-params first (CMake)
    scripts/bench_plan.py --fit-params PATH -r 15 --json

``localllm plan FILE --json`` for the headers of an 8B and a 70B model, by formula and by
llama.cpp's allocator, for this machine and for a GPU that is not here; then a joint search: 12
quantisations, 3 types of KV cache and 4 contexts of a 70B, each solved with the allocator. All
commands take turns in one run, so that a busy machine slows all of them; medians are printed, and
what they are of llama-fit-params' on the same file. Bounds are for two idle cores; exits with 1
where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)
from tests.support.shapes import SHAPES  # noqa: E402  (after the path)

FORMULA_S, EXACT_S, SEARCH_S = 0.35, 0.8, 5.0
SEARCH_MODEL = "llama-3.1-70b"


@dataclass(slots=True)
class Command:
    """One thing to be measured."""

    name: str
    argv: Sequence[str | Path]
    bound_s: float | None = None
    beside: str | None = None
    """Name of the command that answers the same question."""
    every: int = 1
    """Run it in every n-th round only."""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run it once as a process of its own. Raises SystemExit where it fails."""
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(
            self.argv, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
        )
        self.wall_s.append(time.perf_counter() - began)
        after = os.times()
        self.cpu_s.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        # 3: planned, and it does not fit. llama-fit-params exits with 1 then.
        if done.returncode not in (0, 3) and not (self.beside is None and self.bound_s is None):
            raise SystemExit(f"error: {self.name} failed: {done.stderr.strip()[-500:]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit-params", type=Path, metavar="PATH", help="llama-fit-params, built")
    parser.add_argument("--sdist", type=Path, help="an unpacked llama-cpp-python: build it there")
    parser.add_argument("--build", type=Path, help="where to build; kept and used again")
    parser.add_argument("--hardware", default="rtx-4090", help="the machine that is not here")
    parser.add_argument("-r", "--rounds", type=int, default=7)
    parser.add_argument("--no-search", action="store_true", help="leave the joint search out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    fit_params = options.fit_params
    if fit_params is None and options.sdist is not None:
        fit_params = built(
            options.sdist, options.build or Path(tempfile.gettempdir(), "fit-params")
        )
    with tempfile.TemporaryDirectory() as folder:
        commands = commands_for(
            Path(folder), fit_params, options.hardware, search=not options.no_search
        )
        for number in range(-1, options.rounds):  # the first round warms the page cache
            for command in commands:
                if number % command.every == 0 or number < 0:
                    command.run()
                if number < 0:
                    command.wall_s.clear()
                    command.cpu_s.clear()
    results = [result_of(command, commands) for command in commands]
    print(json.dumps(results, indent=1) if options.json else as_table(results))
    sys.exit(0 if all(result["within"] is not False for result in results) else 1)


def commands_for(
    folder: Path, fit_params: Path | None, hardware: str, *, search: bool
) -> list[Command]:
    """Make the files and return what is to be measured on them."""
    python = sys.executable
    commands: list[Command] = []
    for name, bounded in (("llama-3-8b", False), ("llama-3-70b", True)):
        path = make_model(folder / f"{name}.gguf", SHAPES[name])
        size = name.rpartition("-")[2].upper()
        fit = f"llama-fit-params {size}"
        if fit_params is not None:
            commands.append(Command(fit, [fit_params, "-m", path]))
            commands.append(Command(f"{fit}, print only", [fit_params, "-m", path, "-fitp", "on"]))
        for basis, bound_s in (("formula", FORMULA_S), ("exact", EXACT_S)):
            for where, place in (("here", []), (hardware, ["--hardware", hardware])):
                argv = [python, "-m", "localllm", "plan", str(path), "--json", *place]
                argv += ["--basis", basis]
                commands.append(
                    Command(
                        f"plan {size}, {basis}, {where}",
                        argv,
                        bound_s=bound_s if bounded or basis == "formula" else EXACT_S,
                        beside=fit if fit_params is not None else None,
                    )
                )
    if search:
        script = ROOT / "scripts" / "_check" / "search.py"
        commands.append(
            Command(
                f"joint search, 144 combinations, {hardware}",
                [python, script, SEARCH_MODEL, hardware],
                bound_s=SEARCH_S,
                every=3,
            )
        )
    return commands


def built(sdist: Path, build: Path) -> Path:
    """Build llama-fit-params of the sources in an sdist, without a network; returns its path."""
    source = sdist / "vendor" / "llama.cpp"
    if not source.is_dir():
        raise SystemExit(f"error: {sdist} has no vendor/llama.cpp")
    program = build / "bin" / "llama-fit-params"
    if not program.exists():
        build.mkdir(parents=True, exist_ok=True)
        print(f"building llama-fit-params in {build}", file=sys.stderr)
        switches = ["LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER"]
        switches += ["LLAMA_CURL", "LLAMA_OPENSSL", "GGML_OPENMP"]
        configure = ["cmake", "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-D{switch}=OFF" for switch in switches]
        compile_ = ["cmake", "--build", str(build), "--target", "llama-fit-params"]
        for argv in (configure, [*compile_, "-j", str(os.cpu_count() or 1)]):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"error: {argv[0]} failed: {done.stderr.strip()[-2000:]}")
    return program


def result_of(command: Command, commands: Sequence[Command]) -> dict[str, Any]:
    """Medians of a command, its bound, and its ratio to what it stands beside."""
    median = statistics.median(command.wall_s)
    other = next((each for each in commands if each.name == command.beside), None)
    return {
        "name": command.name,
        "median_s": round(median, 4),
        "least_s": round(min(command.wall_s), 4),
        "cpu_s": round(statistics.median(command.cpu_s), 4),
        "runs": len(command.wall_s),
        "bound_s": command.bound_s,
        "within": None if command.bound_s is None else median <= command.bound_s,
        "of_fit_params": None
        if other is None
        else round(median / statistics.median(other.wall_s), 3),
    }


def as_table(results: Sequence[dict[str, Any]]) -> str:
    """One line for each command."""
    head = f"{'':42}{'median':>9}{'least':>9}{'CPU':>9}{'bound':>8}{'of fit':>8}"
    lines = [head]
    for result in results:
        bound = "" if result["bound_s"] is None else f"{result['bound_s']:.2f} s"
        ratio = "" if result["of_fit_params"] is None else f"{result['of_fit_params']:.2f}x"
        missed = "  missed" if result["within"] is False else ""
        lines.append(
            f"{result['name']:42}{result['median_s']:7.3f} s{result['least_s']:7.3f} s"
            f"{result['cpu_s']:7.3f} s{bound:>8}{ratio:>8}{missed}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
