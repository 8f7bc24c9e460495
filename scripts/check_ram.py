#!/usr/bin/env python3
"""What a plan says of RAM beside what the process really takes, on the CPU alone.

    scripts/check_ram.py                          an 8B shape, with and without repacking
    scripts/check_ram.py llama-3.2-1b --mmap on,off -c 8192,32768 --kv f16,q8_0
    scripts/check_ram.py MODEL.gguf --repack on

Each combination is planned, really loaded through localllm's own engine, and used: one full prompt
batch, then a few tokens. The kernel says what the process then holds (``/proc/PID/smaps``):

own     anonymous memory and libraries: repacked weights, KV cache, compute buffers, the process
mapped  pages of the model file. The plan counts what is used; what was repacked out of the file
        stays in the page cache beside it until somebody needs the memory
all     both

Shapes are hollow files of the full size, so nothing is downloaded; a page of zeros is a page like
any other. Exits with 1 where "own", "mapped" or "all" is off by more than ``--tolerance``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from _check.ram import Run, run  # noqa: E402  (after the path)

from localllm.core.policy import Policy  # noqa: E402  (after the path)
from localllm.session import resolve_model  # noqa: E402  (after the path)
from localllm.units import MiB  # noqa: E402  (after the path)
from tests.support.gguf_maker import make_model  # noqa: E402  (after the path)
from tests.support.shapes import SHAPES  # noqa: E402  (after the path)


def main() -> None:
    """Load each combination and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="llama-3-8b", help="a .gguf file or a shape")
    parser.add_argument("--quant", default="Q4_K_M", help="of a shape")
    parser.add_argument("--repack", type=_switches, default=[True, False], metavar="on,off")
    parser.add_argument("--mmap", type=_switches, default=[True], metavar="on,off")
    parser.add_argument("--flash-attn", type=_switches, default=[True], metavar="on,off")
    parser.add_argument("-c", "--ctx", type=_numbers, default=[8192], metavar="N,...")
    parser.add_argument("--kv", type=lambda text: text.split(","), default=["f16"])
    parser.add_argument("-ub", "--ubatch", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--json", action="store_true", help="one JSON object per run")
    options = parser.parse_args()
    within = True
    with tempfile.TemporaryDirectory() as folder:
        path = _file(options.model, options.quant, Path(folder))
        for repack, mmap, flash, n_ctx, kv in product(
            options.repack, options.mmap, options.flash_attn, options.ctx, options.kv
        ):
            policy = Policy(
                n_ctx=n_ctx,
                type_k=kv,
                type_v=kv,
                n_ubatch=options.ubatch,
                repack=repack,
                use_mmap=mmap,
                flash_attn="auto" if flash else "off",
            )
            result = run(resolve_model(str(path)), policy, n_gen=options.n_gen)
            document = as_document(result)
            within &= all(abs(row["error"]) <= options.tolerance for row in document["rows"])
            print(json.dumps(document) if options.json else _as_text(document), flush=True)
    sys.exit(0 if within else 1)


def as_document(result: Run) -> dict[str, Any]:
    """All figures of a run, in bytes."""
    plan, host, real = result.plan, result.plan.host, result.after_work
    rows = [
        ("own", result.planned_own_bytes, real.own_bytes),
        ("mapped", result.planned_span_bytes, real.mapped_bytes),
        ("all", result.planned_rss_bytes, real.rss_bytes),
    ]
    return {
        "model": plan.model.name,
        "quant": plan.model.quant,
        "n_ctx": plan.n_ctx,
        "n_ubatch": plan.n_ubatch,
        "type_k": plan.type_k,
        "flash_attn": plan.flash_attn,
        "repack": plan.repack,
        "use_mmap": plan.use_mmap,
        "plan": {
            "model_bytes": host.model_bytes,
            "mapped_bytes": host.mapped_bytes,
            "context_bytes": host.context_bytes,
            "compute_bytes": host.compute_bytes,
            "overhead_bytes": host.overhead_bytes,
        },
        "llama": None
        if result.llama is None
        else {
            "model_bytes": result.llama.model_bytes,
            "mapped_bytes": result.llama.mapped_bytes,
            "context_bytes": result.llama.context_bytes,
            "compute_bytes": result.llama.compute_bytes,
        },
        "rows": [
            {
                "kind": kind,
                "planned_bytes": planned,
                "measured_bytes": measured,
                "error": (planned - measured) / measured if measured else float(bool(planned)),
            }
            for kind, planned, measured in rows
        ],
        "evictable_bytes": result.planned_span_bytes - result.planned_mapped_bytes,
        "process_bytes": real.own_bytes
        - (host.self_bytes - host.mapped_bytes),  # what overhead_bytes has to be
        "library_bytes": real.library_bytes,
        "own_after_load_bytes": result.after_load.own_bytes,
        "peak_bytes": real.peak_bytes,
        "helper_bytes": result.helper_bytes,
    }


def _as_text(document: dict[str, Any]) -> str:
    switches = [
        f"{document['model']} {document['quant']}",
        f"ctx {document['n_ctx']:,}",
        f"{document['type_k']} KV",
        "repacked" if document["repack"] else "not repacked",
        "mapped" if document["use_mmap"] else "read",
        *(["no flash attention"] if document["flash_attn"] == "off" else []),
    ]
    lines = [", ".join(switches), f"  {'MiB':10}{'planned':>12}{'measured':>12}{'error':>9}"]
    for row in document["rows"]:
        planned, measured = row["planned_bytes"] / MiB, row["measured_bytes"] / MiB
        lines.append(f"  {row['kind']:10}{planned:12,.1f}{measured:12,.1f}{row['error']:+9.1%}")
    plan, llama = document["plan"], document["llama"]
    for source, terms in (("plan", plan), ("llama.cpp", llama)):
        if terms is not None:
            text = ", ".join(
                f"{key.removesuffix('_bytes')} {value / MiB:,.1f}" for key, value in terms.items()
            )
            lines.append(f"  {source}: {text}")
    figures = (
        f"evictable {document['evictable_bytes'] / MiB:,.1f}",
        f"process itself {document['process_bytes'] / MiB:,.1f}",
        f"of that libraries {document['library_bytes'] / MiB:,.1f}",
        f"own before the first token {document['own_after_load_bytes'] / MiB:,.1f}",
        f"peak {document['peak_bytes'] / MiB:,.1f}",
        f"renderer beside it {document['helper_bytes'] / MiB:,.1f}",
    )
    return "\n".join([*lines, "  " + ", ".join(figures)])


def _file(model: str, quant: str, folder: Path) -> Path:
    if model.endswith(".gguf"):
        return Path(model)
    if model not in SHAPES:
        raise SystemExit(f"error: no shape {model}; there are {', '.join(sorted(SHAPES))}")
    return make_model(folder / f"{model}.gguf", SHAPES[model], quant=quant)


def _switches(text: str) -> list[bool]:
    words = text.split(",")
    if not set(words) <= {"on", "off"}:
        raise argparse.ArgumentTypeError("give on, off or on,off")
    return [word == "on" for word in words]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
