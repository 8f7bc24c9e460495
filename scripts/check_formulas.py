#!/usr/bin/env python3
"""Print the memory formulas beside llama.cpp's own dry run, device by device and term by term.

    scripts/check_formulas.py [--quick] [--all] [--only TEXT ...]
    scripts/check_formulas.py --fuzz SEED ...

Models: well-known ones in full size, those of ``profiles/models``, and a small one of every
architecture that llama.cpp loads. Each is placed on a CPU alone, on one GPU (all, half, no layers),
on two unequal ones, on an RPC worker, and with experts in RAM; each placement is tried with a dozen
contexts. Nothing is allocated: the devices do not exist, the files are holes. With ``--fuzz``:
models, placements and contexts drawn at random, 60 models for each seed.

Ends with 1 if a weight or a cache is not equal to the byte, or a compute buffer that is not called
an estimate is off by more than 3 % and 16 MiB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from localllm.core.memory import RunShape
from localllm.engine.dryrun import DryRun, DryRunRefused
from localllm.hub.known.models import known_model, known_names
from localllm.units import MiB
from tests.support.differential import (
    SHAPES,
    TERMS,
    Case,
    Refusal,
    Row,
    allowed_compute_bytes,
    cases,
    compare,
)
from tests.support.families import write_families
from tests.support.fuzz import NAMES, random_cases, random_shape, write_models
from tests.support.gguf_maker import make_model
from tests.support.shapes import SHAPES as MODELS

HEADER = (
    f"{'model':28} {'placement':15} {'n_ctx':>6} {'ub':>4} {'K/V':>13} {'FA':>3} {'seq':>3} "
    f"{'device':6} {'weights':>11} {'diff B':>8} {'KV':>10} {'diff B':>8} "
    f"{'compute':>9} {'diff':>9} {'diff %':>7}"
)


def main() -> None:
    """Compare, print, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="two contexts for each placement")
    parser.add_argument("--all", action="store_true", help="print every row, not the different")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="models whose name has a text")
    parser.add_argument("--fuzz", nargs="+", type=int, metavar="SEED", help="random shapes instead")
    arguments = parser.parse_args()
    rows: list[Row] = []
    refusals: list[Refusal] = []
    print(HEADER)
    with tempfile.TemporaryDirectory() as name, DryRun() as dry:
        dry.check()
        folder = Path(name)
        if arguments.fuzz:
            asked = fuzzed_cases(folder, arguments.fuzz)
        else:
            listed = enumerate(all_cases(folder, arguments.only))
            asked = ((case, shapes_of(n, quick=arguments.quick)) for n, case in listed)
        for case, shapes in asked:
            for found in compared(dry, case, shapes):
                if isinstance(found, Refusal):
                    refusals.append(found)
                    continue
                rows.append(found)
                if arguments.all or not is_right(found):
                    print(line(found), flush=True)
    summarise(rows, refusals)
    sys.exit(any(not is_right(row) for row in rows) or any(map(is_wrong, refusals)))


def compared(dry: DryRun, case: Case, shapes: Sequence[RunShape]) -> list[Row | Refusal]:
    """What both sides say; a context that llama.cpp does not survive is told, and left out."""
    try:
        return compare(dry, case, shapes)
    except DryRunRefused as refusal:
        if len(shapes) == 1:
            print(f"{case.model:28} {case.placement_name:15} {shapes[0]}: {refusal}"[:300])
            return []
        return [found for shape in shapes for found in compared(dry, case, (shape,))]


def all_cases(folder: Path, only: Sequence[str] | None) -> Iterator[Case]:
    """Every placement of every model, or of those that are asked for."""

    def wanted(name: str) -> bool:
        return only is None or any(text in name for text in only)

    for name, shape in MODELS.items():
        if wanted(name):
            quant = "MXFP4" if shape.arch == "gpt-oss" else "Q4_K_M"
            quant = "F16" if name.startswith("toy") else quant
            path = folder / f"{name}.gguf"
            yield from cases(name, make_model(path, shape.without_vocabulary(), quant=quant))
    for name in known_names():
        model = known_model(name) if wanted(name) else None
        if model is not None:
            (path,) = model.header_files(folder, vocabulary=False)
            yield from cases(name, path)
    small = {f"small {name}": path for name, path in write_families(folder).items()}
    for name, path in small.items():
        if wanted(name):
            yield from cases(name, path)


