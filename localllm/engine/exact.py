"""``EngineMemory``: llama.cpp's allocator as a source of memory, beside the formulas.

Weights, cache and compute buffers are the engine's own figures; what it does not print (backend
contexts, its process, the output buffer) is the formulas' in both sources. Searching asks about a
small header without vocabulary, ``proof`` about the true one.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from localllm.core.breakdown import MemoryModel
from localllm.core.hardware import Device, Host
from localllm.core.host_ram import left_in_place
from localllm.core.memory import (
    GPU_OVERHEAD,
    DeviceTerms,
    MemoryBreakdown,
    Placement,
    RunShape,
    device_overhead_bytes,
)
from localllm.core.model import ModelSpec
from localllm.core.ownership import owner
from localllm.core.placing import tensor_overrides
from localllm.core.traits import device_traits
from localllm.core.weights import repacks
from localllm.engine.devices import REARRANGED, SimulatedSpec, simulated_spec
from localllm.engine.dryrun import (
    ContextMemory,
    DryRun,
    DryRunContext,
    DryRunRefused,
    DryRunRequest,
)
from localllm.errors import LocalLLMError

_N_BATCH = 2048
"""Memory does not follow the batch as long as it holds a micro-batch: outputs are limited apart."""

_REPACKING_ISA = frozenset({"avx2", "avx512f", "dotprod", "i8mm"})
"""Instruction sets that decide which weights the CPU backend rearranges."""

_Key = tuple[tuple[Path, ...], tuple[SimulatedSpec, ...], Placement, RunShape]


class EngineMemory:
    """What llama.cpp would allocate for one model on one set of devices."""

    def __init__(
        self,
        dry: DryRun,
        formulas: MemoryModel,
        full: Sequence[Path],
        bare: Sequence[Path],
        *,
        this_machine: bool = False,
    ) -> None:
        """``full`` and ``bare``: header files with the vocabulary and without.

        ``this_machine``: the plan is for the machine that it is made on, so that the installed
        llama.cpp rearranges weights as it will when it runs them. For another machine the formulas
        say which weights its CPU rearranges, unless that CPU is like this one.
        """
        self._dry = dry
        self._formulas = formulas
        self._full, self._bare = tuple(full), tuple(bare)
        self._this_machine = this_machine
        self._known: dict[_Key, MemoryBreakdown] = {}
        self._proofs: dict[_Key, threading.Thread] = {}

    @property
    def model(self) -> ModelSpec:
        """The model that is placed."""
        return self._formulas.model

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that a placement's layers are divided over, in llama.cpp's order."""
        return self._formulas.devices

    @property
    def host(self) -> Host:
        """CPU and RAM beside them."""
        return self._formulas.host

    @property
    def formulas(self) -> MemoryModel:
        """The formulas for the same."""
        return self._formulas

    def with_devices(self, devices: Sequence[Device]) -> Self:
        """Return the same model on other devices. What was asked before stays known to both."""
        other = copy.copy(self)
        other._formulas = self._formulas.with_devices(devices)
        return other

    @property
    def _machine(self) -> tuple[SimulatedSpec, ...]:
        return tuple(map(simulated_spec, self.devices))

    def breakdown(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """Bytes of every device and of the host, by the header without vocabulary.

        Raises ``ExactUnavailable`` and ``DryRunRefused``.
        """
        full = (self._full, self._machine, placement, shape)
        if full in self._proofs:
            self._proofs[full].join()
        if full in self._known:
            return self._known[full]
        return self._ask(self._bare, placement, (shape,))[0]

    def breakdowns(
        self, placement: Placement, shapes: Sequence[RunShape]
    ) -> tuple[MemoryBreakdown, ...]:
        """Return ``breakdown`` of several shapes on one placement: one question, one load."""
        return self._ask(self._bare, placement, shapes)

    def begin_proof(self, placement: Placement, shape: RunShape) -> None:
        """Ask about the full header in the background: loading its vocabulary takes longest.

        What goes wrong there is told when the proof is wanted.
        """

        def prove() -> None:
            with contextlib.suppress(LocalLLMError):
                self._ask(self._full, placement, (shape,))

        thread = threading.Thread(target=prove, name="localllm-proof", daemon=True)
        self._proofs[self._full, self._machine, placement, shape] = thread
        thread.start()

    def proof(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """``breakdown`` over the model's full header, vocabulary included."""
        running = self._proofs.get((self._full, self._machine, placement, shape))
        if running is not None:
            running.join()
        return self._ask(self._full, placement, (shape,))[0]

    def _ask(
        self, paths: tuple[Path, ...], placement: Placement, shapes: Sequence[RunShape]
    ) -> tuple[MemoryBreakdown, ...]:
        machine = self._machine
        keys = {shape: (paths, machine, placement, shape) for shape in shapes}
        for repack in (True, False):
            new = [s for s, key in keys.items() if key not in self._known and s.repack == repack]
            if new:
                self._measure(paths, placement, new, repack=repack)
        return tuple(self._known[keys[shape]] for shape in shapes)

    def _measure(
        self,
        paths: tuple[Path, ...],
        placement: Placement,
        shapes: Sequence[RunShape],
        *,
        repack: bool,
    ) -> None:
        """Ask about shapes that agree on repacking, and keep the answers."""
        here = not repack or self._repacks_like_this_cpu()
        request = DryRunRequest(
            paths=paths,
            devices=self.devices,
            n_gpu_layers=placement.n_gpu_layers if self.devices else 0,
            tensor_split=tuple(map(float, placement.layers_per_device)),
            tensor_overrides=(
                *(() if here else rearranged_elsewhere(self.model, placement, self.host)),
                *((kept.pattern, kept.buffer_type) for kept in tensor_overrides(placement)),
            ),
            repack=repack and here,
            contexts=tuple(map(dry_run_context, shapes)),
        )
        answer = self._dry.measure(request)
        for shape, found in zip(shapes, answer.contexts, strict=True):
            if found.refused is not None:
                raise DryRunRefused(f"llama.cpp refused the context: {found.refused}.")
            host = self._host(found, placement, shape, here=here)
            breakdown = MemoryBreakdown(
                devices=tuple(
                    DeviceTerms(
                        model_bytes=row.model_bytes,
                        context_bytes=row.context_bytes,
                        compute_bytes=row.compute_bytes,
                        overhead_bytes=device_overhead_bytes(device),
                    )
                    for device, row in zip(self.devices, found.devices, strict=False)
                ),
                host=host,
                estimated=(GPU_OVERHEAD,) if self.devices else (),
                basis="exact",
            )
            self._known[paths, self._machine, placement, shape] = breakdown

    def _host(
        self, found: ContextMemory, placement: Placement, shape: RunShape, *, here: bool
    ) -> DeviceTerms:
        model_bytes, repacked_bytes = found.host.model_bytes, found.repacked_bytes
        if not here:
            # The engine counted plainly. Rearranging moves bytes from the mapped file to anonymous
            # memory, and a tied output matrix becomes a copy of its own.
            weights = self._formulas.with_compute(None)
            plain = weights.breakdown(placement, replace(shape, repack=False)).host
            repacked = weights.breakdown(placement, shape).host
            model_bytes += repacked.model_bytes - plain.model_bytes
            repacked_bytes = repacked.model_bytes - repacked.mapped_bytes
        return DeviceTerms(
            model_bytes=model_bytes,
            context_bytes=found.host.context_bytes,
            compute_bytes=found.host.compute_bytes,
            overhead_bytes=self._formulas.host_overhead_bytes(placement, shape),
            mapped_bytes=model_bytes - repacked_bytes,
        )

    def _repacks_like_this_cpu(self) -> bool:
        """Whether the installed llama.cpp rearranges weights as the planned machine's would."""
        if self._this_machine or any(device_traits(d).host_buffer for d in self.devices):
            return True  # the first device's pinned memory comes first, and is never rearranged
        return self._dry.isa & _REPACKING_ISA == _REPACKING_ISA.intersection(self.host.isa)


def rearranged_elsewhere(
    model: ModelSpec, placement: Placement, host: Host
) -> tuple[tuple[str, str], ...]:
    """Return overrides that put what another CPU rearranges where no device streams it from.

    Few patterns for all blocks: llama.cpp tries each on each tensor. The input embedding stays,
    and with it a tied output matrix: one name for two tensors.
    """
    stays = left_in_place(model, placement)
    layers: dict[str, list[int]] = {}
    patterns: list[str] = []
    for tensor in model.tensors:
        whose = owner(model, tensor)
        if whose.kind not in ("block", "output") or not (stays(tensor) and repacks(tensor, host)):
            continue
        if tensor.layer is None:
            patterns.append(tensor.name)
        else:
            layers.setdefault(tensor.name.split(".", 2)[2], []).append(tensor.layer)
    names: dict[tuple[int, ...], list[str]] = {}
    for name, numbers in layers.items():
        names.setdefault(tuple(numbers), []).append(name)
    for alike, group in names.items():
        patterns.append(f"blk.({'|'.join(map(str, alike))}).({'|'.join(group)})")
    return tuple(("^" + pattern.replace(".", r"\.") + "$", REARRANGED) for pattern in patterns)


def dry_run_context(shape: RunShape) -> DryRunContext:
    """Return the context of a shape, as ``engine.loading`` makes it from the plan."""
    return DryRunContext(
        n_ctx=shape.n_ctx,
        n_batch=max(_N_BATCH, shape.n_ubatch),
        n_ubatch=shape.n_ubatch,
        type_k=shape.type_k,
        type_v=shape.type_v,
        flash_attn="auto" if shape.flash_attn else "off",
        n_seq=shape.n_seq,
        n_outputs_max=max(shape.n_outputs_max, shape.n_seq),
    )
