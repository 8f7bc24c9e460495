"""What our engine costs over a plain C loop on the same library, measured in one interleaved run.

    scripts/bench_loop.py                      an 8B-shaped model, made of zeros
    scripts/bench_loop.py --shape 1b -n 64     a 1B-shaped one
    scripts/bench_loop.py --toy                a toy with the same 128,256-token vocabulary
    scripts/bench_loop.py MODEL.gguf -t 8 -n 128 -r 5

Three questions. Are our pp and tg llama-bench's? (``bench``, within 2 % of the C loop.) Is a chat,
sampled and streamed, as fast as they promise? (``chat``, within 3 % of ``bench``.) And what does a
token cost on its way to the consumer: the loop, its bytes, UTF-8, stop strings, JSON, the pipe, the
parent? (``--toy``: at most 50 microseconds in the child, 100 to the parent, up to 8,000 tokens.)

Both sides hold the model at the same time and take turns, so that a busy machine slows both; the
least times are the least disturbed. Shares of child and parent are processor time, of all threads
of the child over that of the C program, and of the parent: what a token can be delayed by at most.
The path alone, tokens sent by the child without any llama.cpp, is measured beside them: no model's
noise in it, by quarters of 8,000 tokens; and the child's time outside llama.cpp in the midst of an
answer, where its code is as cold as the decode before has left it: colder the deeper the context
is, at the same work (an answer of 1,000 tokens that begins at 7,000 costs what the eighth thousand
does). ``chat`` draws from all-equal logits where the model is
made of zeros; the sampler's own time is in the C loop's ``usual`` as well.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from localllm.engine.protocol import FaultRequest  # noqa: E402  (after the path)
from tests.engine.support import cpu_plan  # noqa: E402  (after the path)
from tests.support import shapes  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

N_BATCH = N_UBATCH = 512
N_PATH = 8000
TOY_N_GEN = (250, 1000, 4000, 8000)
SHAPES = {"8b": shapes.LLAMA_3_8B, "1b": shapes.LLAMA_32_1B}
GREEDY = Sampling(temperature=0)
USUAL = Sampling(seed=1)
SPEED_PAIRS = ((0, 1), (1, 2), (3, 2), (4, 5))
"""Base and ours, by their places among the turns."""
COST_PAIRS = ((0, 1),)

Result = dict[str, Any]


class Times(NamedTuple):
    """Of a test, or a moment; processor time of all threads of whoever computes."""

    wall_ns: int
    cpu_ns: int
    parent_ns: int = 0
    """Processor time of this process."""


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


Turns = Mapping[str, tuple[Callable[[], Times], int]]
"""By name: what to run, and the tokens that its time is for."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a .gguf file")
    parser.add_argument("--toy", action="store_true", help="a toy with a 128k vocabulary")
    parser.add_argument("--shape", choices=("8b", "1b"), default="8b", help="of the zeros")
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-p", "--n-prompt", type=int, default=128)
    parser.add_argument("-n", "--n-gen", type=int, default=64)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n_threads = options.threads or (1 if options.toy else os.cpu_count() or 1)
    n_most = max(TOY_N_GEN) if options.toy else options.n_gen
    n_ctx = max(512, n_most + 64, options.n_prompt + 64)
    os.environ["LOCALLLM_ENGINE_TEST"] = "1"  # the echo
    with tempfile.TemporaryDirectory() as folder:
        program = compile_c(Path(folder))
        model = options.model or made_model(
            Path(folder), toy=options.toy, shape=SHAPES[options.shape]
        )
        loop = CLoop(program, model, n_threads, n_ctx)
        with contextlib.closing(loop), EngineClient() as engine:
            plan = cpu_plan(
                n_ctx=n_ctx,
                n_batch=N_BATCH,
                n_ubatch=N_UBATCH,
                n_threads=n_threads,
                repack=True,
            )
            last(engine.load(plan, (str(model),)), Loaded)
            for result in results(loop, engine, options):
                print(json.dumps(result) if options.json else as_text(result), flush=True)


