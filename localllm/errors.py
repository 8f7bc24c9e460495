"""Every error that reaches a person, with its hint and exit code.

::

    LocalLLMError           1   something failed, and we know what
    +-- UsageError          2   the request itself makes no sense
    +-- DoesNotFitError     3   no placement satisfies the request on this hardware
    +-- AccessError         4   gated or private, or a token is missing
    +-- NotFoundError       5   no such model, or not available offline
    +-- EngineError         6   llama.cpp refused, died or hung
    +-- IntegrityError      7   a file that is corrupt or is not what it says
        +-- GGUFError           the same, of a GGUF header, with the offset

A bug is none of these and stays a traceback.
"""

from __future__ import annotations

from typing import ClassVar


class LocalLLMError(Exception):
    """Say what happened in one sentence, and what to do next in ``hint``."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the sentence and the next step apart: the shell renders them."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LocalLLMError):
    """The request makes no sense: a wrong option, or options that contradict each other."""

    exit_code = 2


class DoesNotFitError(LocalLLMError):
    """No placement satisfies what was asked on this hardware."""

    exit_code = 3


class AccessError(LocalLLMError):
    """A gated or private repository, or a missing token."""

    exit_code = 4


class NotFoundError(LocalLLMError):
    """No such model or file, or it is not available offline."""

    exit_code = 5


class EngineError(LocalLLMError):
    """llama.cpp refused, died or hung; ``partial`` keeps the text received until then."""

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, partial: str = "") -> None:
        """Keep the partial answer beside the sentence, so that no shell can lose it."""
        super().__init__(message, hint=hint)
        self.partial = partial


class IntegrityError(LocalLLMError):
    """A file is corrupt, truncated, or not what it claims to be."""

    exit_code = 7


class GGUFError(IntegrityError):
    """A GGUF header that cannot be trusted; ``offset`` is where reading stopped, in bytes."""

    def __init__(self, message: str, *, offset: int | None = None, hint: str | None = None) -> None:
        """Name the place of the fault when it is known."""
        super().__init__(message, hint=hint)
        self.offset = offset
