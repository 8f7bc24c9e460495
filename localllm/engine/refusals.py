"""Errors of the child that a program may have to tell apart: each carries its ``FailureCode``."""

from __future__ import annotations

from typing import ClassVar

from localllm.core.generation import FailureCode
from localllm.errors import EngineError, UsageError

_NO_SLOT, _NOT_ALLOCATED = 1, -2
"""``llama_decode``: no KV slot; a graph, an output buffer or a memory update without memory."""


class Cancelled(EngineError):
    """The request was cancelled before it had an answer to end."""

    code: ClassVar[FailureCode] = "cancelled"


class OutOfMemory(EngineError):
    """llama.cpp could not allocate what the plan needs; planning with less may help."""

    code: ClassVar[FailureCode] = "out_of_memory"


class PromptTooLong(UsageError):
    """The prompt does not fit the context."""

    code: ClassVar[FailureCode] = "prompt_too_long"


class TemplateFailed(EngineError):
    """The model's chat template is broken, or hostile."""

    code: ClassVar[FailureCode] = "template"


def undecoded(code: int) -> EngineError:
    """Return what a return code of ``llama_decode`` means that is neither success nor abort."""
    if code == _NO_SLOT:
        return EngineError(
            "llama.cpp found no room in its KV cache.",
            hint="Start a new conversation, or load the model with a larger --ctx.",
        )
    if code == _NOT_ALLOCATED:
        return OutOfMemory(
            "llama.cpp could not allocate what evaluating the tokens takes.",
            hint="Load the model with a smaller context (--ctx) or fewer GPU layers "
            "(--n-gpu-layers).",
        )
    return EngineError(f"llama.cpp could not evaluate the tokens (llama_decode: {code}).")
