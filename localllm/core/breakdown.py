"""The formulas put together: a placement of a model on a machine -> MemoryBreakdown.

``MemoryModel`` sums the tensors once; each further placement or context costs additions only, so
that the planner can search with it. It decides nothing: the planner asks, this answers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from localllm.core.cache import kv_layer_bytes
from localllm.core.compute import (
    STREAMED_MARGIN,
    host_input_bytes,
    layer_compute_bytes,
    output_compute_bytes,
    pipeline_copy_bytes,
    pipeline_host_bytes,
    pipelined,
)
from localllm.core.hardware import Device, Host
from localllm.core.memory import (
    DeviceTerms,
    MemoryBreakdown,
    Placement,
    RunShape,
    device_overhead_bytes,
    engine_process_bytes,
    output_buffer_bytes,
)
from localllm.core.model import ModelSpec
from localllm.core.traits import DeviceTraits, device_traits
from localllm.core.weights import (
    HOST_ALIGNMENT_BYTES,
    WeightTable,
    device_weight_bytes,
    host_weight_bytes,
    weight_table,
)


_IN_RAM = DeviceTraits(alignment_bytes=HOST_ALIGNMENT_BYTES)


class MemoryModel:
    """The formulas for one model on one set of devices, ready to be asked about many placements."""

    def __init__(self, model: ModelSpec, devices: Sequence[Device], host: Host) -> None:
        """Take a model and the machine's parts; what is summed once is kept in ``_sums``."""
        self.model = model
        self.devices = tuple(devices)
        self.host = host
        self.regular = _is_regular(model)
        self._sums = _Sums(model, host)

    @property
    def formulas(self) -> MemoryModel:
        """Itself."""
        return self

    def with_devices(self, devices: Sequence[Device]) -> MemoryModel:
        """Return the same model on other devices; what was summed before is not summed again."""
        other = copy.copy(self)
        other.devices = tuple(devices)
        return other

    def breakdown(self, placement: Placement, shape: RunShape) -> MemoryBreakdown:
        """Bytes of every device and of the host under a placement."""
        model = self.model
        n_layer = model.n_layer
        start = model.n_layer_total - placement.n_gpu_layers
        host_layers = range(min(start, n_layer))
        rows: list[DeviceTerms] = []
        first = start
        for index, count in enumerate(placement.layers_per_device):
            on_device = range(first, first + count)
            rows.append(self._device(index, on_device, placement, shape))
            first += count
        return MemoryBreakdown(
            devices=tuple(rows),
            host=self._host(host_layers, placement, shape),
            estimated=self._estimated(placement),
        )

    def _device(
        self, index: int, layers: range, placement: Placement, shape: RunShape
    ) -> DeviceTerms:
        model, table = self.model, self._sums.device_table(self.devices[index])
        kv = self._sums.kv(shape, device_traits(self.devices[index]))
        blocks = [i for i in layers if i < model.n_layer]
        holds_output = model.n_layer in layers
        weights = device_weight_bytes(
            table, blocks, host_experts=placement.host_expert_layers, holds_output=holds_output
        )
        compute = self._layer_peak(blocks, shape)
        if holds_output:
            compute = max(compute, output_compute_bytes(model, shape))
        streamed = self._largest_streamed(placement) if index == 0 else 0
        if streamed:
            peak = self._layer_peak(range(model.n_layer), shape)
            compute = max(compute, round(STREAMED_MARGIN * (peak + streamed)))
        if pipelined(model, placement):
            compute += pipeline_copy_bytes(model, shape, first=0 in blocks)
        return DeviceTerms(
            model_bytes=weights,
            context_bytes=sum(kv[i] for i in blocks),
            compute_bytes=compute,
            overhead_bytes=device_overhead_bytes(self.devices[index]),
        )

    def _host(self, layers: range, placement: Placement, shape: RunShape) -> DeviceTerms:
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
        return DeviceTerms(
            model_bytes=weights.model_bytes,
            context_bytes=sum(kv[i] for i in blocks),
            compute_bytes=self._host_compute(blocks, placement, shape),
            overhead_bytes=engine_process_bytes(model) + output_buffer_bytes(model, shape),
            mapped_bytes=weights.model_bytes - weights.repacked_bytes,
        )

    def _host_compute(self, blocks: list[int], placement: Placement, shape: RunShape) -> int:
        model = self.model
        if self.devices:
            copies = pipeline_host_bytes(model, shape) if pipelined(model, placement) else 0
            return host_input_bytes(model, shape) + copies
        peak = max(self._layer_peak(blocks, shape), output_compute_bytes(model, shape))
        return peak + 4 * shape.n_ubatch * model.n_embd

    def _layer_peak(self, blocks: Sequence[int], shape: RunShape) -> int:
        compute = self._sums.layer_compute(shape, holds_first_layer=0 in blocks)
        return max((compute[i] for i in blocks), default=0)

    def _largest_streamed(self, placement: Placement) -> int:
        """Largest weight that a prompt batch copies to the GPU from the host."""
        start = self.model.n_layer_total - placement.n_gpu_layers
        layers = self._sums.host_table.layers
        host = [layers[i].largest_bytes for i in range(min(start, self.model.n_layer))]
        experts = [layers[i].largest_bytes for i in placement.host_expert_layers]
        return max(host + experts, default=0)

    def _estimated(self, placement: Placement) -> tuple[str, ...]:
        terms: list[str] = []
        if not self.regular:
            terms.append("compute buffers of a shape that is not Llama's")
        if self.devices and self._largest_streamed(placement):
            terms.append("compute buffer that prompt batches stream host weights through")
        if pipelined(self.model, placement):
            terms.append("pipeline copies between several GPUs")
        if self.devices:
            terms.append("GPU context and pools")
        return tuple(terms)


class _Sums:
    """What no placement changes: weights per kind of buffer, cache and compute per layer."""

    def __init__(self, model: ModelSpec, host: Host) -> None:
        self._model = model
        self._host = host
        self._host_table: WeightTable | None = None
        self._tables: dict[tuple[int, int], WeightTable] = {}
        self._kv: dict[tuple[RunShape, int, int], tuple[int, ...]] = {}
        self._compute: dict[tuple[RunShape, bool], tuple[int, ...]] = {}

    @property
    def host_table(self) -> WeightTable:
        if self._host_table is None:
            self._host_table = weight_table(self._model, host=self._host)
        return self._host_table

    def device_table(self, device: Device) -> WeightTable:
        traits = device_traits(device)
        key = (traits.alignment_bytes, traits.row_padding)
        if key not in self._tables:
            self._tables[key] = weight_table(
                self._model, alignment_bytes=key[0], row_padding=key[1]
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

    def layer_compute(self, shape: RunShape, *, holds_first_layer: bool) -> tuple[int, ...]:
        key = (shape, holds_first_layer)
        if key not in self._compute:
            self._compute[key] = tuple(
                layer_compute_bytes(self._model, i, shape, holds_first_layer=holds_first_layer)
                for i in range(self._model.n_layer)
            )
        return self._compute[key]


def _is_regular(model: ModelSpec) -> bool:
    """Whether the compute formulas were proven on this kind of shape: dense Llama attention."""
    return (
        not model.n_expert
        and not model.n_lora_kv
        and not model.n_swa
        and not any(layer.is_recurrent for layer in model.layers)
        and all(
            layer.n_head * model.n_embd_head_k == model.n_embd and layer.n_ff >= 2 * model.n_embd
            for layer in model.layers
        )
    )
