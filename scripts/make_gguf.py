#!/usr/bin/env python3
"""Make a model file to try things with: the shape of a known model, hollow or random.

    scripts/make_gguf.py llama-3-8b --quant Q4_K_M --out FILE
    scripts/make_gguf.py toy --quant F16 --random --out toy.gguf

A hollow file takes a few megabytes on the disk whatever its size: its weights are a hole, and
llama.cpp really loads and runs it, at the speed and with the memory of the real model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from localllm.units import format_bytes
from tests.support.gguf_maker import make_model
from tests.support.quant_mix import FILE_TYPE_IDS
from tests.support.shapes import SHAPES


def main() -> None:
    """Write the file and say how large it is and what it takes on the disk."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("--quant", default="Q4_K_M", choices=sorted(FILE_TYPE_IDS))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--random", action="store_true", help="random weights in place of a hole")
    parser.add_argument("--no-vocab", action="store_true", help="leave the tokenizer out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    if args.no_vocab:
        shape = shape.without_vocabulary()
    make_model(args.out, shape, quant=args.quant, sparse=not args.random, seed=args.seed)
    stat = args.out.stat()
    on_disk = format_bytes(stat.st_blocks * 512)
    print(f"{args.out}: {format_bytes(stat.st_size)}, {on_disk} on the disk")


if __name__ == "__main__":
    main()
