"""A machine as JSON and back: ``localllm hardware --json`` prints it, ``--hardware FILE`` reads it.

The fields are those of the dataclasses in ``core/hardware.py``, so a new field needs no line here.
A reader ignores what it does not know and gives what an older document lacks its default: the
document only grows. What no machine can have (a link of generation 9, 0 GB/s, two devices of one
name) is refused with its place: a plan for it would be a plan for nothing.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from localllm.core.hardware import Hardware
from localllm.errors import IntegrityError, UsageError

SCHEMA = "localllm.hardware/1"

T = TypeVar("T")

_LARGEST = 2**63 - 1
_RANGES: Mapping[str, tuple[float, float]] = {
    "n_threads_logical": (1, 2**16),
    "n_cores_physical": (1, 2**16),
    "n_cores_performance": (1, 2**16),
    "pcie_gen": (0, 8),  # 0: a link that is down; the profiles know 5, the standard's drafts 8
    "pcie_gen_max": (0, 8),
    "pcie_width": (0, 32),
    "pcie_width_max": (0, 32),
    "alignment_bytes": (1, 2**30),
    "cpu_quota": (1e-4, 2**16),
}
_RATE_UNITS = ("_gb_s", "_tflops", "_tops", "_w")
_RATE_RANGE = (0.01, 1e6)
"""A rate or a power outside is a mistake of units; one that is not known is null."""
_RESERVED_NAME = "host"
"""The planner's own name for CPU and RAM."""
_HINT = "Save the machine again with: localllm hardware --json > machine.json"


def hardware_document(hardware: Hardware) -> dict[str, object]:
    """Return a machine as plain dicts, lists, strings and numbers, ready for ``json.dumps``."""
    return {"schema": SCHEMA, **_plain_fields(hardware)}


def hardware_from_document(document: object) -> Hardware:
    """Return the machine that a document describes.

    Raises UsageError for a document of another kind or a newer schema, IntegrityError (with the
    place) for a field that is missing, of the wrong type or out of range.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        _refuse_schema(schema)
    hardware = _read_dataclass(Hardware, document, "")
    _check_names([device.name for device in hardware.devices])
    return hardware


def _check_names(names: Sequence[str]) -> None:
    """Raise IntegrityError unless every device can be told from the others and from the host."""
    for index, name in enumerate(names):
        first = names.index(name)
        if name.strip().lower() == _RESERVED_NAME or first != index:
            why = f"that of devices[{first}]" if first != index else "reserved for CPU and RAM"
            place = f"devices[{index}].name"
            raise IntegrityError(
                f"{place} of the saved machine is {why}: {_shown(name)}.",
                hint="Give every device a name of its own, such as CUDA0 and CUDA1.",
            )


def _refuse_schema(schema: object) -> None:
    if isinstance(schema, str) and schema.startswith("localllm.hardware/"):
        raise UsageError(
            f"The machine was saved as {schema}; this version reads {SCHEMA}.",
            hint="Update localllm, or save the machine again with this version.",
        )
    kind = f"a {schema} document" if isinstance(schema, str) else "not a saved machine"
    raise UsageError(
        f"This is {kind}.", hint="Save one with: localllm hardware --json > machine.json"
    )


def _plain(value: object) -> object:
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _plain_fields(value: Any) -> dict[str, object]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _read_dataclass(kind: type[T], value: object, place: str) -> T:
    if not isinstance(value, dict):
        raise _mistyped(place, "an object", value)
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # kind is a dataclass
        where = f"{place}.{field.name}".lstrip(".")
        if field.name in value:
            arguments[field.name] = _read(hints[field.name], value[field.name], where)
            _check_range(field.name, arguments[field.name], where)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise IntegrityError(f"The saved machine lacks {where}.", hint=_HINT)
    return kind(**arguments)


def _check_range(name: str, value: object, place: str) -> None:
    limits = _RATE_RANGE if name.endswith(_RATE_UNITS) else _RANGES.get(name)
    if limits is None or not isinstance(value, int | float):
        return
    least, most = limits
    if not least <= value <= most:
        raise IntegrityError(
            f"{place} of the saved machine is out of range: {_shown(value)} is not within "
            f"{least:g} to {most:g}.",
            hint="What is not known is null. " + _HINT,
        )


def _read(kind: Any, value: object, place: str) -> Any:
    """Return ``value`` as the annotated type, or raise IntegrityError naming the place."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _read(inner, value, place)
    if origin is Literal:
        if value not in arguments:
            raise _mistyped(place, " or ".join(map(repr, arguments)), value)
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, place)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _mistyped(place, "an object", value)
        return {key: _read(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, value, place)  # type: ignore[arg-type]  # so is it here
    return _read_scalar(kind, value, place)


def _read_tuple(arguments: tuple[Any, ...], value: object, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mistyped(place, "a list", value)
    if arguments[-1] is Ellipsis:
        kinds: tuple[Any, ...] = (arguments[0],) * len(value)
    elif len(arguments) == len(value):
        kinds = arguments
    else:
        raise _mistyped(place, f"a list of {len(arguments)}", value)
    pairs = zip(kinds, value, strict=True)
    return tuple(_read(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(pairs))


def _read_scalar(kind: Any, value: object, place: str) -> Any:
    if kind is str and isinstance(value, str):
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= _LARGEST:  # nor is any comparison true of NaN
            raise IntegrityError(
                f"{place} of the saved machine is out of range: {_shown(value)}.", hint=_HINT
            )
        if kind is float:
            return float(value)
        if isinstance(value, int):
            return value
    names = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
    raise _mistyped(place, names[kind], value)


def _mistyped(place: str, expected: str, value: object) -> IntegrityError:
    return IntegrityError(
        f"{place or 'The document'} of the saved machine must be {expected}, not {_shown(value)}.",
        hint=_HINT,
    )


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 40 else text[:37] + "..."
