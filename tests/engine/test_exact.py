"""The engine as a source of memory: the same interface as the formulas, llama.cpp's own figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Device, Host
from localllm.core.memory import MemoryBreakdown, Placement, RunShape
from localllm.engine.dryrun import DryRun, DryRunAnswer, DryRunRefused, DryRunRequest
from localllm.engine.exact import EngineMemory
from localllm.hub.resolve import resolve
from localllm.units import GiB, MiB
from tests.engine.support import gpu
from tests.support import shapes
from tests.support.amx import AMX
from tests.support.gguf_maker import make_model

Header = Callable[[str], Path]
SHAPE = RunShape(n_ctx=8192, n_ubatch=512)
HOST = Host(
    cpu="test",
    os="linux",
    machine="x86_64",
    total_bytes=64 * GiB,
    available_bytes=64 * GiB,
    isa=("avx2", "avx512f"),
)


class Counting(DryRun):
    """A dry run that remembers what it was asked."""

    def __init__(self, dry: DryRun) -> None:
        super().__init__()
        self._asked = dry
        self.requests: list[DryRunRequest] = []

    @property
    def isa(self) -> frozenset[str]:
        return self._asked.isa

    def measure(self, request: DryRunRequest) -> DryRunAnswer:
        self.requests.append(request)
        return self._asked.measure(request)


def engine_memory(
    dry: DryRun, path: Path, *devices: Device, host: Host = HOST, this_machine: bool = False
) -> EngineMemory:
    formulas = MemoryModel(resolve(str(path)).spec, devices, host)
    return EngineMemory(dry, formulas, (path,), (path,), this_machine=this_machine)


def on(*counts: int, experts: Sequence[int] = ()) -> Placement:
    return Placement(
        n_gpu_layers=sum(counts), layers_per_device=counts, host_expert_layers=frozenset(experts)
    )


def here(dry: DryRun) -> Host:
    """A host whose processor is like this one, as far as llama.cpp uses it."""
    return replace(HOST, isa=tuple(dry.isa))


def weights_and_cache(breakdown: MemoryBreakdown) -> list[tuple[int, int, int]]:
    rows = (*breakdown.devices, breakdown.host)
    return [(row.model_bytes, row.context_bytes, row.mapped_bytes) for row in rows]


@pytest.mark.parametrize(
    ("name", "devices", "placement"),
    [
        ("llama-3-8b", (), on()),
        ("llama-3-8b", (gpu(),), on(33)),
        ("llama-3-8b", (gpu(),), on(16)),
        ("llama-3-8b", (gpu("SIM0"), gpu("SIM1")), on(20, 13)),
        ("llama-3-8b", (gpu("SIM0"), gpu("SIM1")), on(3, 7)),
        ("llama-3.2-1b", (), on()),
        ("llama-3.2-1b", (gpu(),), on(1)),
        ("llama-3.2-1b", (gpu(backend="metal"),), on(9)),
        ("qwen3-30b-a3b", (gpu(),), on(49, experts=range(30))),
        ("qwen3-30b-a3b", (gpu("SIM0"), gpu("SIM1")), on(24, 25, experts=(0, 47))),
        ("gemma-3-4b", (gpu(),), on(20)),
    ],
)
def test_engine_and_formulas_agree_on_weights_and_cache_to_the_byte(
    dry: DryRun, header: Header, name: str, devices: tuple[Device, ...], placement: Placement
) -> None:
    memory = engine_memory(dry, header(name), *devices, host=here(dry))
    exact = memory.breakdown(placement, SHAPE)
    formula = memory.formulas.breakdown(placement, SHAPE)
    assert weights_and_cache(exact) == weights_and_cache(formula)


def test_what_llama_cpp_does_not_print_is_the_same_from_both_sources(
    dry: DryRun, header: Header
) -> None:
    memory = engine_memory(dry, header("llama-3-8b"), gpu(), gpu("SIM1", overhead_bytes=99 * MiB))
    exact = memory.breakdown(on(20, 13), SHAPE)
    formula = memory.formulas.breakdown(on(20, 13), SHAPE)
    for mine, theirs in zip(
        (*exact.devices, exact.host), (*formula.devices, formula.host), strict=True
    ):
        assert mine.overhead_bytes == theirs.overhead_bytes
    assert exact.basis == "exact"
    assert exact.estimated == ("GPU context and pools",)
    assert engine_memory(dry, header("llama-3-8b")).breakdown(on(), SHAPE).estimated == ()


def test_a_question_asked_twice_is_put_once(dry: DryRun, header: Header) -> None:
    counting = Counting(dry)
    memory = engine_memory(counting, header("llama-3-8b"), gpu())
    longer = replace(SHAPE, n_ctx=32_768)
    first = memory.breakdowns(on(20), (SHAPE, longer))
    assert memory.breakdowns(on(20), (longer, SHAPE)) == first[::-1]
    assert memory.breakdown(on(20), SHAPE) == first[0]
    assert [len(request.contexts) for request in counting.requests] == [2]
    other = memory.with_devices((gpu("SIM0"), gpu("SIM1")))
    other.breakdown(on(10, 10), SHAPE)
    assert other.with_devices((gpu(),)).breakdown(on(20), SHAPE) == first[0]
    assert len(counting.requests) == 2


def test_shapes_with_and_without_repacking_are_kept_apart(dry: DryRun, header: Header) -> None:
    memory = engine_memory(dry, header("llama-3-8b"), this_machine=True)
    repacked, plain = memory.breakdowns(on(), (SHAPE, replace(SHAPE, repack=False)))
    assert plain.host.mapped_bytes == plain.host.model_bytes
    if dry.isa:
        assert repacked.host.mapped_bytes < plain.host.mapped_bytes


@pytest.mark.skipif(AMX, reason="rearranging for AMX is told by the engine only")
@pytest.mark.parametrize(
    ("name", "experts"),
    [
        ("llama-3-8b", ()),
        ("llama-3.2-1b", ()),
        ("qwen3-30b-a3b", ()),
        ("qwen3-30b-a3b", range(43, 47)),
    ],
)
@pytest.mark.parametrize("devices", [(), (gpu(backend="metal"),)])
def test_another_processor_s_repacking_is_told_as_the_engine_tells_this_one_s(
    dry: DryRun, header: Header, name: str, devices: tuple[Device, ...], experts: Sequence[int]
) -> None:
    """Held on this processor, where both ways can be gone: rearranged weights are not streamed."""
    placement = on(8, experts=experts) if devices else on()
    asked = engine_memory(dry, header(name), *devices, host=here(dry))
    told = engine_memory(dry, header(name), *devices, host=here(dry))
    told._repacks_like_this_cpu = lambda: False  # type: ignore[method-assign]
    assert told.breakdown(placement, SHAPE) == asked.breakdown(placement, SHAPE)


def test_an_arm_host_rearranges_types_that_no_x86_host_does(dry: DryRun, header: Header) -> None:
    arm = replace(HOST, machine="arm64", isa=("neon", "dotprod", "i8mm"))
    old = replace(HOST, isa=("sse4_2",))

    def anonymous(host: Host) -> int:
        terms = engine_memory(dry, header("llama-3-8b"), host=host).breakdown(on(), SHAPE).host
        return terms.model_bytes - terms.mapped_bytes

    assert anonymous(old) == 0
    assert anonymous(arm) > anonymous(HOST) > 0


def test_the_winner_is_proven_on_the_header_with_its_vocabulary(
    dry: DryRun, models_dir: Path
) -> None:
    full = make_model(models_dir / "proof.gguf", shapes.TOY_K_QUANT, quant="Q4_K_M")
    bare = make_model(
        models_dir / "proof-bare.gguf", shapes.TOY_K_QUANT.without_vocabulary(), quant="Q4_K_M"
    )
    counting = Counting(dry)
    formulas = MemoryModel(resolve(str(full)).spec, (gpu(),), HOST)
    memory = EngineMemory(counting, formulas, (full,), (bare,))
    shape = replace(SHAPE, n_ctx=2048)
    assert memory.breakdown(on(3), shape) == memory.proof(on(3), shape)
    assert [request.paths for request in counting.requests] == [(bare,), (full,)]


def test_a_context_that_llama_cpp_refuses_is_refused(dry: DryRun, header: Header) -> None:
    memory = engine_memory(dry, header("llama-3-8b"))
    with pytest.raises(DryRunRefused, match="requires flash_attn"):
        memory.breakdown(on(), replace(SHAPE, type_v="q8_0", flash_attn=False))


def test_more_sequences_ask_for_as_many_outputs(dry: DryRun, header: Header) -> None:
    memory = engine_memory(dry, header("llama-3-8b"), gpu())
    one, four = memory.breakdowns(on(33), (SHAPE, replace(SHAPE, n_seq=4)))
    assert four.devices[0].context_bytes == one.devices[0].context_bytes
    assert four.host.overhead_bytes > one.host.overhead_bytes
