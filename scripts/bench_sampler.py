#!/usr/bin/env python3
"""What reading power costs a model that runs: decode with the sampler at work and at rest.

    scripts/bench_sampler.py                   a 1B shape, made of zeros
    scripts/bench_sampler.py MODEL.gguf -t 8 -n 64
    scripts/bench_sampler.py --all             every kind of meter at once, two NVIDIA GPUs

The meters are an NVIDIA GPU of the fake driver under the real binding (this needs a C compiler) and
RAPL's package and memory, planted as files: what a desktop has. ``--all`` adds a second GPU, an AMD
card and a battery. Every run begins anew, so counters are read at their fastest throughout.
Short runs are interleaved A B B A (rest, work, work, rest), so that a drift of the machine cancels,
and the median of the rounds' ratios is printed with its standard error. Beside it stands the
processor time that this process took for sampling: on a busy machine that is the steadier figure.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from localllm.core.generation import (  # noqa: E402  (after the path)
    BenchSample,
    BenchTest,
    Died,
    Failed,
    Loaded,
)
from localllm.engine.client import EngineClient  # noqa: E402  (after the path)
from localllm.power.meter import Opened, Wanted  # noqa: E402  (after the path)
from localllm.power.registry import open_meters  # noqa: E402  (after the path)
from localllm.power.sampler import Sampler  # noqa: E402  (after the path)
from tests.engine.support import cpu_plan  # noqa: E402  (after the path)
from tests.support import fake_nvml, shapes, trees  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)

AMD_CARD = "0000:03:00.0"
REST, WORK = "rest", "work"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a .gguf file")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-n", "--n-gen", type=int, default=8, help="tokens of a run")
    parser.add_argument("-s", "--seconds", type=float, default=60, help="how long to take turns")
    parser.add_argument("--all", action="store_true", help="every kind of meter at once")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or make_model(folder / "llama-3.2-1b.gguf", shapes.LLAMA_32_1B)
        opened = planted_meters(folder, everything=options.all)
        with Sampler(opened) as sampler, EngineClient() as engine:
            plan = cpu_plan(n_ctx=512, n_threads=options.threads, repack=True)
            for event in engine.load(plan, (str(model),)):
                if isinstance(event, Failed | Died):
                    raise SystemExit(event.message)
            assert isinstance(event, Loaded)
            result = measure(engine, sampler, options.n_gen, options.seconds)
        result |= {
            "meters": [meter.source.label for meter in opened.meters],
            "n_watchers": len(opened.watchers),
        }
    print(json.dumps(result) if options.json else as_text(result))


def planted_meters(folder: Path, *, everything: bool) -> Opened:
    """Meters that can be had without their hardware."""
    files = trees.rapl_files(uj=10**9, parts=("dram",))
    gpus = {"0000:c1:00.0": fake_nvml.rtx_4090(energy_mj=5)}
    wanted = []
    if everything:
        gpus["0000:21:00.0"] = fake_nvml.rtx_3090(energy_mj=5)
        files |= trees.battery_files(power_uw=11_500_000)
        files |= trees.amdgpu_sensors(
            AMD_CARD, {"power1_average": 203_000_000, "temp1_input": 61000}
        )
        wanted.append(AMD_CARD)
    if shutil.which("cc"):
        library = fake_nvml.build(folder / "nvml")
        scenario = folder / "scenario.txt"
        fake_nvml.Scenario(gpus=tuple(gpus.values())).write(scenario)
        os.environ["FAKE_NVML_SCENARIO"] = str(scenario)
        ctypes.CDLL(str(library / "libnvidia-ml.so.1"))  # the binding finds it by its name
        wanted += gpus
    return open_meters(Wanted(root=trees.plant(folder / "root", files), pci_ids=tuple(wanted)))


def measure(engine: EngineClient, sampler: Sampler, n_gen: int, seconds: float) -> dict[str, Any]:
    """Decode in turns; ratios are of neighbours, so that only what changes between them counts."""
    decode(engine, n_gen)  # warm-up
    ratios: list[float] = []
    cpu_s = dict.fromkeys((REST, WORK), 0.0)
    wall_s = dict.fromkeys((REST, WORK), 0.0)
    taken_s: dict[str, list[float]] = {REST: [], WORK: []}
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s or len(ratios) < 2:
        turns: dict[str, float] = dict.fromkeys((REST, WORK), 0.0)
        for state in (REST, WORK, WORK, REST):
            sampler.start() if state == WORK else sampler.pause()
            began_cpu_s, began_s = time.process_time(), time.perf_counter()
            run_s = decode(engine, n_gen)
            cpu_s[state] += time.process_time() - began_cpu_s
            wall_s[state] += time.perf_counter() - began_s
            turns[state] += run_s
            taken_s[state].append(run_s)
        ratios.append(turns[WORK] / turns[REST])
    share = cpu_s[WORK] / wall_s[WORK] - cpu_s[REST] / wall_s[REST]
    quarters = statistics.quantiles(ratios)
    return {
        "n_gen": n_gen,
        "rounds": len(ratios),
        "tok_s_at_rest": n_gen / statistics.median(taken_s[REST]),
        "tok_s_at_work": n_gen / statistics.median(taken_s[WORK]),
        "time_ratio": statistics.median(ratios),
        # Of a median: 1.253 sigma / sqrt(n), with sigma the middle half's width / 1.349.
        "time_ratio_sigma": 1.253 * (quarters[2] - quarters[0]) / 1.349 / math.sqrt(len(ratios)),
        "time_ratio_of_least": min(taken_s[WORK]) / min(taken_s[REST]),
        "cpu_share_of_one_core": share,
        "readings_per_second": [len(trace.readings) / wall_s[WORK] for trace in sampler.traces()],
    }


def decode(engine: EngineClient, n_gen: int) -> float:
    """Seconds of one bench repetition."""
    taken = float("nan")
    for event in engine.bench((BenchTest(n_prompt=0, n_gen=n_gen, repetitions=1),)):
        if isinstance(event, BenchSample):
            taken = event.ns / 1e9
    return taken


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    rates = ", ".join(f"{rate:.1f}" for rate in result["readings_per_second"])
    cores = os.cpu_count() or 1
    share = result["cpu_share_of_one_core"]
    return "\n".join(
        [
            *(f"  {label}" for label in result["meters"]),
            f"  and health of {result['n_watchers']} devices; readings a second: {rates}",
            f"decode at rest {result['tok_s_at_rest']:.2f} tok/s, "
            f"sampled {result['tok_s_at_work']:.2f} tok/s (runs of {result['n_gen']} tokens)",
            f"time sampled / at rest: {result['time_ratio']:.4f} "
            f"± {result['time_ratio_sigma']:.4f} (median of {result['rounds']} rounds and its "
            f"standard error), of the least {result['time_ratio_of_least']:.4f}",
            f"processor time of sampling: {share:.2%} of one core, "
            f"{share / cores:.2%} of this machine's {cores}",
        ]
    )


if __name__ == "__main__":
    main()
