"""Errors of the child that a program may have to tell apart: each carries its ``FailureCode``."""

from __future__ import annotations

from typing import ClassVar

from localllm.core.generation import FailureCode
from localllm.errors import EngineError, UsageError


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
