"""What our engine costs over a plain C loop on the same library, measured in one interleaved run.

    scripts/bench_loop.py                      an 8B-shaped model, made of zeros
    scripts/bench_loop.py --toy                a toy with the same 128,256-token vocabulary
    scripts/bench_loop.py MODEL.gguf -t 8 -n 128 -r 5

Two questions. Is our tg128 llama-bench's? (``bench``, within 3 % of the C loop.) And what does a
token cost on its way to the consumer: its bytes, UTF-8, stop strings, JSON, the pipe, the parent?
(``stream``, at most 0.1 ms over the C loop.) Both sides hold the model at the same time and take
turns, so that a busy machine slows both; the least times are the least disturbed. Processor time
is the sum of child and parent, an upper bound of what a token can be delayed. ``--toy`` measures
answers of 250, 1,000 and 4,000 tokens: the overhead per token must not grow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from localllm.core.generation import (  # noqa: E402  (after the path)
    BenchSample,
    BenchTest,
    CompletionRequest,
    Died,
    Event,
    Failed,
    Finished,
    Loaded,
    Sampling,
    TextDelta,
)
from localllm.engine.client import EngineClient  # noqa: E402  (after the path)
from tests.engine.support import cpu_plan  # noqa: E402  (after the path)
from tests.support import shapes  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

N_BATCH = N_UBATCH = 512


class Times(NamedTuple):
    """Of a test, or a moment."""

    wall_ns: int
    cpu_ns: int


class CLoop:
    """The compiled yardstick, with the model loaded."""

    def __init__(self, program: Path, model: Path, n_threads: int, n_ctx: int) -> None:
        """Start it and wait until it is ready."""
        numbers = (n_threads, n_ctx, N_BATCH, N_UBATCH)
        self._process = subprocess.Popen(
            [program, model, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != "ready":
            raise SystemExit("the C loop could not load the model")

    def run(self, test: str, n_tokens: int) -> Times:
        """Run one test."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{test} {n_tokens}\n")
        self._process.stdin.flush()
        wall_ns, cpu_ns = map(int, self._line().split())
        return Times(wall_ns, cpu_ns)

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a .gguf file")
    parser.add_argument("--toy", action="store_true", help="a toy with a 128k vocabulary")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-n", "--n-gen", type=int, default=128)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n_gens = [250, 1000, 4000] if options.toy else [options.n_gen]
    with tempfile.TemporaryDirectory() as folder:
        program = compile_c(Path(folder))
        model = options.model or made_model(Path(folder), toy=options.toy)
        n_ctx = max(512, max(n_gens) + 64)
        loop = CLoop(program, model, options.threads, n_ctx)
        with contextlib.closing(loop), EngineClient() as engine:
            plan = cpu_plan(
                n_ctx=n_ctx,
                n_batch=N_BATCH,
                n_ubatch=N_UBATCH,
                n_threads=options.threads,
                repack=True,
            )
            last(engine.load(plan, (str(model),)), Loaded)
            for n_gen in n_gens:
                result = measure(loop, engine, n_gen, options.rounds)
                print(json.dumps(result) if options.json else as_text(result), flush=True)


