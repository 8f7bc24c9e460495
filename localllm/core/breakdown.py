"""The formulas put together: a placement of a model on a machine -> MemoryBreakdown.

``MemoryModel`` sums the tensors once; each further placement or context costs additions only, so
that the planner can search with it. It decides nothing: the planner asks, this answers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from localllm.core.cache import kv_layer_bytes
from localllm.core.compute import ComputeModel
from localllm.core.hardware import Device, Host
from localllm.core.host_ram import host_overhead_bytes, widest_operand_bytes
from localllm.core.memory import (
    GPU_OVERHEAD,
    DeviceTerms,
    MemoryBreakdown,
    Placement,
    RunShape,
    device_overhead_bytes,
)
from localllm.core.model import ModelSpec
from localllm.core.traffic import Traffic, traffic_of
from localllm.core.traits import DeviceTraits, Rules, device_traits
from localllm.core.weights import (
    HOST_ALIGNMENT_BYTES,
    WeightTable,
    device_weight_bytes,
    host_weight_bytes,
    left_in_ram_bytes,
    weight_table,
)

_ROUGH_IN_PART = frozenset({"gemma3n", "falcon-h1"})
"""Architectures whose many small operations between streamed weights are laid out otherwise by
llama.cpp, by up to a tenth of the buffer."""

_IN_RAM = DeviceTraits(alignment_bytes=HOST_ALIGNMENT_BYTES)

_ROUGH_OVER_SEVERAL = frozenset({"gemma4", "bailingmoe2"})
"""Architectures, beside recurrent ones, whose split over several devices is near by 30 MiB only."""


class MemoryModel:
    """The formulas for one model on one set of devices, ready to be asked about many placements."""

    def __init__(self, model: ModelSpec, devices: Sequence[Device], host: Host) -> None:
        """Take a model and the machine's parts; what is summed once is kept in ``_sums``."""
        self.model = model
        self.devices = tuple(devices)
        self.host = host
        self._sums = _Sums(model, host)
        self._compute = ComputeModel(model, host)
        self._fixed_compute: tuple[int, ...] | None = None

    @property
    def _rough_over_several(self) -> bool:
        """Random shapes of these over several devices were off by up to 0.3 GiB (Vulkan)."""
        recurrent = any(layer.is_recurrent for layer in self.model.layers)
        return recurrent or self.model.arch in _ROUGH_OVER_SEVERAL

    @property
    def formulas(self) -> MemoryModel:
        """Itself."""
        return self

    @property
    def traffic(self) -> Traffic:
        """What one step of the model touches, counted once."""
        return self._sums.traffic

    def with_devices(self, devices: Sequence[Device]) -> MemoryModel:
        """Return the same model on other devices; what was summed before is not summed again."""
        other = copy.copy(self)
        other.devices = tuple(devices)
        return other

    def with_compute(self, known: MemoryBreakdown | None) -> MemoryModel:
        """Return the same with compute buffers taken from another answer, or left out."""
        other = copy.copy(self)
        rows = (*known.devices, known.host) if known else ()
        other._fixed_compute = tuple(row.compute_bytes for row in rows) or (0,)
        return other

    def breakdown(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """Bytes of every device and of the host under a placement."""
        model = self.model
        n_layer = model.n_layer
        start = model.n_layer_total - placement.n_gpu_layers
        host_layers = range(min(start, n_layer))
        machine = tuple(device_traits(device) for device in self.devices)
        if self._fixed_compute is None:
            *compute, host_compute = self._compute.buffers(placement, shape, machine)
        else:
            *known, host_compute = self._fixed_compute
            compute = [known[min(i, len(known) - 1)] if known else 0 for i in range(len(machine))]
        rows: list[DeviceTerms] = []
        first = start
        for index, count in enumerate(placement.layers_per_device):
            on_device = range(first, first + count)
            rows.append(self._device(index, on_device, placement, shape, compute[index]))
            first += count
        return MemoryBreakdown(
            devices=tuple(rows),
            host=self._host(host_layers, placement, shape, host_compute),
            estimated=self._estimated(placement),
        )

    def host_overhead_bytes(self, placement: Placement, shape: RunShape) -> int:
        """RAM of the engine's process that llama.cpp does not count, whoever counts the rest."""
        computes = placement.n_gpu_layers < self.model.n_layer_total
        return host_overhead_bytes(
            self.model, shape, operand_bytes=self._sums.operand_bytes if computes else 0
        )

    def _device(
        self, index: int, layers: range, placement: Placement, shape: RunShape, compute_bytes: int
    ) -> DeviceTerms:
        model, table = self.model, self._sums.device_table(self.devices[index])
        kv = self._sums.kv(shape, device_traits(self.devices[index]))
        blocks = [i for i in layers if i < model.n_layer]
        holds_output = model.n_layer in layers
        weights = device_weight_bytes(
            table, blocks, host_experts=placement.host_expert_layers, holds_output=holds_output
        )
        return DeviceTerms(
            model_bytes=weights,
            context_bytes=sum(kv[i] for i in blocks),
            compute_bytes=compute_bytes,
            overhead_bytes=device_overhead_bytes(self.devices[index]),
        )

    def _host(
        self, layers: range, placement: Placement, shape: RunShape, compute_bytes: int
    ) -> DeviceTerms:
        model, table = self.model, self._sums.host_table
        kv = self._sums.kv(shape, _IN_RAM)
        blocks = [i for i in layers if i < model.n_layer]
        holds_output = placement.n_gpu_layers == 0
        weights = host_weight_bytes(
            table,
            blocks,
            host_experts=placement.host_expert_layers,
            holds_output=holds_output,
            # Pinned memory of a device comes first, and what lies there is not rearranged.
            repack=shape.repack and not any(device_traits(d).host_buffer for d in self.devices),
        )
        left = sum(
            left_in_ram_bytes(self._sums.device_table(device), [i for i in on if i < model.n_layer])
            for device, on in zip(self.devices, _layers_on_devices(placement, model), strict=True)
        )
        return DeviceTerms(
            model_bytes=weights.model_bytes + left,
            context_bytes=sum(kv[i] for i in blocks),
            compute_bytes=compute_bytes,
            overhead_bytes=self.host_overhead_bytes(placement, shape),
            mapped_bytes=weights.model_bytes - weights.repacked_bytes + left,
        )

    def _estimated(self, placement: Placement) -> tuple[str, ...]:
        terms: list[str] = []
        partly = placement.n_gpu_layers < self.model.n_layer_total
        if partly and self.devices and self.model.arch in _ROUGH_IN_PART:
            terms.append(f"compute buffers of {self.model.arch}, in part on devices")
        if len(self.devices) > 1 and self._rough_over_several:
            terms.append(f"compute buffers of {self.model.arch}, over several devices")
        if any(device.backend == "metal" for device in self.devices):
            terms.append("compute buffers on Metal")  # scratch space of single operations: 25 MiB
        if not self._compute.proven:
            terms.append(f"compute buffers of {self.model.arch}, as an upper bound")
        if self.devices:
            terms.append(GPU_OVERHEAD)
        return tuple(terms)


def _layers_on_devices(placement: Placement, model: ModelSpec) -> list[range]:
    """Return the layers of each device, the output layer counted as the last."""
    first, layers = model.n_layer_total - placement.n_gpu_layers, []
    for count in placement.layers_per_device:
        layers.append(range(first, first + count))
        first += count
    return layers


class _Sums:
    """What no placement changes: weights per kind of buffer, cache and compute per layer."""

    def __init__(self, model: ModelSpec, host: Host) -> None:
        self._model = model
        self._host = host
        self._host_table: WeightTable | None = None
        self._operand_bytes: int | None = None
        self._traffic: Traffic | None = None
        self._tables: dict[tuple[int, int, Rules], WeightTable] = {}
        self._kv: dict[tuple[RunShape, int, int], tuple[int, ...]] = {}

    @property
    def traffic(self) -> Traffic:
        if self._traffic is None:
            self._traffic = traffic_of(self._model)
        return self._traffic

    @property
    def operand_bytes(self) -> int:
        if self._operand_bytes is None:
            self._operand_bytes = widest_operand_bytes(self._model)
        return self._operand_bytes

    @property
    def host_table(self) -> WeightTable:
        if self._host_table is None:
            self._host_table = weight_table(self._model, host=self._host)
        return self._host_table

    def device_table(self, device: Device) -> WeightTable:
        traits = device_traits(device)
        key = (traits.alignment_bytes, traits.row_padding, traits.rules)
        if key not in self._tables:
            self._tables[key] = weight_table(
                self._model, alignment_bytes=key[0], row_padding=key[1], rules=key[2]
            )
        return self._tables[key]

    def kv(self, shape: RunShape, traits: DeviceTraits) -> tuple[int, ...]:
        key = (shape, traits.alignment_bytes, traits.row_padding)
        if key not in self._kv:
            self._kv[key] = tuple(
                kv_layer_bytes(self._model, i, shape, alignment_bytes=key[1], row_padding=key[2])
                for i in range(self._model.n_layer)
            )
        return self._kv[key]
