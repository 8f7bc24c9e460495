"""A joint search: every quantisation, KV type and context of one model, asked of llama.cpp itself.

    python scripts/_check/search.py llama-3-70b rtx-4090

Prints one JSON object: how many placements were found, with how many questions, in which time. The
search is the planner's own ``solve`` over ``EngineMemory``, started from the formulas' answer as a
plan is; each quantisation is a small header of its own, all in one warm child.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Hardware
from localllm.core.memory import Placement
from localllm.core.planner import solve
from localllm.core.policy import Policy
from localllm.core.solution import Solution
from localllm.engine.dryrun import DryRun, DryRunAnswer, DryRunRequest
from localllm.engine.exact import EngineMemory
from localllm.hub.known.models import KnownModel, known_model
from localllm.session import hardware_named

QUANTS = (
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_K_S",
    "Q4_K_M",
    "Q4_K_S",
    "IQ4_XS",
    "Q3_K_L",
    "Q3_K_M",
    "Q3_K_S",
    "Q2_K",
    "IQ2_XXS",
)
KV_TYPES = ("f16", "q8_0", "q4_0")
CONTEXTS = (4096, 8192, 16384, 32768)


def joint_search(
    model: KnownModel,
    hardware: Hardware,
    *,
    quants: Sequence[str] = QUANTS,
    kv_types: Sequence[str] = KV_TYPES,
    contexts: Sequence[int] = CONTEXTS,
    n_children: int = 2,
) -> dict[str, Any]:
    """Solve every combination by the engine; return counts and times.

    ``n_children`` share the quantisations: an allocator uses one core, and another is idle.
    """
    began = time.perf_counter()
    limit = model.spec.n_ctx_train or max(contexts)
    policies = [
        Policy(n_ctx=n_ctx, type_k=kv_type, type_v=kv_type)
        for kv_type in kv_types
        for n_ctx in sorted({min(n_ctx, limit) for n_ctx in contexts})
    ]
    with ThreadPoolExecutor(n_children) as pool:
        parts = [
            pool.submit(_search, model, hardware, quants[i::n_children], policies)
            for i in range(n_children)
        ]
        searches = [part.result() for part in parts]
    return {
        "model": model.facts.name,
        "hardware": hardware.name,
        "n_solutions": sum(len(each.n_gpu_layers) for each in searches),
        "n_questions": sum(each.n_questions for each in searches),
        "n_contexts": sum(each.n_contexts for each in searches),
        "n_children": n_children,
        "engine_s": round(sum(each.engine_s for each in searches), 3),
        "formulas_s": round(sum(each.formulas_s for each in searches), 3),
        "search_s": round(time.perf_counter() - began, 3),
        "n_gpu_layers": {
            key: n for each in searches for key, n in sorted(each.n_gpu_layers.items())
        },
    }


@dataclass(slots=True)
class _Search:
    """What one child was asked, and found."""

    n_gpu_layers: dict[str, int] = field(default_factory=dict)
    n_questions: int = 0
    n_contexts: int = 0
    engine_s: float = 0.0
    formulas_s: float = 0.0

    def ask(self, ask: Callable[[DryRunRequest], DryRunAnswer]) -> Any:
        """Return ``ask``, counted and timed."""

        def measure(request: DryRunRequest) -> DryRunAnswer:
            before = time.perf_counter()
            answer = ask(request)
            self.engine_s += time.perf_counter() - before
            self.n_questions += 1
            self.n_contexts += len(request.contexts)
            return answer

        return measure


def _search(
    model: KnownModel, hardware: Hardware, quants: Sequence[str], policies: Sequence[Policy]
) -> _Search:
    search = _Search()
    with DryRun() as dry, tempfile.TemporaryDirectory() as folder:
        dry.start()
        dry.measure = search.ask(dry.measure)  # type: ignore[method-assign]  # to count
        for quant in quants:
            shape = model.with_quant(quant)
            here = Path(folder, quant)
            here.mkdir()
            bare = shape.header_files(here, vocabulary=False)
            formulas = MemoryModel(shape.spec, (), hardware.host)
            engine = EngineMemory(dry, formulas, full=bare, bare=bare)
            before = time.perf_counter()
            guesses = [solve(formulas, hardware, policy) for policy in policies]
            search.formulas_s += time.perf_counter() - before
            _ask_together(engine, guesses)
            for policy, guess in zip(policies, guesses, strict=True):
                found = solve(engine, hardware, policy, near=guess, trusting=True)
                key = f"{quant} {policy.type_k} {policy.n_ctx}"
                search.n_gpu_layers[key] = found.placement.n_gpu_layers
    return search


def _ask_together(engine: EngineMemory, guesses: Sequence[Solution]) -> None:
    """Ask about all contexts of one placement at once: a placement is a load, a context is not."""
    together: dict[tuple[tuple[str, ...], Placement], list[Solution]] = {}
    for guess in guesses:
        names = tuple(device.name for device in guess.devices)
        together.setdefault((names, guess.placement), []).append(guess)
    for same in together.values():
        here = engine.with_devices(same[0].devices)
        here.breakdowns(same[0].placement, [each.settings.shape for each in same])


def main() -> None:
    """Search once and print what it took."""
    model = known_model(sys.argv[1])
    if model is None:
        raise SystemExit(f"error: no recorded shape {sys.argv[1]}")
    print(json.dumps(joint_search(model, hardware_named(*sys.argv[2:]))))


if __name__ == "__main__":
    main()