def measure(loop: CLoop, engine: EngineClient, n_gen: int, rounds: int) -> dict[str, Any]:
    """Take turns: C, ours, C, ours; the first round is a warm-up. Times per token, microseconds."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        turns = {
            "c_tg": per_token(loop.run("tg", n_gen), n_gen),
            "bench": per_token(bench(engine, n_gen), n_gen),
            "c_greedy": per_token(loop.run("greedy", n_gen), n_gen - 1),
            "stream": per_token(stream(engine, n_gen), n_gen - 1),
        }
        for name, (wall_us, cpu_us) in turns.items():
            if number > 0:
                found.setdefault(f"{name}_us", []).append(wall_us)
                found.setdefault(f"{name}_cpu_us", []).append(cpu_us)

    def over(name: str, base: str, of: Callable[[list[float]], float]) -> float:
        return of(found[name]) - of(found[base])

    return {
        "n_gen": n_gen,
        "rounds": rounds,
        **{name: spread(values) for name, values in found.items()},
        "bench_ratio_of_medians": statistics.median(found["bench_us"])
        / statistics.median(found["c_tg_us"]),
        "bench_ratio_of_least": min(found["bench_us"]) / min(found["c_tg_us"]),
        "overhead_us_of_medians": over("stream_us", "c_greedy_us", statistics.median),
        "overhead_us_of_least": over("stream_us", "c_greedy_us", min),
        "overhead_cpu_us_of_medians": over("stream_cpu_us", "c_greedy_cpu_us", statistics.median),
        "overhead_cpu_us_of_least": over("stream_cpu_us", "c_greedy_cpu_us", min),
    }


def per_token(times: Times, n_tokens: int) -> tuple[float, float]:
    """Microseconds of wall and processor time."""
    return times.wall_ns / n_tokens / 1000, times.cpu_ns / n_tokens / 1000


def bench(engine: EngineClient, n_gen: int) -> Times:
    """One repetition of our tg test."""
    events = engine.bench((BenchTest(n_prompt=0, n_gen=n_gen, repetitions=1),))
    samples = [event for event in events if isinstance(event, BenchSample)]
    return Times(samples[-1].ns, 0)


def stream(engine: EngineClient, n_gen: int) -> Times:
    """From the arrival of the first token's text at the consumer to that of the last."""
    request = CompletionRequest(prompt="", sampling=Sampling(temperature=0), max_tokens=n_gen)
    began: Times | None = None
    took = Times(0, 0)
    for event in engine.complete(request):
        if isinstance(event, TextDelta):
            if began is None:
                began = now(engine)
            elif event.n_tokens == n_gen:
                at = now(engine)
                took = Times(at.wall_ns - began.wall_ns, at.cpu_ns - began.cpu_ns)
        elif isinstance(event, Finished) and event.stats.n_gen != n_gen:
            raise SystemExit(f"the model ended its answer after {event.stats.n_gen} tokens")
    return took


def now(engine: EngineClient) -> Times:
    """Wall time, and processor time of this process and of all the child's threads."""
    child_ns = 0
    for task in Path(f"/proc/{engine.pid}/task").iterdir():
        child_ns += int((task / "schedstat").read_text().split()[0])
    return Times(time.perf_counter_ns(), time.process_time_ns() + child_ns)


def last(events: Iterator[Event], kind: type[Event]) -> None:
    """Exhaust a request, which must end as expected."""
    for event in events:
        if isinstance(event, Failed | Died):
            raise SystemExit(event.message)
    assert isinstance(event, kind)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['n_gen']} tokens, {result['rounds']} rounds; microseconds per token"]
    for name in ("c_tg_us", "bench_us", "c_greedy_us", "stream_us"):
        values = result[name]
        lines.append(
            f"  {name:12} median {values['median']:12,.1f}   least {values['min']:12,.1f}   "
            f"most {values['max']:12,.1f}"
        )
    lines += [
        f"  bench / C: {result['bench_ratio_of_medians']:.4f} of medians, "
        f"{result['bench_ratio_of_least']:.4f} of the least",
        f"  stream - C: {result['overhead_us_of_medians']:.1f} of medians, "
        f"{result['overhead_us_of_least']:.1f} of the least",
        f"  stream - C, processor time: {result['overhead_cpu_us_of_medians']:.1f} of medians, "
        f"{result['overhead_cpu_us_of_least']:.1f} of the least",
    ]
    return "\n".join(lines)


def made_model(folder: Path, *, toy: bool) -> Path:
    """A model of zeros: full speed, next to no disk, and every logit equal, so it never ends."""
    if toy:
        return make_model(folder / "toy-128k.gguf", shapes.TOY_128K, quant="F16")
    return make_model(folder / "llama-3-8b.gguf", shapes.LLAMA_3_8B)


def compile_c(folder: Path) -> Path:
    """Compile bench_loop.c against the libraries and headers of llama-cpp-python."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("llama-cpp-python is not installed")
    package = Path(spec.submodule_search_locations[0])
    library, include = package / "lib", package.parent / "include"
    program = folder / "bench_loop"
    subprocess.run(
        [
            os.environ.get("CC", "cc"),
            "-O2",
            str(Path(__file__).with_suffix(".c")),
            f"-I{include}",
            f"-L{library}",
            "-lllama",
            f"-Wl,-rpath,{library}",
            f"-Wl,-rpath-link,{library}",
            "-o",
            str(program),
        ],
        check=True,
    )
    return program


if __name__ == "__main__":
    main()
