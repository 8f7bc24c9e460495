"""GGUF files that are no language models, and what to do with each."""

from __future__ import annotations

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.hub.gguf.parser import GGUFHeader

_BESIDE = "It accompanies a model: pass the model's own .gguf file."
_KINDS = {
    "adapter": ("a LoRA adapter", "Adapters are not supported yet; pass the model's own file."),
    "mmproj": ("a vision or audio projector (mmproj)", _BESIDE),
    "clip": ("a vision or audio projector (mmproj)", _BESIDE),
    "imatrix": ("an importance matrix, made for quantising a model", _BESIDE),
    "controlvector": ("a control vector", _BESIDE),
    "vocab": ("a vocabulary", "Pass the model's own .gguf file."),
}
_IMAGE_MODELS = frozenset(
    {"flux", "sd1", "sd3", "sdxl", "aura", "hidream", "wan", "ltxv", "hyvid", "lumina2"}
    | {"cosmos", "qwen_image", "pig"}
)


def refuse_what_is_no_model(header: GGUFHeader) -> str:
    """Return the architecture of a model; raise UsageError, with a hint, for any other file."""
    arch = header.metadata.get("general.architecture")
    stated = header.metadata.get("general.type")
    kind = stated if isinstance(stated, str) and stated in _KINDS else arch
    if "adapter.type" in header.metadata:
        kind = "adapter"
    if any(key.startswith("imatrix.") for key in header.metadata):
        kind = "imatrix"
    if isinstance(kind, str) and kind in _KINDS:
        what, hint = _KINDS[kind]
        raise UsageError(f"this file is {what}, not a model.", hint=hint)
    if isinstance(arch, str) and arch in _IMAGE_MODELS:
        raise UsageError(
            f'this file is an image or video model ("{arch}"), not a language model.',
            hint="llama.cpp runs language models: pass one of those.",
        )
    if not header.tensors:
        has_vocabulary = header.n_tokens > 0
        raise UsageError(
            "this file is a vocabulary without a model."
            if has_vocabulary
            else "there are no weights in it.",
            hint="Pass the model's own .gguf file.",
        )
    if not isinstance(arch, str) or not arch:
        raise UsageError(
            "this file does not say what architecture it is of, so it is no language model.",
            hint="Pass the model's own .gguf file.",
        )
    if not arch.isprintable() or len(arch) > 64:
        raise UsageError(f'the architecture "{printable(arch[:64])}" is unknown.')
    return arch