def results(loop: CLoop, engine: EngineClient, options: argparse.Namespace) -> Iterator[Result]:
    """Every measurement, one after the other."""
    if not options.toy:
        yield measure(
            speed_turns(loop, engine, options.n_prompt, options.n_gen), SPEED_PAIRS, options.rounds
        )
        return
    yield measure_path(engine, options.rounds)
    yield measure_cost(engine)
    for n_gen in TOY_N_GEN:
        rounds = max(2, min(options.rounds, options.rounds * 1000 // n_gen))
        yield measure(cost_turns(loop, engine, n_gen), COST_PAIRS, rounds)


def speed_turns(loop: CLoop, engine: EngineClient, n_prompt: int, n_gen: int) -> Turns:
    """Of a model that takes its time: rates."""
    return {
        f"C tg{n_gen}": (lambda: loop.run("tg", n_gen), n_gen),
        f"bench tg{n_gen}": (lambda: bench(engine, n_gen=n_gen), n_gen),
        f"chat {n_gen}": (lambda: stream(engine, n_gen, USUAL), n_gen - 1),
        f"C usual {n_gen}": (lambda: loop.run("usual", n_gen), n_gen - 1),
        f"C pp{n_prompt}": (lambda: loop.run("pp", n_prompt), n_prompt),
        f"bench pp{n_prompt}": (lambda: bench(engine, n_prompt=n_prompt), n_prompt),
    }


def cost_turns(loop: CLoop, engine: EngineClient, n_gen: int) -> Turns:
    """Of a model that takes none: the cost of a token."""
    return {
        f"C greedy {n_gen}": (lambda: loop.run("greedy", n_gen), n_gen - 1),
        f"stream {n_gen}": (lambda: stream(engine, n_gen, GREEDY), n_gen - 1),
    }


def measure(turns: Turns, pairs: Sequence[tuple[int, int]], rounds: int) -> Result:
    """Take turns, there and back again; the first round is a warm-up. Microseconds per token."""
    found: dict[str, list[Times]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        names = list(turns) if number % 2 else list(turns)[::-1]
        for name in names:
            run, n_tokens = turns[name]
            times = run()
            if number > 0:
                found[name].append(Times(*(round(ns / n_tokens) for ns in times)))
    names = list(turns)
    return {
        "rounds": rounds,
        "tests": {name: spread([t.wall_ns / 1e3 for t in times]) for name, times in found.items()},
        "pairs": {
            f"{names[ours]} / {names[base]}": compared(found[names[ours]], found[names[base]])
            for base, ours in pairs
        },
    }


def compared(ours: list[Times], base: list[Times]) -> dict[str, float | None]:
    """How much longer ours took, of medians and of the least, and whose processor time it was."""
    wall = [[t.wall_ns / 1e3 for t in times] for times in (ours, base)]
    cpu = [[t.cpu_ns / 1e3 for t in times] for times in (ours, base)]
    has_cpu = all(base_us > 0 and ours_us > 0 for ours_us, base_us in zip(*cpu, strict=True))
    parent = [t.parent_ns / 1e3 for t in ours]
    return {
        "ratio_of_medians": statistics.median(wall[0]) / statistics.median(wall[1]),
        "ratio_of_least": min(wall[0]) / min(wall[1]),
        "more_us_of_medians": statistics.median(wall[0]) - statistics.median(wall[1]),
        "more_us_of_least": min(wall[0]) - min(wall[1]),
        "child_cpu_us_of_medians": statistics.median(cpu[0]) - statistics.median(cpu[1])
        if has_cpu
        else None,
        "child_cpu_us_of_least": min(cpu[0]) - min(cpu[1]) if has_cpu else None,
        "parent_cpu_us": statistics.median(parent),
    }


def measure_path(engine: EngineClient, rounds: int) -> Result:
    """The way from a token to the consumer, without llama.cpp, by quarters of an answer."""
    tokens = tuple(random.Random(1).choices(range(1000, 100_000), k=N_PATH))
    whole, quarters = [], []
    for number in range(rounds + 1):
        began = now(engine)
        arrivals_ns = [
            time.perf_counter_ns()
            for event in engine.inject_fault(FaultRequest(fault="echo", tokens=tokens))
            if isinstance(event, TextDelta)
        ]
        if number > 0:
            whole.append(since(engine, began))
            quarter = len(arrivals_ns) // 4
            quarters.append(
                (arrivals_ns[-1] - arrivals_ns[-quarter])
                / (arrivals_ns[quarter - 1] - arrivals_ns[0])
            )
    return {
        "path_tokens": N_PATH,
        "child_cpu_us": statistics.median(t.cpu_ns for t in whole) / N_PATH / 1e3,
        "parent_cpu_us": statistics.median(t.parent_ns for t in whole) / N_PATH / 1e3,
        "wall_us": statistics.median(t.wall_ns for t in whole) / N_PATH / 1e3,
        "last_quarter_over_first": statistics.median(quarters),
    }


def measure_cost(engine: EngineClient) -> Result:
    """What a streamed answer costs the child beside llama.cpp, by thousands of its tokens."""
    began = now(engine)
    *_, last_event = engine.inject_fault(FaultRequest(fault="cost", argument=N_PATH + 1))
    assert isinstance(last_event, Failed)
    costs = [int(ns) / 1e3 for ns in last_event.message.split()]
    return {
        "cost_tokens": N_PATH,
        "child_cpu_us": costs,
        "parent_cpu_us": since(engine, began).parent_ns / N_PATH / 1e3,
    }


def bench(engine: EngineClient, *, n_prompt: int = 0, n_gen: int = 0) -> Times:
    """One repetition of our test."""
    events = engine.bench((BenchTest(n_prompt=n_prompt, n_gen=n_gen, repetitions=1),))
    samples = [event for event in events if isinstance(event, BenchSample)]
    return Times(samples[-1].ns, 0)


def stream(engine: EngineClient, n_gen: int, sampling: Sampling) -> Times:
    """From the arrival of the first token's text at the consumer to the end of the answer."""
    request = CompletionRequest(prompt="", sampling=sampling, max_tokens=n_gen)
    began: Times | None = None
    took = Times(0, 0)
    for event in engine.complete(request):
        if isinstance(event, TextDelta) and began is None:
            began = now(engine)
        elif isinstance(event, Finished):
            if event.stats.n_gen != n_gen or began is None:
                raise SystemExit(f"the model ended its answer after {event.stats.n_gen} tokens")
            took = since(engine, began)
    return took


def now(engine: EngineClient) -> Times:
    """Wall time, and processor time of all the child's threads and of this process."""
    child_ns = 0
    for task in Path(f"/proc/{engine.pid}/task").iterdir():
        child_ns += int((task / "schedstat").read_text().split()[0])
    return Times(time.perf_counter_ns(), child_ns, time.process_time_ns())


def since(engine: EngineClient, began: Times) -> Times:
    """What has passed since a moment."""
    return Times(*(b - a for a, b in zip(began, now(engine), strict=True)))


def last(events: Iterator[Event], kind: type[Event]) -> None:
    """Exhaust a request, which must end as expected."""
    for event in events:
        if isinstance(event, Failed | Died):
            raise SystemExit(event.message)
    assert isinstance(event, kind)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def as_text(result: Result) -> str:
    """A few lines for people."""
    if "path_tokens" in result:
        return (
            f"the path alone, {result['path_tokens']:,} tokens: child "
            f"{result['child_cpu_us']:.1f}, parent {result['parent_cpu_us']:.1f} microseconds of "
            f"processor time, {result['wall_us']:.1f} of wall time per token; the last quarter "
            f"took {result['last_quarter_over_first']:.2f} times the first"
        )
    if "cost_tokens" in result:
        costs = ", ".join(f"{cost:.0f}" for cost in result["child_cpu_us"])
        return (
            f"an answer of {result['cost_tokens']:,} tokens: child {costs} microseconds of "
            f"processor time beside llama.cpp, by thousands; parent {result['parent_cpu_us']:.0f}"
        )
    lines = [f"{result['rounds']} rounds; microseconds per token"]
    for name, values in result["tests"].items():
        lines.append(
            f"  {name:14} median {values['median']:12,.1f}   least {values['min']:12,.1f}   "
            f"most {values['max']:12,.1f}"
        )
    for name, pair in result["pairs"].items():
        lines.append(
            f"  {name}: {pair['ratio_of_medians']:.4f} of medians, {pair['ratio_of_least']:.4f} "
            f"of the least; {pair['more_us_of_medians']:.1f} and {pair['more_us_of_least']:.1f} "
            "more"
        )
        if pair["child_cpu_us_of_medians"] is not None:
            lines.append(
                f"    processor time more: child {pair['child_cpu_us_of_medians']:.1f} of medians, "
                f"{pair['child_cpu_us_of_least']:.1f} of the least; parent "
                f"{pair['parent_cpu_us']:.1f}"
            )
    return "\n".join(lines)


def made_model(folder: Path, *, toy: bool, shape: shapes.Shape) -> Path:
    """A model of zeros: full speed, next to no disk, and every logit equal, so it never ends."""
    if toy:
        return make_model(folder / "toy-128k.gguf", shapes.TOY_128K, quant="Q8_0")
    return make_model(folder / "model.gguf", shape)


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
            "-lggml-cpu",
            "-lggml-base",
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
