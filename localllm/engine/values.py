"""Frozen values to JSON types and back, by the types of their fields. Nothing but values: no code
travels, and what is not of the promised type is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Return a value as JSON types."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if dataclasses.is_dataclass(kind):
        return {name: plain(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    raise TypeError(f"cannot send a {kind.__name__} to the engine")


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def decoder(hint: Any) -> Callable[[Any], Any]:
    """Return the function that turns JSON into a value of a type, built once per type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return lambda value: value
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(hint)
    if origin is Literal:
        return lambda value: _check(value, value in arguments, hint)
    if origin in (Union, types.UnionType):
        return _optional_decoder(hint, arguments)
    if origin is tuple:
        item = decoder(arguments[0])
        return lambda value: tuple(map(item, _check(value, isinstance(value, list), hint)))
    if origin is not None and issubclass(origin, Mapping):
        item = decoder(arguments[1])
        return lambda value: {key: item(entry) for key, entry in value.items()}
    if hint is float:
        return lambda value: float(_check(value, type(value) in (int, float), hint))
    if hint in (str, int, bool):
        return lambda value: _check(value, type(value) is hint, hint)
    raise TypeError(f"the protocol has no rule for {hint!r}")


def _check(value: Any, ok: bool, hint: Any) -> Any:
    if not ok:
        raise ValueError(f"{value!r} is not {hint}")
    return value


def _optional_decoder(hint: Any, arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    [inner] = [decoder(argument) for argument in arguments if argument is not types.NoneType]
    return lambda value: None if value is None else inner(value)


def _dataclass_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    decoders = {field.name: decoder(hints[field.name]) for field in dataclasses.fields(kind)}

    def decode(body: Any) -> Any:
        return kind(**{name: decoders[name](value) for name, value in body.items()})

    return decode
