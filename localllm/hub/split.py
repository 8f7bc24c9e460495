"""Models in several files: ``name-00001-of-00003.gguf``, as llama.cpp splits and finds them.

llama.cpp derives the names of the other parts from the first one's, so the parts must lie in one
folder under their original names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from localllm.core.model import TensorInfo
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError
from localllm.hub.gguf import GGUFHeader, read_header

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_NAMES = "The parts of a model must lie in one folder and keep their original names."


def model_stem(path: Path) -> str:
    """Return the file's name without ``.gguf`` and without the number of its part."""
    match = _PART.fullmatch(path.name)
    return match["stem"] if match else path.name.removesuffix(".gguf")


def read_model(path: Path) -> tuple[tuple[Path, ...], GGUFHeader]:
    """Read a model from its file, or from any one of its parts.

    Returns the paths of all parts in order, and the first part's header with the tensors of all
    (``TensorInfo.part`` says whose) and the size of all. Raises NotFoundError for a missing part,
    GGUFError for parts that do not belong together, and what ``read_header`` raises.
    """
    first = _first_part(path)
    header = read_header(first)
    count = header.metadata.get("split.count", 0)
    number = header.metadata.get("split.no", 0)
    if not isinstance(count, int) or count < 2:
        if first != path:
            raise GGUFError(
                f"{printable(path.name)} is named as a part of a split model, but"
                f" {printable(first.name)} says nothing of parts.",
                hint=_NAMES,
            )
        return (first,), header
    match = _PART.fullmatch(first.name)
    if number != 0:
        raise GGUFError(
            f"{printable(first.name)} is part {_ordinal(number)} of {count} of a split model, under"
            " another name.",
            hint=f"Pass the first part. {_NAMES}",
        )
    if match is None or int(match["count"]) != count:
        raise GGUFError(
            f"{printable(first.name)} is the first of {count} parts, but its name does not say so.",
            hint=f"It should end in -00001-of-{count:05d}.gguf. {_NAMES}",
        )
    paths = tuple(
        first.with_name(f"{match['stem']}-{part + 1:05d}-of-{count:05d}.gguf")
        for part in range(count)
    )
    return paths, _merged(paths, header)


def _first_part(path: Path) -> Path:
    match = _PART.fullmatch(path.name)
    if match is None or int(match["number"]) <= 1:
        return path
    first = path.with_name(f"{match['stem']}-00001-of-{match['count']}.gguf")
    if path.exists() and not first.exists():
        raise _missing(first, int(match["count"]))
    return first


def _merged(paths: tuple[Path, ...], header: GGUFHeader) -> GGUFHeader:
    tensors: list[TensorInfo] = list(header.tensors)
    seen = {tensor.name for tensor in tensors}
    file_bytes = header.file_bytes
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise _missing(missing[0], len(paths), n_missing=len(missing))
    for part, path in enumerate(paths[1:], start=1):
        other = read_header(path)
        number = other.metadata.get("split.no")
        count = other.metadata.get("split.count", len(paths))
        if number != part or count != len(paths):
            raise GGUFError(
                f"{printable(path.name)} says that it is part {_ordinal(number)} of {count}.",
                hint="The parts are of different models or mixed up: download them again.",
            )
        for tensor in other.tensors:
            if tensor.name in seen:
                raise GGUFError(
                    f"Tensor {tensor.name} is in more than one part.",
                    hint="The parts are of different models: download them again.",
                )
            seen.add(tensor.name)
            tensors.append(replace(tensor, part=part))
        file_bytes += other.file_bytes
    expected = header.metadata.get("split.tensors.count")
    if expected != len(tensors):
        raise GGUFError(
            f"The {len(paths)} parts hold {len(tensors):,} tensors where the first one says"
            f" {expected}.",
            hint="The parts are of different models or versions: download them again.",
        )
    return replace(header, tensors=tuple(tensors), file_bytes=file_bytes)


def _missing(path: Path, count: int, *, n_missing: int = 1) -> NotFoundError:
    what, verb = printable(path.name), "is"
    if n_missing > 1:
        what, verb = f"{what} and {n_missing - 1} more", "are"
    return NotFoundError(
        f"{what} of the {count} parts of this model {verb} not in {printable(str(path.parent))}.",
        hint="Download all parts into one folder.",
    )


def _ordinal(number: object) -> str:
    return str(number + 1) if isinstance(number, int) else "(unnumbered)"