def fuzzed_cases(folder: Path, seeds: Sequence[int]) -> Iterator[tuple[Case, Sequence[RunShape]]]:
    """Random models in random placements, each with random contexts."""
    for seed in seeds:
        rng = Random(seed)
        for path in write_models(folder, rng, rng.choices(NAMES, k=60)):
            for case in random_cases(rng, path, 4):
                yield case, [random_shape(rng) for _ in range(3)]


def shapes_of(number: int, *, quick: bool) -> tuple[RunShape, ...]:
    """The contexts to try: all, or two that differ from case to case."""
    return (SHAPES[number % 3], SHAPES[3 + number % 9]) if quick else SHAPES


def is_right(row: Row) -> bool:
    """Whether weights and cache are equal, and compute is near or called an estimate."""
    off = abs(row.difference("compute_bytes"))
    near = off <= allowed_compute_bytes(row.dry["compute_bytes"])
    exact = not row.difference("model_bytes") and not row.difference("context_bytes")
    return exact and (near or row.estimated)


def is_wrong(refusal: Refusal) -> bool:
    """Whether only one side refuses."""
    return (refusal.ours is None) != (refusal.theirs is None)


def line(row: Row) -> str:
    """One line of the table: what llama.cpp says, and how far the formula is from it."""
    shape, dry = row.shape, row.dry
    compute, off = dry["compute_bytes"], row.difference("compute_bytes")
    share = f"{100 * off / compute:+.1f}" if compute else "-"
    return (
        f"{row.case.model:28} {row.case.placement_name:15} {shape.n_ctx:6} {shape.n_ubatch:4} "
        f"{shape.type_k + '/' + shape.type_v:>13} {'on' if shape.flash_attn else 'off':>3} "
        f"{shape.n_seq:3} {row.device:6} {dry['model_bytes'] / MiB:11.2f} "
        f"{row.difference('model_bytes'):+8} {dry['context_bytes'] / MiB:10.2f} "
        f"{row.difference('context_bytes'):+8} {compute / MiB:9.2f} {off / MiB:+9.2f} {share:>7}"
        + (" est." if row.estimated else "")
    )


def summarise(rows: list[Row], refusals: list[Refusal]) -> None:
    """How many were equal, how many near, how far the others."""
    models = {row.case.model for row in rows}
    n_cases = len({(row.case.model, row.case.placement_name, row.shape) for row in rows})
    print(f"\n{len(models)} models, {n_cases} contexts, {len(rows)} devices. Sizes in MiB.")
    for term in TERMS:
        n_equal = sum(row.difference(term) == 0 for row in rows)
        worst = max((abs(row.difference(term)) for row in rows), default=0)
        print(f"{term:14} equal to the byte {n_equal:6} of {len(rows)}, worst {worst / MiB:.2f}")
    by_claim: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_claim["estimated" if row.estimated else "exact"].append(row)
    for claim, some in by_claim.items():
        off = [row.difference("compute_bytes") for row in some]
        allowed = [allowed_compute_bytes(row.dry["compute_bytes"]) for row in some]
        near = sum(abs(o) <= a for o, a in zip(off, allowed, strict=True))
        under = sum(o < -a for o, a in zip(off, allowed, strict=True))
        print(f"compute, {claim:9}: {near} of {len(some)} near, {under} too small")
    n_wrong = sum(map(is_wrong, refusals))
    print(f"contexts that llama.cpp refuses: {len(refusals)}, {n_wrong} of them one-sided")
    for refusal in filter(is_wrong, refusals):
        print(f"  {refusal.case.model} {refusal.shape}: {refusal.ours} / {refusal.theirs}")


if __name__ == "__main__":
    main()
