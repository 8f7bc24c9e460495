"""What is refused before llama.cpp sees it, and what llama.cpp's own refusals mean.

llama.cpp answers several wrong arguments with ``abort()``, and an absurd context with a machine
that swaps itself to death; what can be judged beforehand is judged here.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence

from localllm.engine.llama import CACHE_BITS, CACHE_TYPES, C, metadata
from localllm.engine.protocol import LoadRequest
from localllm.engine.refusals import OutOfMemory
from localllm.errors import (
    DoesNotFitError,
    EngineError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
    UsageError,
)
from localllm.units import format_bytes

_MAX_N_CTX = 2**27
_OUT_OF_MEMORY = (
    "failed to allocate",
    "unable to allocate",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
)
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
        (request.n_outputs_max <= 2**20, f"{request.n_outputs_max:,} outputs make no sense."),
        (abs(request.n_gpu_layers) < 2**31, f"{request.n_gpu_layers:,} layers make no sense."),
        (bool(request.paths), "No model file was given."),
        (
            len(request.device_names) < C.llama_max_devices()
            and len(request.tensor_split) <= C.llama_max_devices(),
            f"llama.cpp drives at most {C.llama_max_devices()} devices.",
        ),
        (
            _shares_make_sense(request),
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


def _shares_make_sense(request: LoadRequest) -> bool:
    """Return whether llama.cpp can divide by the sum of the shares of the devices in use."""
    used = request.tensor_split[: len(request.device_names) or None]
    return all(0 <= share < math.inf for share in request.tensor_split) and (
        not used or sum(used) > 0
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


def check_model(model: int, request: LoadRequest) -> None:
    """Refuse a model that cannot talk, and a context that no machine of this size can hold."""
    if C.llama_model_has_encoder(model) or not C.llama_model_has_decoder(model):
        raise EngineError(
            "This model encodes text and cannot write any.", hint="Choose a chat or base model."
        )
    if C.llama_model_is_diffusion(model):
        raise EngineError("Diffusion language models are not supported.")
    cache_bytes = _plain_cache_bytes(model, request)
    ram_bytes = _ram_bytes()
    if ram_bytes and not request.device_names and cache_bytes > ram_bytes:
        raise DoesNotFitError(
            f"A context of {request.n_ctx:,} tokens takes {format_bytes(cache_bytes)}, and this "
            f"machine has {format_bytes(ram_bytes)} of memory.",
            hint="Use a smaller context (--ctx) or a smaller KV cache (--kv q8_0).",
        )


def _ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _plain_cache_bytes(model: int, request: LoadRequest) -> int:
    """Return the size of an ordinary KV cache; 0 for models that keep less than one.

    The planner knows better. This is a last guard: Linux grants any amount, and the kernel ends
    some process half a minute later, when the cache is cleared.
    """
    arch = metadata(model, "general.architecture")
    keeps_less = (
        C.llama_model_is_recurrent(model)
        or C.llama_model_is_hybrid(model)
        or C.llama_model_n_swa(model) > 0
        or metadata(model, f"{arch}.attention.kv_lora_rank")
    )
    if keeps_less:
        return 0
    n_head, n_head_kv = C.llama_model_n_head(model), C.llama_model_n_head_kv(model)
    row = C.llama_model_n_embd(model) * max(n_head_kv, 0) // max(n_head, 1)
    bits = sum(CACHE_BITS[name.lower()] for name in (request.type_k, request.type_v))
    return int(request.n_ctx * row * bits / 8) * int(C.llama_model_n_layer(model))


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
            "quantisation of the model.",
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
