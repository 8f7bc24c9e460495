"""The formulas against llama.cpp's dry run: which cases there are, and what each side says.

``tests/engine/test_differential.py`` holds the two together; ``scripts/check_formulas.py`` prints
them side by side.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import llama_cpp.llama_cpp as bindings

from localllm.core.breakdown import MemoryModel
from localllm.core.cache import cache_refusal
from localllm.core.hardware import Device, Host
from localllm.core.memory import DeviceTerms, Placement, RunShape
from localllm.core.model import ModelSpec
from localllm.core.placing import tensor_overrides
from localllm.engine.dryrun import DryRun, DryRunAnswer, DryRunRefused, DryRunRequest
from localllm.engine.exact import dry_run_context
from localllm.hub.resolve import resolve
from localllm.units import GiB, MiB
from tests.support.amx import AMX
from tests.support.specs import gpu, host

Term = Literal["model_bytes", "context_bytes", "compute_bytes"]
TERMS: tuple[Term, ...] = ("model_bytes", "context_bytes", "compute_bytes")

SHAPES: tuple[RunShape, ...] = (
    RunShape(n_ctx=4096, n_ubatch=512),
    RunShape(n_ctx=32_768, n_ubatch=512, type_k="q8_0", type_v="q8_0"),
    RunShape(n_ctx=8192, n_ubatch=512, flash_attn=False),
    RunShape(n_ctx=9000, n_ubatch=384, n_seq=3, n_outputs_max=3),
    RunShape(n_ctx=16_384, n_ubatch=2048, type_k="q4_0", type_v="q4_0"),
    RunShape(n_ctx=700, n_ubatch=512, type_k="bf16", type_v="bf16"),
    RunShape(n_ctx=5000, n_ubatch=128, type_k="f16", type_v="q5_1"),
    RunShape(n_ctx=12_288, n_ubatch=512, type_k="iq4_nl", type_v="iq4_nl"),
    RunShape(n_ctx=6144, n_ubatch=512, flash_attn=False, n_seq=2, n_outputs_max=2),
    RunShape(n_ctx=2048, n_ubatch=64, type_k="q4_1", type_v="q5_0"),
    RunShape(n_ctx=4096, n_ubatch=512, type_k="f32", type_v="f32", n_outputs_max=512),
    RunShape(n_ctx=8192, n_ubatch=512, type_k="q8_0", type_v="f16", flash_attn=False),
)
if AMX:
    SHAPES = tuple(replace(shape, repack=False) for shape in SHAPES)

_AHEAD = 20
"""Cases that the child is asked before the formulas are: neither side waits for the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model in one placement."""

    model: str
    placement_name: str
    path: Path
    spec: ModelSpec
    devices: tuple[Device, ...]
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What both sides say of one device (or the host) in one case and context."""

    case: Case
    shape: RunShape
    device: str
    formula: DeviceTerms
    dry: dict[Term, int]
    estimated: bool
    """The formulas call their compute buffers an estimate here."""

    def difference(self, term: Term) -> int:
        """Bytes that the formula is above the dry run."""
        value: int = getattr(self.formula, term)
        return value - self.dry[term]

    def __str__(self) -> str:
        """The case in a few words, for a failing assertion."""
        s = self.shape
        attention = "FA" if s.flash_attn else "no FA"
        differences = ", ".join(f"{term} {self.difference(term):+,}" for term in TERMS)
        return (
            f"{self.case.model} {self.case.placement_name} {self.device} n_ctx {s.n_ctx} "
            f"{s.type_k}/{s.type_v} {attention} n_seq {s.n_seq}: {differences}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A context that llama.cpp refused, or that the formulas say it refuses."""

    case: Case
    shape: RunShape
    ours: str | None
    theirs: str | None


def this_host() -> Host:
    """A host with the instruction sets that the installed llama.cpp was built for."""
    text = bindings.llama_print_system_info().decode()
    names = {"AVX2": "avx2", "AVX512": "avx512f", "DOTPROD": "dotprod", "MATMUL_INT8": "i8mm"}
    isa = tuple(isa for name, isa in names.items() if f"{name} = 1" in text)
    return replace(host(), isa=isa)


def cases(name: str, path: Path) -> Iterator[Case]:
    """Every placement of one model: CPU alone, one GPU, two unequal ones, experts in RAM."""
    spec = resolve(str(path)).spec
    total = spec.n_layer_total
    one = (gpu("CUDA0", free=80 * GiB),)
    two = (gpu("CUDA0", free=48 * GiB), gpu("CUDA1", free=24 * GiB))
    rpc = (replace(gpu("RPC0"), backend="rpc"),)

    def case(
        placement_name: str, devices: tuple[Device, ...], *counts: int, experts: bool = False
    ) -> Case:
        kept = frozenset(range(1, spec.n_layer_main, 2)) if experts else frozenset()
        placement = Placement(
            n_gpu_layers=sum(counts), layers_per_device=counts, host_expert_layers=kept
        )
        return Case(
            model=name,
            placement_name=placement_name,
            path=path,
            spec=spec,
            devices=devices,
            placement=placement,
        )

    yield case("CPU", ())
    yield case("all", one, total)
    yield case("half", one, total // 2)
    yield case("none", one, 0)
    yield case("two", two, total * 2 // 3, total - total * 2 // 3)
    yield case("two, half", two, total // 3, total // 4)
    yield case("RPC, half", rpc, total // 2)
    if spec.n_expert:
        yield case("experts in RAM", one, total, experts=True)


def compare(dry: DryRun, case: Case, shapes: Sequence[RunShape]) -> list[Row | Refusal]:
    """Ask both sides about one case."""
    return _compare(dry.measure(_request(case, shapes)), case, shapes)


def compare_all(
    dry: DryRun, wanted: Iterable[tuple[Case, Sequence[RunShape]]]
) -> Iterator[list[Row | Refusal] | DryRunRefused]:
    """The same of many cases: the child is some cases ahead, on the other core."""
    asked: deque[tuple[Future[DryRunAnswer], Case, Sequence[RunShape]]] = deque()

    def next_answer() -> list[Row | Refusal] | DryRunRefused:
        answer, case, shapes = asked.popleft()
        try:
            return _compare(answer.result(), case, shapes)
        except DryRunRefused as refusal:
            return refusal

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # or the child waits for 5 ms before each question
    try:
        with ThreadPoolExecutor(max_workers=1) as asking:
            for case, shapes in wanted:
                asked.append((asking.submit(dry.measure, _request(case, shapes)), case, shapes))
                if len(asked) > _AHEAD:
                    yield next_answer()
            while asked:
                yield next_answer()
    finally:
        sys.setswitchinterval(interval_s)


def _compare(answer: DryRunAnswer, case: Case, shapes: Sequence[RunShape]) -> list[Row | Refusal]:
    formulas = MemoryModel(case.spec, case.devices, this_host())
    rows: list[Row | Refusal] = []
    for shape, theirs in zip(shapes, answer.contexts, strict=True):
        ours = cache_refusal(case.spec, shape)
        if theirs.refused is not None or ours is not None:
            rows.append(Refusal(case=case, shape=shape, ours=ours, theirs=theirs.refused))
            continue
        breakdown = formulas.breakdown(case.placement, shape)
        parts = (*breakdown.devices, breakdown.host)
        estimated = any("compute" in t or "pipeline" in t for t in breakdown.estimated)
        rows += [
            Row(
                case=case,
                shape=shape,
                device=memory.name,
                formula=terms,
                dry={term: getattr(memory, term) for term in TERMS},
                estimated=estimated,
            )
            for terms, memory in zip(parts, theirs.devices, strict=True)
        ]
    return rows


def allowed_compute_bytes(dry_bytes: int) -> int:
    """How far the formula of a compute buffer may be off: 3 %, or 16 MiB."""
    return max(dry_bytes * 3 // 100, 16 * MiB)


def _request(case: Case, shapes: Sequence[RunShape]) -> DryRunRequest:
    counts = case.placement.layers_per_device
    return DryRunRequest(
        paths=(case.path,),
        devices=case.devices,
        n_gpu_layers=case.placement.n_gpu_layers,
        tensor_split=tuple(map(float, counts)) if len(counts) > 1 else (),
        tensor_overrides=tuple(
            (o.pattern, o.buffer_type) for o in tensor_overrides(case.placement)
        ),
        contexts=tuple(map(dry_run_context, shapes)),
    )
