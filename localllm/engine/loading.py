"""From a ``LoadRequest`` to a model and a context, with every argument checked before C sees it.

llama.cpp answers several wrong arguments with ``abort()``, and an absurd context with a machine
that swaps itself to death; so what can be judged beforehand is judged here. What it refuses
politely comes back as an error that quotes its log.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from localllm.engine.llama import (
    CACHE_TYPES,
    AbortFlag,
    BufferTypeOverride,
    C,
    Log,
    devices,
    ggml,
)
from localllm.engine.protocol import LoadRequest
from localllm.engine.refusals import Cancelled, OutOfMemory
from localllm.errors import (
    DoesNotFitError,
    EngineError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
    UsageError,
)
from localllm.units import format_bytes

_FLASH_ATTN = {
    "auto": C.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": C.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": C.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_MAX_N_CTX = 2**27
_OUT_OF_MEMORY = ("failed to allocate", "unable to allocate", "out of memory", "bad_alloc")
_CORRUPT = (
    "invalid magic",
    "corrupt",
    "not within the file bounds",
    "failed to read",
    "wrong number of tensors",
    "has wrong shape",
    "missing tensor",
    "key not found",
    "duplicated",
    "invalid split",
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
        _check_model(model, request)
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


def check_numbers(request: LoadRequest) -> None:
    """Refuse numbers on which llama.cpp aborts or runs wild. Raises ``UsageError``."""
    for ok, message in (
        (0 < request.n_ctx <= _MAX_N_CTX, f"The context size {request.n_ctx:,} makes no sense."),
        (0 < request.n_ubatch <= request.n_batch, "The micro-batch must be 1 to the batch size."),
        (request.n_batch <= 2**20, f"The batch size {request.n_batch:,} makes no sense."),
        (1 <= request.n_threads <= 512, f"{request.n_threads} threads make no sense."),
        (1 <= request.n_seq <= C.llama_max_parallel_sequences(), "Too many sequences."),
        (
            request.n_outputs_max == 0 or request.n_outputs_max >= request.n_seq,
            "Fewer outputs than sequences: llama.cpp would abort.",
        ),
        (bool(request.paths), "No model file was given."),
        (
            len(request.device_names) < C.llama_max_devices()
            and len(request.tensor_split) <= C.llama_max_devices(),
            f"llama.cpp drives at most {C.llama_max_devices()} devices.",
        ),
        (
            all(share >= 0 for share in request.tensor_split)
            and (not request.tensor_split or sum(request.tensor_split) > 0),
            "The shares of --tensor-split must be 0 or more, and not all 0.",
        ),
    ):
        if not ok:
            raise UsageError(message)
    for name in (request.type_k, request.type_v):
        if name.lower() not in CACHE_TYPES:
            raise UsageError(
                f"llama.cpp has no KV cache of type {name!r}.",
                hint=f"Use one of {', '.join(CACHE_TYPES)}.",
            )
    if request.flash_attn == "off" and request.type_v.lower() not in ("f32", "f16", "bf16"):
        raise UsageError(
            f"A V cache of type {request.type_v} needs flash attention.",
            hint="Use --flash-attn auto, or --type-v f16.",
        )


def check_file(path: str) -> None:
    """Refuse what is no readable GGUF file. The header's reader looks more closely."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{path} is a directory.", hint="Name the .gguf file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file.")
        with open(path, "rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path.") from None
    except OSError as error:
        raise LocalLLMError(
            f"{path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from None
    if magic != b"GGUF":
        raise IntegrityError(
            f"{path} is not a GGUF file.", hint="Download the model again, as a .gguf file."
        )


def _model_params(
    request: LoadRequest, progress: Callable[[float], bool], keep_alive: list[Any]
) -> Any:
    params = C.llama_model_default_params()
    known = devices()
    for name in request.device_names:
        if name not in known:
            raise EngineError(
                f"llama.cpp has no device {name}; it sees {', '.join(known)}.",
                hint="`localllm hardware` lists the devices, `localllm doctor` what is missing.",
            )
    device_list = [known[name] for name in request.device_names]
    pointers = (ctypes.c_void_p * (len(device_list) + 1))(*device_list, None)
    split = (ctypes.c_float * C.llama_max_devices())(*request.tensor_split)
    overrides = _overrides(request, known)
    callback = C.llama_progress_callback(lambda fraction, _data: progress(fraction))
    keep_alive += [pointers, split, overrides, callback]
    params.devices = ctypes.cast(pointers, ctypes.c_void_p)
    params.n_gpu_layers = request.n_gpu_layers if device_list else 0
    params.split_mode = C.LLAMA_SPLIT_MODE_LAYER
    if request.tensor_split:
        params.tensor_split = split
    if overrides is not None:
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    maps = request.use_mmap and C.llama_supports_mmap()
    params.load_mode = C.LLAMA_LOAD_MODE_MMAP if maps else C.LLAMA_LOAD_MODE_NONE
    params.use_extra_bufts = request.repack
    params.progress_callback = callback
    return params


def _overrides(request: LoadRequest, known: dict[str, int]) -> Any:
    """Return llama.cpp's NULL-terminated list of overrides, or None without any."""
    if not request.tensor_overrides:
        return None
    types: dict[str, int] = {}
    for device in known.values():
        for buffer_type in (
            ggml.ggml_backend_dev_buffer_type(device),
            ggml.ggml_backend_dev_host_buffer_type(device),
        ):
            if buffer_type:
                types[ggml.ggml_backend_buft_name(buffer_type).decode()] = buffer_type
    limit = C.llama_max_tensor_buft_overrides()
    if len(request.tensor_overrides) >= limit:
        raise UsageError(f"llama.cpp takes fewer than {limit:,} tensor overrides.")
    array = (BufferTypeOverride * (len(request.tensor_overrides) + 1))()
    for slot, override in zip(array, request.tensor_overrides, strict=False):
        if override.buffer_type not in types:
            raise UsageError(
                f"llama.cpp has no buffer type {override.buffer_type}.",
                hint=f"It has {', '.join(types)}.",
            )
        slot.pattern = override.pattern.encode()
        slot.buffer_type = types[override.buffer_type]
    return array


def _context_params(request: LoadRequest, flag: AbortFlag) -> Any:
    params = C.llama_context_default_params()
    params.n_ctx = request.n_ctx
    params.n_batch = request.n_batch
    params.n_ubatch = request.n_ubatch
    params.n_seq_max = request.n_seq
    params.n_outputs_max = request.n_outputs_max
    params.n_threads = params.n_threads_batch = request.n_threads
    params.flash_attn_type = _FLASH_ATTN[request.flash_attn]
    params.type_k = CACHE_TYPES[request.type_k.lower()]
    params.type_v = CACHE_TYPES[request.type_v.lower()]
    params.swa_full = request.swa_full
    params.no_perf = True
    params.abort_callback = flag.callback
    params.abort_callback_data = flag.callback_data
    return params


def _check_model(model: int, request: LoadRequest) -> None:
    """Refuse a model that cannot talk, and a context that no machine of this size can hold."""
    if C.llama_model_has_encoder(model) or not C.llama_model_has_decoder(model):
        raise EngineError(
            "This model encodes text and cannot write any.", hint="Choose a chat or base model."
        )
    if C.llama_model_is_diffusion(model):
        raise EngineError("Diffusion language models are not supported.")
    if request.device_names:
        return
    ram_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    n_head = max(C.llama_model_n_head(model), 1)
    # A lower bound of an ordinary cache in llama.cpp's smallest type (4.5 bits an element).
    row = C.llama_model_n_embd(model) * max(C.llama_model_n_head_kv(model), 0) // n_head
    per_token = 2 * row * 4.5 / 8 if C.llama_model_n_swa(model) == 0 else 0
    cache_bytes = int(request.n_ctx * per_token) * C.llama_model_n_layer(model)
    if not C.llama_model_is_recurrent(model) and cache_bytes > 4 * ram_bytes:
        raise DoesNotFitError(
            f"A context of {request.n_ctx:,} tokens needs more than {format_bytes(cache_bytes)}.",
            hint="Use a smaller --ctx.",
        )


def widest_product(model: int) -> int | None:
    """Return the width of the feed-forward product of a token, or None where it is not said."""
    arch = metadata(model, "general.architecture")
    n_ff = _number(model, f"{arch}.feed_forward_length")
    n_ff_exp = _number(model, f"{arch}.expert_feed_forward_length") or n_ff
    n_used = _number(model, f"{arch}.expert_used_count")
    widths = [n_ff, n_ff_exp * n_used if n_ff_exp and n_used else None]
    return max((width for width in widths if width), default=None)


def metadata(model: int, key: str) -> str:
    """Return a scalar of the file's metadata as text; empty without one."""
    buffer = ctypes.create_string_buffer(256)
    n = C.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if n >= 0 else ""


def _number(model: int, key: str) -> int | None:
    text = metadata(model, key)
    return int(text) if text.isdigit() else None


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


def refusal(complaints: Sequence[str], failed: str) -> LocalLLMError:
    """Turn what llama.cpp logged while it refused into a typed error."""
    lines = [line for line in complaints if not line.endswith("failed to load model")]
    cause = next((line for line in reversed(lines) if "error" in line.lower()), None)
    cause = cause or (lines[-1] if lines else "it gave no reason")
    text = " ".join(lines).lower()
    memory = next((line for line in lines if _has(line, _OUT_OF_MEMORY)), None)
    if memory is not None:
        return OutOfMemory(
            f"llama.cpp {failed}: not enough memory ({_brief(memory)}).",
            hint="Use a smaller context (--ctx), fewer GPU layers (--n-gpu-layers) or a smaller "
            "quantisation (--quant).",
        )
    if "unknown model architecture" in text or "unknown pre-tokenizer" in text:
        return EngineError(
            f"The installed llama.cpp does not know this model: {_brief(cause)}.",
            hint="Update localllm: support for new models comes with new versions of llama.cpp.",
        )
    if _has(text, _CORRUPT):
        return IntegrityError(
            f"llama.cpp {failed}: {_brief(cause)}.", hint="Download the model again."
        )
    return EngineError(f"llama.cpp {failed}: {_brief(cause)}.", hint="Run `localllm doctor`.")


def _has(line: str, phrases: Sequence[str]) -> bool:
    return any(phrase in line.lower() for phrase in phrases)


def _brief(line: str) -> str:
    """Return a log line without the name of the function that logged it."""
    name, colon, rest = line.partition(": ")
    return (rest if colon and " " not in name else line).strip().rstrip(".")


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
