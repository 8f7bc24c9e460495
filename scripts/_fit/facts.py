"""Our table of public speed measurements as values of the core: what ran where, and how fast.

A fact is a run that the speed model can be asked about, with the rate that somebody measured. What
no model of ours describes, or what cannot be true, is left out with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from _fit.hosts import host_of
from _fit.names import hardware
from _fit.normalise import LeftOut, Record, normalise
from _fit.placement import ALL
from _fit.table import TABLE, read_records
from localllm.core.hardware import Backend, Device
from localllm.core.memory import Placement, RunShape, padded_n_ctx
from localllm.core.model import ModelSpec
from localllm.core.shares import layers_by_shares
from localllm.core.steps import Run
from localllm.errors import LocalLLMError
from localllm.hub.known.models import known_model
from localllm.probes.profiles import number_devices

__all__ = ["Fact", "LeftOut", "fact_of", "facts_of_public_rows", "load_facts"]

Kind = Literal[
    "one GPU", "several GPUs", "CPU only", "dense offload", "expert offload", "Apple", "AMD"
]

_SIZE_TOLERANCE = 0.03
"""A file that differs by less has our mixture of types: vocabulary and rounding of the figure."""
_CACHE_SLACK = 1.15
"""A small model profits of the GPU's cache: beyond this over the memory's peak nothing is true."""
_FLASH_SINCE = "2025-09"
"""llama.cpp's ``--flash-attn auto`` (b6325); until then it was off unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One measured rate, and the run that it is of."""

    id: str
    source: str
    group: str
    """Who measured: what cross-validation leaves out together."""
    tier: str
    """A: benches with a build; B: single reports; C: what users report to a site."""
    kind: Kind
    model: ModelSpec
    weights_scale: float
    """The file's size over that of our mixture of types; 1 where they agree or no size is told."""
    run: Run
    phase: Literal["tg", "pp"]
    n_tokens: int
    """Tokens generated or processed by the measurement, from ``depth`` on."""
    depth: int
    """Tokens in the context before it."""
    tok_s: float
    era: str
    """``2024`` until mid December 2024, ``2025``, ``2026``: of the llama.cpp that ran."""
    bound: str | None
    """``lower``: the true rate is at least that. Never to be fitted."""
    n_slots: int
    """Sequences that the server opened (``--parallel``): more than one slow a single stream."""
    gpus: tuple[str, ...]
    """Profiles of the GPUs."""
    quant_told: str | None
    """The publisher's own mixture (``UD-Q4_K_XL``) that the model's quantisation stands for."""

    @property
    def mean_depth(self) -> int:
        """Tokens in the context half-way through the measurement."""
        return self.depth + self.n_tokens // 2

    @property
    def backend(self) -> str:
        """Backend of the first GPU, ``cpu`` without one."""
        return self.run.devices[0].backend if self.run.devices else "cpu"


def load_facts(path: Path = TABLE) -> tuple[list[Fact], list[LeftOut]]:
    """Return the facts of a file of ours, and what could not be made a fact."""
    return _facts(read_records(path))


def facts_of_public_rows(rows: Iterable[object]) -> tuple[list[Fact], list[LeftOut]]:
    """Return the facts of rows in the public collection's form, and what was left out."""
    records, left = normalise(rows)
    facts, more = _facts(records)
    return facts, left + more


def _facts(records: Iterable[Record]) -> tuple[list[Fact], list[LeftOut]]:
    facts: list[Fact] = []
    left: list[LeftOut] = []
    for record in records:
        made = fact_of(record)
        if isinstance(made, str):
            left.append(LeftOut(str(record["id"]), made))
        else:
            facts.append(made)
    return facts, left


def fact_of(record: Mapping[str, Any]) -> Fact | str:
    """Return the fact of a record, or why there is none."""
    try:
        spec = _spec(record["model"])
        machine = [hardware(name) for name in record.get("gpus", ())]
    except LocalLLMError as error:
        return str(error)
    devices = _devices(record, [device for each in machine for device in each.devices])
    plain = machine[0].host if machine else hardware("desktop-ddr5").host
    host = host_of(record.get("host"), plain)
    placement = _placement(record, spec, devices)
    own_bytes = sum(tensor.n_bytes for tensor in spec.tensors)
    scale = record.get("file_bytes", own_bytes) / own_bytes
    if not 0.6 < scale < 1.7:
        return f"its file weighs {scale:.2f} times what {record['model']} does"
    fact = Fact(
        id=record["id"],
        source=record["source"],
        group=record["group"],
        tier=record["tier"],
        kind=_kind(placement, spec, devices),
        model=spec,
        weights_scale=scale if abs(scale - 1) > _SIZE_TOLERANCE else 1.0,
        run=Run(
            devices=devices,
            host=host,
            placement=placement,
            shape=_shape(record),
            n_threads=int(record.get("threads") or host.n_threads_default),
        ),
        phase=record["phase"],
        n_tokens=int(record["n_tokens"]),
        depth=int(record["depth"]),
        tok_s=float(record["tok_s"]),
        era=record["era"],
        bound=record.get("bound"),
        n_slots=int(record.get("n_slots", 1)),
        gpus=tuple(record.get("gpus", ())),
        quant_told=record.get("quant_told"),
    )
    return _impossible(fact) or fact


