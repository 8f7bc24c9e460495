#!/usr/bin/env python3
"""What the terminal UI costs: the event loop's lag, decode against the CLI, start, and quit.

A made model recites this repository's README, Markdown and all, at about 200 tokens/s. It is run in
`localllm` on a terminal of 120x34 and in `localllm chat` on another, in turns, with the same
tokens; tokens/s are those of the engine. The terminals are read as fast as they write.

    scripts/bench_tui.py                      # about 3 minutes on 2 cores
    scripts/bench_tui.py -r 8 --json
    scripts/bench_tui.py --model llama-3.2-1b.gguf -n 48      # slow tokens
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from _tui.driven import BEAT_S  # noqa: E402  (after the path)
from _tui.reciter import write_reciter  # noqa: E402  (after the path)
from _tui.terminals import (  # noqa: E402  (after the path)
    DrivenTUI,
    InteractiveCLI,
    OnTerminal,
    apart,
    temporary_state,
)

N_CTX = 4096
QUESTION = "Hi"
TEXT = ("Begin.\n\n" + (ROOT / "README.md").read_text(encoding="utf-8"))[:12_000]


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-tui-") as folder:
        model = asked.model or write_reciter(
            Path(folder) / "reciter.gguf", TEXT, n_bytes=asked.mib << 20
        )
        found = decode(str(model), rounds=asked.rounds, n=asked.n)
        found |= {"start_s": [start() for _ in range(3)], "quit_s": leave(str(model))}
    if asked.json:
        print(json.dumps({"schema": "localllm.bench-tui/1", **found}))
    else:
        print("\n".join(lines(found)))


def decode(model: str, *, rounds: int, n: int) -> dict[str, Any]:
    """Ask both shells in turns; the first answer of each warms it up and does not count."""
    pairs, beats, cpu = [], [], []
    with (
        temporary_state() as one,
        temporary_state() as other,
        DrivenTUI(model, n_ctx=N_CTX, state=Path(one)) as tui,
        InteractiveCLI(model, n_ctx=N_CTX, n=n, state=Path(other)) as cli,
    ):
        tui.do("ready")
        tui.do("ask", text=QUESTION, n=n, beats=False)
        cli.ask(QUESTION)
        for i in range(rounds):
            for shell in ("tui", "cli") if i % 2 else ("cli", "tui"):
                if shell == "tui":
                    tui.do("new")
                    ours = tui.do("ask", text=QUESTION, n=n, beats=True)
                else:
                    cli.keys("/clear\r")
                    time.sleep(0.3)
                    theirs = cli.ask(QUESTION)
            pairs.append((ours["tg_tok_s"], (theirs["n_gen"] - 1) / theirs["tg_s"]))
            beats += [beat - BEAT_S for beat in ours["beats_s"]]
            cpu.append(ours["cpu_s"] / ours["wall_s"])
    return {
        "n_gen": n,
        "tui_tok_s": [a for a, _ in pairs],
        "cli_tok_s": [b for _, b in pairs],
        "lag_s": beats,
        "tui_cpu_share": cpu,
    }


def start() -> float:
    """Return the time from the command to the first screen with its models, in seconds."""
    with temporary_state() as state, _ui((), Path(state)) as terminal:
        return terminal.until(b"demo") - terminal.began_s


def leave(model: str) -> dict[str, float]:
    """Return the seconds from Ctrl-Q to the end of the process, by what it did."""
    moments: dict[str, tuple[tuple[str, ...], Sequence[tuple[str, str]]]] = {
        "at rest": ((), (("demo", ""),)),
        "plan": (("ui", "llama-3-70b", "--hardware", "2x rtx-4090"), (("CUDA1", ""),)),
        "loading": (("ui", model), (("Knobs", "c"),)),
        "answering": (("ui", model), (("Knobs", "c"), ("Ask", "Hi\r"), ("README", ""))),
        "bench": (("ui", model), (("Knobs", "b"), ("est.", "\x12"))),
    }
    found = {}
    for name, (arguments, steps) in moments.items():
        with temporary_state() as state, _ui(arguments, Path(state)) as terminal:
            for text, keys in steps:
                with contextlib.suppress(TimeoutError):  # it is left wherever it has come to
                    terminal.until(text.encode(), timeout_s=20.0)
                terminal.keys(keys)
            time.sleep(1.0)
            began_s = time.monotonic()
            terminal.keys("\x11")
            found[name] = terminal.wait() - began_s
    return found


def _ui(arguments: Sequence[str], state: Path) -> OnTerminal:
    command = [sys.executable, "-m", "localllm", *arguments]
    return OnTerminal(command, variables=apart(state))


def lines(found: dict[str, Any]) -> list[str]:
    """Return the figures for a person."""
    lag = sorted(found["lag_s"])
    ratios = [a / b for a, b in zip(found["tui_tok_s"], found["cli_tok_s"], strict=True)]
    ours, theirs = statistics.median(found["tui_tok_s"]), statistics.median(found["cli_tok_s"])
    return [
        f"event loop   late by median {1e3 * statistics.median(lag):.1f} ms, 95 % within "
        f"{1e3 * lag[int(0.95 * (len(lag) - 1))]:.1f} ms, most {1e3 * lag[-1]:.0f} ms "
        f"({len(lag)} beats)",
        f"decode       terminal UI {ours:.1f} tok/s, CLI {theirs:.1f} tok/s: "
        f"{ours / theirs:.3f} of medians, {max(found['tui_tok_s']) / max(found['cli_tok_s']):.3f} "
        f"of the best, pairs {min(ratios):.3f} to {max(ratios):.3f} ({len(ratios)} rounds of "
        f"{found['n_gen']} tokens)",
        f"its own time {100 * statistics.median(found['tui_cpu_share']):.1f} % of one core while "
        "an answer comes",
        f"start        {statistics.median(found['start_s']):.2f} s to the first models",
        "quit         " + ", ".join(f"{name} {s:.2f} s" for name, s in found["quit_s"].items()),
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-r", "--rounds", type=int, default=6)
    parser.add_argument("-n", type=int, default=600, help="tokens an answer")
    parser.add_argument("--mib", type=int, default=110, help="size of the made model")
    parser.add_argument("--model", help="another model, instead of the made one")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
