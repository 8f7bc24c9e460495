"""Models loaded without their weights, on devices that do not exist: what the dry-run child knows.

A model stays loaded for as long as questions about its placement come: a further context on it
costs milliseconds, another placement a new load.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from localllm.engine import layouts
from localllm.engine.devices import REARRANGED, SimulatedSpec
from localllm.engine.dry_memory import DryMemory
from localllm.engine.llama import CACHE_TYPES, C, Log, ggml, metadata
from localllm.engine.params import buffer_types, context_params, model_params
from localllm.engine.rows import (
    Row,
    Unreadable,
    breakdown_rows,
    device_of,
    extra_buffer_types,
    known_buffer_types,
)
from localllm.engine.simulated import SimulatedDevice

_MAX_MODELS = 4

_KIND = ("type_k", "type_v", "flash_attn", "n_seq", "n_ubatch", "n_outputs_max")
"""What of a context may decide which rules of a device its graph meets: its length does not."""

_SMALL_BATCH = 32
"""Below, llama.cpp pins norms to their layer's device whatever is offloaded."""

_ONE_SEQUENCE = ("kimi-linear", "minimax-01")
"""Architectures whose graph is largest with all tokens in one sequence."""

_ISA = {
    "avx2": "ggml_cpu_has_avx2",
    "avx512f": "ggml_cpu_has_avx512",
    "dotprod": "ggml_cpu_has_dotprod",
    "i8mm": "ggml_cpu_has_matmul_int8",
}
"""By which the CPU backend decides whether to rearrange weights; names as in ``core.hardware``."""


class Refused(Exception):
    """llama.cpp refused a question; the text is its complaint."""


