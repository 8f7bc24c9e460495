"""Values to JSON and back, checked: what a line says must be what the value's fields allow.

Frozen dataclasses of texts, numbers, choices, tuples and other such dataclasses. A later version
may add fields: those that are not known are passed over, those that are missing have their
default or are None. Whatever cannot be is a ``Mismatch``, so that a line torn or edited by hand is
left out and never half read.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MOST = 2**63
"""No count and no figure that is kept is as large."""


class Mismatch(ValueError):
    """A value does not have the shape that its field asks for."""


def to_fields(value: object) -> Any:
    """Return a value as JSON has it; fields that are None or empty are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: to_fields(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: part for name, part in parts.items() if part is not None and part != []}
    if isinstance(value, tuple):
        return [to_fields(part) for part in value]
    return value


def from_fields(kind: type[T], value: object) -> T:
    """Return the dataclass that JSON describes. Raises Mismatch."""
    return cast(T, _read(kind, value))


def _read(kind: Any, value: object) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        return _checked(value, isinstance(value, str) and value in get_args(kind))
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(kind) if choice is not type(None)]
        return None if value is None else _read(choices[0], value)
    if origin is tuple:
        _checked(value, isinstance(value, list))
        return tuple(_read(get_args(kind)[0], part) for part in cast(list[object], value))
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(cast(type, kind), value)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(cast(float, _checked(value, number and _is_usual(cast(float, value)))))
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return _checked(value, whole and 0 <= cast(int, value) < _MOST)
    return _checked(value, isinstance(value, kind))


def _read_dataclass(kind: type, value: object) -> Any:
    _checked(value, isinstance(value, dict))
    given = cast(Mapping[str, object], value)
    known: dict[str, Any] = {}
    for name, (wanted, optional) in _fields(kind).items():
        if name in given:
            known[name] = _read(wanted, given[name])
        elif not optional:
            raise Mismatch(f"{kind.__name__} has no {name}")
    return kind(**known)


@cache
def _fields(kind: type) -> Mapping[str, tuple[Any, bool]]:
    """Return the type of each field, and whether it has a default."""
    hints = get_type_hints(kind)
    return {
        field.name: (hints[field.name], field.default is not dataclasses.MISSING)
        for field in dataclasses.fields(kind)
    }


def _is_usual(value: float) -> bool:
    return -_MOST < value < _MOST and math.isfinite(value)


def _checked(value: object, fine: bool) -> object:
    if not fine:
        raise Mismatch(f"{value!r:.40} cannot be")
    return value
