"""What would change a plan: single changes, each planned for real, that gain something.

Ranked by how little they take from the person: a wish left to the planner, a denser cache, a
shorter context, a smaller quantisation, one more GPU, less headroom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from localllm.core.batches import with_n_ubatch
from localllm.core.breakdown import MemoryModel
from localllm.core.change import Change, largest_card
from localllm.core.memory import N_CTX_PADDING, MemorySource
from localllm.core.model import ModelSpec
from localllm.core.placing import Problem, place
from localllm.core.plan import Counterfactual, DeviceMemory, SpeedEstimate
from localllm.core.requantise import UNDER_THREE_BITS, requantised, smaller_quants
from localllm.core.settings import headroom_bytes
from localllm.core.solution import Solution
from localllm.errors import UsageError
from localllm.units import format_bytes

SMALLEST_SUGGESTED_N_CTX = 2048

Solve = Callable[[Problem, Solution | None], Solution]
"""Plans by the formulas, from a first answer; without one, quickly and without compute buffers."""
Speed = Callable[[Problem, Solution], SpeedEstimate | None]
"""Estimated speed of a solution; None where it does not fit."""

LARGEST_SUGGESTED_N_UBATCH = 4096
CLEARLY_FASTER_PROMPTS = 1.5
"""A larger ubatch that takes a layer off a GPU must make prompts so many times faster."""


def counterfactuals(
    problem: Problem, *, solution: Solution, guess: Solution, solve: Solve, speed: Speed
) -> tuple[Counterfactual, ...]:
    """Return the single changes that would put more on GPUs, or make the plan fit at all.

    ``solve`` plans each by the formulas, so each must gain over ``guess``, the formulas' own
    answer, as well as over ``solution``, which may be the engine's. ``speed`` estimates each.
    """
    if solution.verdict == "fits" and (solution.whole or not problem.hardware.usable_devices):
        return ()
    bar = max(solution.score, guess.score)
    before = speed(problem, solution)
    now = _tg(before)
    found: list[Counterfactual] = []
    done: set[str] = set()
    reached: dict[str, tuple[bool, int, int]] = {}
    for kind, words, change, memory in _changes(problem, solution):
        if kind in done:
            continue
        changed = replace(
            problem,
            memory=memory or problem.memory,
            policy=change.of(problem.policy),
            hardware=change.on(problem.hardware),
        )
        try:
            rough = solve(changed, None)
            if rough.verdict != "fits" or rough.score <= max(bar, reached.get(kind, bar)):
                continue  # not even without compute buffers
            other = solve(changed, guess)
        except UsageError:
            continue
        if other.verdict != "fits" or other.score <= max(bar, reached.get(kind, bar)):
            continue
        reached[kind] = other.score
        faster = _tg(speed(changed, other))
        if other.whole or kind == "quant":
            done.add(kind)  # nothing more to gain that way
        if kind == "context":  # the largest one is a number by now
            change = Change(wishes={"n_ctx": other.settings.shape.n_ctx})
        found.append(
            Counterfactual(
                change=f"{_filled(words, solution, other)}: {_gain(problem.model, other)}"
                f"{'' if kind == 'context' else _moved(solution, other)}{_times(now, faster)}",
                n_gpu_layers=other.placement.n_gpu_layers,
                tg_tok_s=faster,
                verdict=other.verdict,
                applied=change,
            )
        )
    found += _larger_ubatch(problem, solution, before, guess=guess, solve=solve, speed=speed)
    return tuple(found)


def _larger_ubatch(
    problem: Problem,
    solution: Solution,
    before: SpeedEstimate | None,
    *,
    guess: Solution,
    solve: Solve,
    speed: Speed,
) -> Iterator[Counterfactual]:
    """A larger ubatch costs a layer or two and saves copies of what lies in RAM to prompts."""
    now = solution.settings.shape.n_ubatch
    streamed = before is not None and before.pp_bound_by == "PCIe"
    n_ubatch = min(4 * now, LARGEST_SUGGESTED_N_UBATCH)
    if problem.policy.n_ubatch is not None or not streamed or n_ubatch <= now:
        return
    change = Change(wishes={"n_ubatch": n_ubatch})
    changed = replace(problem, policy=change.of(problem.policy))
    overfull = place(
        replace(problem, memory=problem.memory.formulas).on(guess.devices),
        with_n_ubatch(problem, guess, n_ubatch),
        n_gpu_layers=guess.placement.n_gpu_layers,
        n_host_experts=len(guess.placement.host_expert_layers),
    )
    other = solve(changed, overfull)
    after = speed(changed, other) if other.verdict == "fits" else None
    if after is None or before is None or not (after.pp_tok_s and before.pp_tok_s):
        return
    gain = after.pp_tok_s / before.pp_tok_s
    if gain >= CLEARLY_FASTER_PROMPTS:
        yield Counterfactual(
            change=f"--ubatch {n_ubatch}: prompts {gain:.1f}x faster, decode "
            f"{after.tg_tok_s / before.tg_tok_s:.2f}x; {_gain(problem.model, other)}",
            n_gpu_layers=other.placement.n_gpu_layers,
            tg_tok_s=after.tg_tok_s,
            verdict=other.verdict,
            applied=change,
        )


class _Trial(NamedTuple):
    kind: str
    """Of one kind, each further change takes more from the person and so must gain more."""
    words: str
    """A format, given what the change frees and its context."""
    change: Change
    memory: MemorySource | None = None
    """Of another model; None: the same one."""


def _changes(problem: Problem, solution: Solution) -> Iterator[_Trial]:
    policy, shape = problem.policy, solution.settings.shape
    for wish, words in FIXED.items():
        if getattr(policy, wish) is not None:
            yield _Trial(wish, words, Change(wishes={wish: None}))
    if shape.type_k == shape.type_v == "f16":
        denser = Change(wishes={"type_k": "q8_0", "type_v": "q8_0"})
        yield _Trial("kv", "q8_0 KV cache frees {freed}", denser)
    if solution.verdict != "fits":
        yield _Trial("context", "context {n_ctx:,}", Change(wishes={"n_ctx": "max"}))
    n_ctx = shape.n_ctx // 2
    while n_ctx >= SMALLEST_SUGGESTED_N_CTX:
        shorter = Change(wishes={"n_ctx": n_ctx - n_ctx % N_CTX_PADDING})
        yield _Trial("context", "context {n_ctx:,}", shorter)
        n_ctx //= 2
    for smaller in _smaller_models(problem, solution):
        words = f"{smaller.quant} (about {format_bytes(smaller.file_bytes)})"
        formulas = MemoryModel(smaller, (), problem.hardware.host)
        yield _Trial("quant", words, Change(wishes={"quant": smaller.quant}), formulas)
    twin = largest_card(problem.hardware)
    if twin is not None:
        larger = Change(wishes={"tensor_split": None}, device=twin)
        yield _Trial("device", f"one more {twin.description}", larger)
    if any(headroom_bytes(device, policy) for device in problem.hardware.usable_devices):
        bare = Change(wishes={"vram_headroom_bytes": 0, "vram_headroom_fraction": None})
        yield _Trial("headroom", "no headroom on the GPUs", bare)


FIXED = {
    "n_gpu_layers": "the number of GPU layers left to the planner",
    "n_cpu_moe": "the experts that stay in RAM left to the planner",
    "tensor_split": "the split over the GPUs left to the planner",
    "vram_budget_bytes": "no limit on the GPUs' memory",
    "ram_budget_bytes": "no limit on RAM",
}
"""What a person may have fixed by name of the policy's field, and words for leaving it open."""