@cache
def _spec(name: str) -> ModelSpec:
    model = known_model(name)
    if model is None:
        raise LocalLLMError(f"no shape of the model: {name}")
    return model.spec


def _devices(record: Mapping[str, Any], devices: list[Device]) -> tuple[Device, ...]:
    """The GPUs under the backend that ran, on the slot that is told."""
    if backend := record.get("backend"):
        devices = [replace(each, backend=cast("Backend", backend)) for each in devices]
    if pcie := record.get("pcie"):
        gen, width = pcie
        devices = [replace(each, pcie_gen_max=gen, pcie_width_max=width) for each in devices]
    return number_devices(devices)


def _placement(
    record: Mapping[str, Any], spec: ModelSpec, devices: tuple[Device, ...]
) -> Placement:
    told = record.get("n_gpu_layers", ALL)
    n_layers = spec.n_layer_total if told == ALL else min(int(told), spec.n_layer_total)
    if not devices:
        return Placement(n_gpu_layers=0, layers_per_device=())
    shares = record.get("tensor_split") or [device.free_bytes or 1 for device in devices]
    if len(shares) != len(devices):
        shares = [1] * len(devices)
    return Placement(
        n_gpu_layers=n_layers,
        layers_per_device=layers_by_shares(n_layers, shares),
        host_expert_layers=_host_experts(record, spec),
    )


def _host_experts(record: Mapping[str, Any], spec: ModelSpec) -> frozenset[int]:
    """Layers whose experts stay in RAM, by ``--n-cpu-moe`` or by patterns."""
    experts = [tensor for tensor in spec.tensors if "_exps." in tensor.name]
    with_experts = {tensor.layer for tensor in experts if tensor.layer is not None}
    n_cpu_moe = int(record.get("n_cpu_moe", 0))
    first = spec.n_layer if n_cpu_moe == ALL else n_cpu_moe
    layers = {layer for layer in with_experts if layer < first}
    for pattern in record.get("overrides", ()):
        layers |= {
            tensor.layer
            for tensor in experts
            if tensor.layer is not None and re.search(pattern, tensor.name)
        }
    return frozenset(layers)


def _shape(record: Mapping[str, Any]) -> RunShape:
    needed = int(record["depth"]) + int(record["n_tokens"])
    type_v = record.get("type_v", "f16")
    since = str(record.get("date", "")) >= _FLASH_SINCE
    usual = record["era"] == "2026" or (record["era"] == "2025" and since)
    return RunShape(
        n_ctx=padded_n_ctx(max(int(record.get("n_ctx", 0)), needed)),
        n_ubatch=int(record.get("n_ubatch", 512)),
        type_k=record.get("type_k", "f16"),
        type_v=type_v,
        flash_attn=bool(record.get("flash_attn", usual)) or type_v != "f16",
    )


def _kind(placement: Placement, spec: ModelSpec, devices: tuple[Device, ...]) -> Kind:
    if not devices:
        return "CPU only"
    if placement.host_expert_layers:
        return "expert offload"
    if placement.n_gpu_layers < spec.n_layer_total:
        return "dense offload"
    if any(re.search(r"\b(AMD|Radeon|Instinct)\b", device.description) for device in devices):
        return "AMD"
    if devices[0].backend == "metal" or "Apple" in devices[0].description:
        return "Apple"
    return "one GPU" if len(devices) == 1 else "several GPUs"


def _impossible(fact: Fact) -> str | None:
    """Say why a fact cannot be what it says, if so."""
    if fact.kind in ("CPU only", "dense offload", "expert offload"):
        return None
    devices = fact.run.devices
    weight = fact.weights_scale * sum(
        tensor.n_bytes for tensor in fact.model.tensors if "token_embd." not in tensor.name
    )
    room = sum(device.total_bytes or 0 for device in devices)
    if any(device.unified for device in devices):
        room = max(room, fact.run.host.total_bytes)
    if weight > room:
        return "does not fit on the GPUs that it names: part of it lay elsewhere"
    if fact.phase == "pp":
        return None
    fastest = sum(device.memory_bandwidth_gb_s or 0 for device in devices) / len(devices)
    reachable = _CACHE_SLACK * fastest * 1e9 / (fact.weights_scale * _decode_bytes(fact.model))
    if fact.tok_s > reachable:
        return "faster than its memory can be read: another model, or drafted tokens"
    return None


def _decode_bytes(model: ModelSpec) -> float:
    """About the weights that one token reads: all but the embedding, of the experts those used."""
    total = 0.0
    for tensor in model.tensors:
        if tensor.name.startswith(("token_embd.", "per_layer_token_embd.")):
            total += tensor.n_bytes if model.tied_embeddings and "per" not in tensor.name else 0
        elif "_exps." in tensor.name and model.n_expert:
            total += tensor.n_bytes * model.n_expert_used / model.n_expert
        else:
            total += tensor.n_bytes
    return total
