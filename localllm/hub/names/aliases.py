"""The person's own names for models: the table ``[models]`` of ``config.toml``.

::

    [models]
    my-llama = "bartowski/Llama-3.3-70B-Instruct-GGUF:Q5_K_M"
    small = "qwen3-4b:Q8_0"
    tuned = "~/models/tuned-Q6_K.gguf"

Case and dashes do not matter, and an own name comes before a known one. Other tables are left
alone: they may be a newer version's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localllm.core.text import printable
from localllm.errors import UsageError
from localllm.hub.known.index import find_known, key_of
from localllm.hub.names.reading import DEMO, ModelName, PathName, PlainName, RepoName, read_name
from localllm.system.folders import own_folder

_TABLE = "models"
_EXAMPLE = 'A line is written as  my-llama = "bartowski/Llama-3.3-70B-Instruct-GGUF:Q5_K_M"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """One line of the table."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliases:
    """All own names."""

    path: Path
    """The file, which may not exist."""
    by_key: Mapping[str, Alias] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """As they are written in the file, in its order."""
        return tuple(alias.name for alias in self.by_key.values())

    def find(self, name: str) -> str | None:
        """Return what a name without a quantisation stands for, as it is written."""
        alias = self.by_key.get(key_of(name))
        return alias.value if alias else None

    def meaning(self, name: PlainName, environ: Mapping[str, str]) -> ModelName:
        """Return what a name stands for, followed to the end; itself if it is no own name.

        A quantisation of the name goes before one in the file. Raises UsageError, with the file and
        the line's name, for one that makes no sense.
        """
        followed: set[str] = set()
        current, quant = name, name.quant
        while (alias := self.by_key.get(key_of(current.name))) is not None:
            key = key_of(alias.name)
            if key in followed:
                raise self._refusal(alias, "leads back to itself")
            followed.add(key)
            target = self._target(alias, environ)
            if isinstance(target, PlainName):
                quant = quant or target.quant
                current = target
                if key_of(target.name) == key and find_known(target.name) is not None:
                    break  # a known name with a quantisation of one's own choice
                continue
            if isinstance(target, RepoName) and target.path is None:
                return replace(target, quant=quant or target.quant)
            if quant is not None:
                raise UsageError(
                    f"{printable(alias.name)} stands for {printable(alias.value)}, which is one"
                    f" file: it has no {printable(quant)} to choose.",
                    hint=f"Leave the quantisation out, or change {self.path}.",
                )
            return target
        return replace(current, quant=quant)

    def _target(self, alias: Alias, environ: Mapping[str, str]) -> ModelName:
        try:
            target = read_name(alias.value, environ, looks_here=False)
        except UsageError as error:
            raise self._refusal(alias, f"is of no use: {error.message}") from None
        if isinstance(target, PathName) and target.path != DEMO:
            path = os.path.expanduser(target.path)
            if not os.path.isabs(path):
                raise self._refusal(alias, "names a path that does not begin at / or ~")
            return PathName(path=path)
        return target

    def _refusal(self, alias: Alias, why: str) -> UsageError:
        line = f'{printable(alias.name)} = "{printable(alias.value[:100])}"'
        return UsageError(f"In {self.path}, [{_TABLE}], {line} {why.rstrip('.')}.", hint=_EXAMPLE)


def read_aliases(environ: Mapping[str, str] = os.environ) -> Aliases:
    """Return the own names; none where there is no file.

    Raises UsageError for a file that is no TOML (with the line) or cannot be read, and for a name
    or a value that cannot be one.
    """
    path = own_folder("config", environ) / "config.toml"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Aliases(path=path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    table = _parsed(path, data).get(_TABLE, {})
    if not isinstance(table, dict):
        raise UsageError(f"In {path}, {_TABLE} is no table.", hint=_EXAMPLE)
    by_key: dict[str, Alias] = {}
    for name, value in table.items():
        _check(path, name, value)
        key = key_of(name)
        if key in by_key:
            raise UsageError(
                f"In {path}, [{_TABLE}], {name} and {by_key[key].name} are the same name.",
                hint="Case and dashes do not matter: leave out one of them.",
            )
        by_key[key] = Alias(name=name, value=value)
    return Aliases(path=path, by_key=by_key)


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib  # 5 ms, for those who have a file

    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {printable(str(error)[:200])}.") from None


def _check(path: Path, name: str, value: object) -> None:
    shown = printable(name[:100])
    if not isinstance(value, str) or not value.strip():
        raise UsageError(
            f"In {path}, [{_TABLE}], {shown} must stand for a name, an address or a path in"
            " quotation marks.",
            hint=_EXAMPLE,
        )
    if not key_of(name) or any(sign in "/\\:@" or not sign.isprintable() for sign in name):
        raise UsageError(
            f'In {path}, [{_TABLE}], "{shown}" cannot be a name: it must have none of / \\ : @.',
            hint=_EXAMPLE,
        )
    if name.lower() == DEMO:
        raise UsageError(
            f"In {path}, [{_TABLE}], {shown} is the model in the package already.",
            hint="Choose another name.",
        )