def _smaller_models(problem: Problem, solution: Solution) -> Iterator[ModelSpec]:
    """The model in the largest quantisation that may fit whole; else in the next smaller one.

    Nobody is sent below three bits to spare a few layers in RAM. What does not fit at all is
    offered the largest that does in GPUs and RAM together, and then below three bits too.
    """
    sizes = smaller_quants(problem.model)
    fits = solution.verdict == "fits"
    room = _room(solution.rows[:-1] or solution.rows)
    fitting = [q for q, size in sizes.items() if size <= room and q not in UNDER_THREE_BITS]
    if not fits and not fitting:
        room = _room(solution.rows)
        fitting = [q for q, size in sizes.items() if size <= room]
    if fits:
        fitting = (fitting or list(sizes))[:1]
    for quant in fitting:
        yield requantised(problem.model, quant)


def _room(rows: tuple[DeviceMemory, ...]) -> int:
    """Bytes that weights may take on some rows; memory that a GPU shares with RAM counts once."""
    rest = sum(row.needed_bytes - row.model_bytes for row in rows)
    free = [(row.free_bytes or 0) - row.headroom_bytes for row in rows]
    shared = any(row.shared_bytes for row in rows)
    return (max(free) if shared else sum(free)) - rest


def _filled(words: str, solution: Solution, other: Solution) -> str:
    now, then = (sum(row.context_bytes for row in s.rows) for s in (solution, other))
    return words.format(freed=format_bytes(now - then), n_ctx=other.settings.shape.n_ctx)


def _moved(solution: Solution, other: Solution) -> str:
    """A context that the change moves too, as where the largest one was asked for."""
    n_ctx = other.settings.shape.n_ctx
    return "" if n_ctx == solution.settings.shape.n_ctx else f", at context {n_ctx:,}"


def _tg(speed: SpeedEstimate | None) -> float | None:
    return speed.tg_tok_s if speed else None


def _times(before: float | None, after: float | None) -> str:
    """How much faster, where it is worth saying."""
    if not before or not after or after < 1.05 * before:
        return ""
    return f", {after / before:.1f}x"


def _gain(model: ModelSpec, other: Solution) -> str:
    n, total = other.placement.n_gpu_layers, model.n_layer_total
    experts = len(other.placement.host_expert_layers)
    if n == 0:
        return "fits in RAM"
    layers = f"all {total} layers fit" if n == total else f"{n} of {total} layers fit"
    return f"{layers}, the experts of {experts} in RAM" if experts else layers