class DryModels:
    """llama.cpp in this process, and the models that it holds."""

    def __init__(self) -> None:
        """Check the library. Raises ``layouts.UnknownLayout``."""
        self._log = Log()
        self._log.ignore()
        C.llama_backend_init()
        unchecked = os.environ.get("LOCALLLM_DRYRUN_TEST") == "unknown-version"
        layouts.check(() if unchecked else layouts.TESTED)
        self._known = known_buffer_types()
        self._extra = extra_buffer_types()
        self.isa = [name for name, has in _ISA.items() if getattr(ggml, has)()]
        self._dry = DryMemory()
        self._known.add(self._dry.rearranged)
        self._extra.add(self._dry.rearranged)
        self._models: OrderedDict[str, _DryModel] = OrderedDict()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the memory of every context that was asked for, or why there is none."""
        began = time.perf_counter()
        contexts = question.pop("contexts")
        try:
            model = self._model(question)
        except Refused as error:
            return {"refused": str(error)}
        loaded = time.perf_counter()
        answers = [self._context(model, context) for context in contexts]
        done = time.perf_counter()
        return {"contexts": answers, "load_s": loaded - began, "contexts_s": done - loaded}

    def _model(self, question: dict[str, Any]) -> _DryModel:
        key = json.dumps(question, sort_keys=True)
        model = self._models.pop(key, None)
        if model is None:
            while len(self._models) >= _MAX_MODELS:
                self._models.popitem(last=False)[1].free()
            model = _DryModel(question, self._dry, self._log)
        self._models[key] = model
        return model

    def _context(self, model: _DryModel, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            rows = model.rows(wanted, self._known, self._log)
        except (Refused, Unreadable) as error:
            return {"refused": str(error)}
        by_device: dict[str, list[int]] = {name: [0] * 4 for name in (*model.names, "host")}
        for row in rows:
            terms = by_device[device_of(row.buffer_type)]
            terms[0] += row.model_bytes
            terms[1] += row.context_bytes
            terms[2] += row.compute_bytes
            if row.buffer_type in self._extra:
                terms[3] += row.model_bytes
        return {"devices": [[name, *terms] for name, terms in by_device.items()]}


class _DryModel:
    """One model on its devices, without its weights."""

    def __init__(self, question: dict[str, Any], dry: DryMemory, log: Log) -> None:
        """Load it. Raises ``Refused``."""
        self._devices = [
            SimulatedDevice(SimulatedSpec(*spec), dry=dry) for spec in question["devices"]
        ]
        self.names = [device.spec.name for device in self._devices]
        addresses = [device.address for device in self._devices]
        types = buffer_types(addresses) | {
            "CPU": ggml.ggml_backend_cpu_buffer_type(),
            REARRANGED: dry.rearranged,
        }
        self._dry = dry
        self._rearranges = any(name == REARRANGED for _, name in question["overrides"])
        unknown = [name for _, name in question["overrides"] if name not in types]
        if unknown:
            raise Refused(f"no device has a buffer type {unknown[0]}; there are {', '.join(types)}")
        self._keep_alive: list[Any] = []
        params = model_params(
            devices=addresses,
            n_gpu_layers=question["n_gpu_layers"],
            tensor_split=question["tensor_split"],
            overrides=[(pattern, types[name]) for pattern, name in question["overrides"]],
            repack=question["repack"],
            keep_alive=self._keep_alive,
        )
        params.no_alloc = True
        paths = [os.fsencode(path) for path in question["paths"]]
        array = (ctypes.c_char_p * len(paths))(*paths)
        self._model = _or_complaint(
            lambda: C.llama_model_load_from_splits(array, len(paths), params), log
        )
        self._architecture = metadata(self._model, "general.architecture")
        n_layers = C.llama_model_n_layer(self._model)
        self._is_partial = bool(addresses) and 0 <= question["n_gpu_layers"] <= n_layers
        self._is_divided = len(addresses) > 1 or bool(question["overrides"])

    def rows(self, wanted: dict[str, Any], known: set[int], log: Log) -> list[Row]:
        """Return llama.cpp's breakdown of one context. Raises ``Refused``, ``Unreadable``."""
        for name in (wanted["type_k"], wanted["type_v"]):
            if name.lower() not in CACHE_TYPES:
                raise Refused(f"llama.cpp has no KV cache of type {name}")
        kind = tuple(wanted[name] for name in _KIND)
        for device in self._devices:
            device.expect(kind)
        self._dry.rearrange(self._rearranges)
        params = context_params(**wanted)
        context = _or_complaint(lambda: C.llama_init_from_model(self._model, params), log)
        try:
            own = {device.buffer_type for device in self._devices}
            pinned = {device.host_buffer_type for device in self._devices}
            rows = breakdown_rows(self._model, context, known | own | pinned)
            if (
                self._is_divided
                or C.llama_n_ubatch(context) < _SMALL_BATCH
                or wanted["n_seq"] > 1
                or self._may_grow(wanted)
            ):
                rows = self._reserved(context, rows, wanted)
            # Only now: the breakdown asks for the sizes of weights and cache, padding included.
            for device in self._devices:
                device.learn(kind)
            return rows
        finally:
            C.llama_free(context)

    def _may_grow(self, wanted: dict[str, Any]) -> bool:
        """Whether a single token may take more RAM than a prompt batch, which is all that is
        measured: a device computes prompts over weights in RAM, and the CPU the answers. It matters
        where attention reads a copy of the whole cache.
        """
        copies = "f32" in (wanted["type_k"].lower(), wanted["type_v"].lower())
        without = wanted["flash_attn"] == "off" or any(d.refuses for d in self._devices)
        return self._is_partial and (copies or without)

    def _reserved(self, context: int, rows: list[Row], wanted: dict[str, Any]) -> list[Row]:
        """Return the rows with the compute buffers that a real context would have.

        Where llama.cpp itself decides which device computes a layer's norm, its measurement forgets
        the decision (``ggml_backend_sched_reserve_size`` resets the scheduler) and is off by the
        tensors that cross from one device to another: 64 MiB on the last of two devices for a 70B
        model. The real reservation, into hollow buffers, is not.
        """
        n_tokens = min(C.llama_n_ctx(context), C.llama_n_ubatch(context))
        n_seq = wanted["n_seq"]
        n_outputs = wanted["n_outputs_max"] or C.llama_n_batch(context)
        reserve = ggml._Z19llama_graph_reserveP13llama_contextjjj
        prompt = (n_tokens, n_seq, min(n_tokens, n_outputs))
        last = (n_tokens, 1, prompt[2]) if self._architecture in _ONE_SEQUENCE else prompt
        for graph in dict.fromkeys((prompt, (n_seq, n_seq, n_seq), last)):
            if not reserve(context, *graph):
                raise Refused("it could not reserve its compute buffers")
        sched = ggml._ZNK13llama_context9get_schedEv(context)
        sizes: dict[int, int] = {}
        for index in range(ggml.ggml_backend_sched_get_n_backends(sched)):
            backend = ggml.ggml_backend_sched_get_backend(sched, index)
            kind = ggml.ggml_backend_sched_get_buffer_type(sched, backend)
            size = ggml.ggml_backend_sched_get_buffer_size(sched, backend)
            sizes[kind] = sizes.get(kind, 0) + size
        if not sizes.keys() <= {row.buffer_type for row in rows}:
            raise Unreadable("the scheduler names a buffer type that the breakdown does not")
        return [row._replace(compute_bytes=sizes.get(row.buffer_type, 0)) for row in rows]

    def free(self) -> None:
        """Let the model go."""
        C.llama_model_free(self._model)


def _or_complaint(make: Callable[[], int | None], log: Log) -> int:
    """Return what llama.cpp makes. Where it refuses, ask again and listen to why."""
    made = make()
    if made:
        return made
    log.listen()
    made = make()
    log.ignore()
    if made:
        return made
    lines = [line for line in log.complaints if not line.endswith("failed to load model")]
    errors = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    raise Refused((errors or lines or ["it gave no reason"])[-1])
