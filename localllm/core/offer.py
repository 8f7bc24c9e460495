"""One model in the quantisations on offer, with what no machine changes summed once."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.core.breakdown import MemoryModel
from localllm.core.choice_space import Candidate
from localllm.core.hardware import Host
from localllm.core.model import ModelSpec
from localllm.core.quality import Fragility, Loss, fragility, loss_of
from localllm.core.quants import QUANTS, quant_named
from localllm.core.traffic import Traffic, traffic_of


class Offer:
    """A model in several quantisations: its traffic, memory and losses for any machine."""

    def __init__(self, models: Sequence[ModelSpec]) -> None:
        """Take the model; nothing is summed before it is needed."""
        self.models = tuple(models)
        self._traffic: dict[int, Traffic] = {}
        self._fragility: dict[int, Fragility] = {}
        self._weights_bytes: dict[int, int] = {}
        self._memory: list[tuple[int, Host, MemoryModel]] = []

    def traffic(self, index: int) -> Traffic:
        """What a token touches of one of the models."""
        if index not in self._traffic:
            self._traffic[index] = traffic_of(self.models[index])
        return self._traffic[index]

    def weights_bytes(self, index: int) -> int:
        """Weights that must lie somewhere, whatever the placement: of the blocks."""
        if index not in self._weights_bytes:
            traffic = self.traffic(index)
            self._weights_bytes[index] = sum(
                count * round(n_bytes)
                for layer, count in traffic.layers(range(len(traffic.kind_of)))
                for weights in (layer.dense, layer.experts)
                for n_bytes, _ in weights.values()
            )
        return self._weights_bytes[index]

    def memory(self, index: int, host: Host) -> MemoryModel:
        """The memory formulas of one of the models beside a host; machines often share theirs."""
        for known, where, memory in self._memory:
            if known == index and where == host:
                return memory
        made = MemoryModel(self.models[index], (), host)
        self._memory.append((index, host, made))
        return made

    def loss(self, candidate: Candidate, n_ctx: int) -> Loss:
        """What a choice costs in quality at a context."""
        index, policy = candidate.index, candidate.policy
        model = self.models[index]
        if index not in self._fragility:
            self._fragility[index] = fragility(model)
        return loss_of(
            self._fragility[index],
            model.quant if quant_named(model.quant) else _nearest_by_size(model),
            type_k=policy.type_k or "f16",
            type_v=policy.type_v or "f16",
            n_ctx=n_ctx,
        )


def _nearest_by_size(model: ModelSpec) -> str:
    """The quantisation with the bits per weight of a file that does not say which it is."""
    bits = 8 * sum(tensor.n_bytes for tensor in model.tensors) / max(model.n_params, 1)
    return min(QUANTS.values(), key=lambda quant: abs(quant.bits_per_weight - bits)).name
