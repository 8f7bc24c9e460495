"""One architecture's keys of a header, read with llama.cpp's rules and within sane bounds.

Files come from strangers: a ``block_count`` of 2^31 or a ``head_count`` of 0 must end in a sentence
before anything is multiplied, divided or allocated with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from localllm.core.model import MetadataValue
from localllm.core.text import printable
from localllm.errors import GGUFError
from localllm.hub.gguf.parser import ArrayRef

MAX_LAYERS = 512
"""``LLAMA_MAX_LAYERS``."""
MAX_EXPERTS = 1024
"""``LLAMA_MAX_EXPERTS``."""
MAX_WIDTH = 2**24
_HINT = "The file describes a model that cannot be: get it from another source."


class Hparams:
    """The keys ``{arch}.…`` of a header."""

    def __init__(
        self,
        arch: str,
        metadata: Mapping[str, MetadataValue],
        arrays: Mapping[str, ArrayRef],
    ) -> None:
        """Look at ``metadata``; ``arrays`` says which arrays were too long to be in it."""
        self.arch = arch
        self._metadata = metadata
        self._arrays = arrays

    def has(self, key: str) -> bool:
        """Whether the file has the key, of whatever type."""
        name = f"{self.arch}.{key}"
        return name in self._metadata or name in self._arrays

    def integer(
        self, key: str, default: int | None = 0, *, low: int = 0, high: int = MAX_WIDTH
    ) -> int:
        """A whole number from ``low`` to ``high``; without a ``default`` the key is required.

        Raises GGUFError for a missing key, another type, or a figure out of bounds.
        """
        name = f"{self.arch}.{key}"
        value = self._metadata.get(name)
        if value is None:
            if name in self._arrays:
                raise self.error(f"{key} is a list where one number is expected")
            if default is None:
                raise self.error(f"{key} is missing")
            return default
        return self._checked(key, value, low, high)

    def boolean(self, key: str, default: bool) -> bool:
        """A yes or no. Raises GGUFError for another type."""
        value = self._metadata.get(f"{self.arch}.{key}", default)
        if not isinstance(value, bool):
            raise self.error(f"{key} is neither true nor false")
        return value

    def per_layer(
        self, key: str, n_layer: int, default: list[int] | int = 0, *, high: int = MAX_WIDTH
    ) -> list[int]:
        """One number per block, from a list of exactly ``n_layer`` or from one for all.

        Raises GGUFError for a list of another length, another type, or a figure out of bounds.
        """
        name = f"{self.arch}.{key}"
        value = self._metadata.get(name)
        if isinstance(value, tuple):
            if len(value) != n_layer:
                raise self.error(f"{key} lists {len(value):,} blocks of {n_layer}")
            return [self._checked(key, each, 0, high) for each in value]
        if value is not None:
            return [self._checked(key, value, 0, high)] * n_layer
        if name in self._arrays:
            raise self.error(f"{key} lists {self._arrays[name].n:,} blocks of {n_layer}")
        return list(default) if isinstance(default, list) else [default] * n_layer

    def numbers(self, key: str, n: int = 0) -> list[int]:
        """The first ``n`` whole numbers of a list (0: all of them); none without the key.

        Raises GGUFError for a shorter list, another type, or a figure out of bounds.
        """
        name = f"{self.arch}.{key}"
        value = self._metadata.get(name, None if name in self._arrays else ())
        if not isinstance(value, tuple):
            raise self.error(f"{key} is not a list of at most {MAX_LAYERS} numbers")
        if value and len(value) < n:
            raise self.error(f"{key} lists {len(value):,} blocks of {n}")
        return [self._checked(key, each, 0, MAX_WIDTH) for each in value[: n or None]]

    def pattern(self, key: str, n_layer: int) -> list[bool] | int | None:
        """Flags, cut or filled up to ``n_layer``; or a period; or None without the key."""
        value = self._metadata.get(f"{self.arch}.{key}")
        if isinstance(value, tuple):
            flags = [bool(self._checked(key, each, 0, MAX_WIDTH)) for each in value[:n_layer]]
            return flags + [False] * (n_layer - len(flags))
        if value is None:
            return None
        return self._checked(key, value, 0, MAX_WIDTH)

    def error(self, message: str) -> GGUFError:
        """An error about this architecture's keys."""
        return GGUFError(f"{printable(self.arch)}.{message}.", hint=_HINT)

    def _checked(self, key: str, value: MetadataValue, low: int, high: int) -> int:
        if not isinstance(value, int):  # a bool is an int, and a list of flags may hold bools
            raise self.error(f"{key} is {_shown(value)}, not a whole number")
        if not low <= value <= high:
            raise self.error(f"{key} is {value:,}; {low:,} to {high:,} can be")
        return int(value)


def _shown(value: MetadataValue) -> str:
    return f'"{printable(value[:40])}"' if isinstance(value, str) else str(value)[:40]
