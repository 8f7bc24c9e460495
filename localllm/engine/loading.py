"""From a ``LoadRequest`` to a model and a context in llama.cpp. Limits are in ``checks``."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from localllm.engine.checks import check_file, check_model, check_numbers, refusal
from localllm.engine.llama import (
    AbortFlag,
    C,
    Log,
    devices,
    ggml,
    metadata,
    metadata_number,
)
from localllm.engine.params import buffer_types, context_params, model_params
from localllm.engine.protocol import LoadRequest
from localllm.engine.refusals import Cancelled
from localllm.errors import (
    EngineError,
    LocalLLMError,
    UsageError,
)


@dataclass(slots=True)
class LoadedModel:
    """A model, its context, and everything in Python that C still points at."""

    model: int
    context: int
    request: LoadRequest
    warnings: tuple[str, ...] = ()
    keep_alive: list[Any] = field(default_factory=list)

    @property
    def on_gpu_only(self) -> bool:
        """Whether every layer, the output layer included, is on a device."""
        return bool(self.request.device_names) and not (
            0 <= self.request.n_gpu_layers < self.request.n_layer_total
            or self.request.tensor_overrides
        )


def load(
    request: LoadRequest, log: Log, flag: AbortFlag, progress: Callable[[float], bool]
) -> LoadedModel:
    """Load the model and make its context. ``progress`` returns False to give up.

    Raises ``LocalLLMError``, ``Cancelled`` among them.
    """
    check_numbers(request)
    for path in request.paths:
        check_file(path)
    keep_alive: list[Any] = []
    log.complaints.clear()
    gave_up = False

    def go_on(fraction: float) -> bool:
        nonlocal gave_up
        gave_up = not progress(fraction)
        return not gave_up

    params = _model_params(request, go_on, keep_alive)
    paths = (ctypes.c_char_p * len(request.paths))(*map(os.fsencode, request.paths))
    model = C.llama_model_load_from_splits(paths, len(request.paths), params)
    if not model:
        if gave_up:
            raise Cancelled("The load was cancelled.")
        raise refusal(log.complaints, "could not load the model")
    try:
        check_model(model, request)
        if not progress(1.0):
            raise Cancelled("The load was cancelled.")
        context = C.llama_init_from_model(model, _context_params(request, flag))
        if not context:
            raise refusal(log.complaints, f"could not make a context of {request.n_ctx:,} tokens")
    except LocalLLMError:
        C.llama_model_free(model)
        raise
    _attach_threads(context, request.n_threads, keep_alive)
    return LoadedModel(model, context, request, _warnings(model, context, request), keep_alive)


def _model_params(
    request: LoadRequest, progress: Callable[[float], bool], keep_alive: list[Any]
) -> Any:
    known = devices()
    for name in request.device_names:
        if name not in known:
            raise EngineError(
                f"llama.cpp has no device {name}; it sees {', '.join(known)}.",
                hint="`localllm hardware` lists the devices, `localllm doctor` what is missing.",
            )
    params = model_params(
        devices=[known[name] for name in request.device_names],
        n_gpu_layers=request.n_gpu_layers,
        tensor_split=request.tensor_split,
        overrides=_overrides(request, buffer_types(list(known.values()))),
        repack=request.repack,
        keep_alive=keep_alive,
    )
    callback = C.llama_progress_callback(lambda fraction, _data: progress(fraction))
    keep_alive.append(callback)
    params.progress_callback = callback
    if request.use_mmap and C.llama_supports_mmap():
        params.load_mode = C.LLAMA_LOAD_MODE_MMAP
    return params


def _overrides(request: LoadRequest, types: dict[str, int]) -> list[tuple[str, int]]:
    limit = C.llama_max_tensor_buft_overrides()
    if len(request.tensor_overrides) >= limit:
        raise UsageError(f"llama.cpp takes fewer than {limit:,} tensor overrides.")
    for override in request.tensor_overrides:
        if override.buffer_type not in types:
            raise UsageError(
                f"llama.cpp has no buffer type {override.buffer_type}.",
                hint=f"It has {', '.join(types)}.",
            )
    return [
        (override.pattern, types[override.buffer_type]) for override in request.tensor_overrides
    ]


def _context_params(request: LoadRequest, flag: AbortFlag) -> Any:
    params = context_params(
        n_ctx=request.n_ctx,
        n_batch=request.n_batch,
        n_ubatch=request.n_ubatch,
        n_seq=request.n_seq,
        n_outputs_max=request.n_outputs_max,
        type_k=request.type_k,
        type_v=request.type_v,
        flash_attn=request.flash_attn,
        swa_full=request.swa_full,
    )
    params.n_threads = params.n_threads_batch = request.n_threads
    params.abort_callback = flag.callback
    params.abort_callback_data = flag.callback_data
    return params


def widest_product(model: int) -> int | None:
    """Return the width of the feed-forward product of a token, or None where it is not said."""
    arch = metadata(model, "general.architecture")
    n_ff = metadata_number(model, f"{arch}.feed_forward_length")
    n_ff_exp = metadata_number(model, f"{arch}.expert_feed_forward_length") or n_ff
    n_used = metadata_number(model, f"{arch}.expert_used_count")
    widths = [n_ff, n_ff_exp * n_used if n_ff_exp and n_used else None]
    return max((width for width in widths if width), default=None)


def _warnings(model: int, context: int, request: LoadRequest) -> tuple[str, ...]:
    warnings = []
    n_ctx, n_ctx_train = C.llama_n_ctx_seq(context), C.llama_model_n_ctx_train(model)
    if n_ctx > n_ctx_train > 0:
        warnings.append(
            f"The context of {n_ctx:,} tokens is longer than the {n_ctx_train:,} "
            "that the model was trained on."
        )
    if request.use_mmap and not C.llama_supports_mmap():
        warnings.append("This llama.cpp cannot map files; the model was read into memory.")
    return tuple(warnings)


def _attach_threads(context: int, n_threads: int, keep_alive: list[Any]) -> None:
    """Give the context threads that stay between graphs, as llama.cpp's own programs do.

    Without them a build without OpenMP starts and ends its threads for every graph.
    """
    try:
        new, init = ggml.ggml_threadpool_new, ggml.ggml_threadpool_params_init
    except AttributeError:  # the CPU backend is loaded at run time and not linked
        return
    params = ctypes.create_string_buffer(4096)  # ggml_threadpool_params is about 530 bytes
    init(params, n_threads)
    pool = new(params)
    if pool:
        ggml.llama_attach_threadpool(context, pool, None)
