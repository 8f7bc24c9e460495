"""Models in several files: ``name-00001-of-00003.gguf``, as llama.cpp splits and finds them.

llama.cpp derives the names of the other parts from the first one's, so the parts must lie in one
folder under their original names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localllm.core.model import TensorInfo
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError
from localllm.hub.gguf.reader import GGUFHeader, read_header

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII)
"""The name of a part, of which there are ``count``."""
_NAMES = "The parts of a model must lie in one folder and keep their original names."


def model_stem(path: Path) -> str:
    """Return the file's name without ``.gguf`` and without the number of its part."""
    match = PART.fullmatch(path.name)
    return match["stem"] if match else path.name.removesuffix(".gguf")


def read_model(path: Path) -> tuple[tuple[Path, ...], GGUFHeader]:
    """Read a model from its file, or from any one of its parts.

    Returns the paths of all parts in order, and the first part's header with the tensors of all
    (``TensorInfo.part`` says whose) and the size of all. Raises NotFoundError for a missing part,
    GGUFError for parts that do not belong together, and what ``read_header`` raises.
    """
    first = path.with_name(first_name(path.name))
    if first != path and path.exists() and not first.exists():
        raise _missing(first, int(path.name[-10:-5]))
    header = read_header(first)
    if path.name != first.name and not is_split(header):
        raise GGUFError(
            f"{printable(path.name)} is named as a part of a split model, but"
            f" {printable(first.name)} says nothing of parts.",
            hint=_NAMES,
        )
    paths = tuple(first.with_name(name) for name in part_names(first.name, header))
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise _missing(missing[0], len(paths), n_missing=len(missing))
    others = [read_header(path) for path in paths[1:]]
    return paths, merge([path.name for path in paths], [header, *others])


def first_name(name: str) -> str:
    """Return the name of the first part, given any part's; other names stay as they are."""
    match = PART.fullmatch(name)
    if match is None or int(match["number"]) <= 1:
        return name
    return f"{match['stem']}-00001-of-{match['count']}.gguf"


def is_split(header: GGUFHeader) -> bool:
    """Whether a header says that its file is one of several."""
    count = header.metadata.get("split.count", 0)
    return isinstance(count, int) and count >= 2


def part_names(name: str, header: GGUFHeader) -> tuple[str, ...]:
    """Return the names of all parts in order, given the first one's and its header.

    A file that is whole has one part. Raises GGUFError where the header is not the first part's,
    or the name says otherwise.
    """
    if not is_split(header):
        return (name,)
    count = header.metadata["split.count"]
    number = header.metadata.get("split.no", 0)
    assert isinstance(count, int)
    if number != 0:
        raise GGUFError(
            f"{printable(name)} is part {_ordinal(number)} of {count} of a split model, under"
            " another name.",
            hint=f"Pass the first part. {_NAMES}",
        )
    match = PART.fullmatch(name)
    if match is None or int(match["count"]) != count:
        raise GGUFError(
            f"{printable(name)} is the first of {count} parts, but its name does not say so.",
            hint=f"It should end in -00001-of-{count:05d}.gguf. {_NAMES}",
        )
    return tuple(f"{match['stem']}-{part + 1:05d}-of-{count:05d}.gguf" for part in range(count))


def merge(names: Sequence[str], headers: Sequence[GGUFHeader]) -> GGUFHeader:
    """Return the first part's header with the tensors of all, and their size.

    Raises GGUFError for parts that do not belong together.
    """
    first = headers[0]
    if len(headers) == 1:
        return first
    tensors: list[TensorInfo] = list(first.tensors)
    seen = {tensor.name for tensor in tensors}
    for part, (name, other) in enumerate(zip(names, headers, strict=True)):
        if part == 0:
            continue
        number = other.metadata.get("split.no")
        count = other.metadata.get("split.count", len(headers))
        if number != part or count != len(headers):
            raise GGUFError(
                f"{printable(name)} says that it is part {_ordinal(number)} of {count}.",
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
    expected = first.metadata.get("split.tensors.count")
    if expected != len(tensors):
        raise GGUFError(
            f"The {len(headers)} parts hold {len(tensors):,} tensors where the first one says"
            f" {expected}.",
            hint="The parts are of different models or versions: download them again.",
        )
    file_bytes = sum(header.file_bytes for header in headers)
    return replace(first, tensors=tuple(tensors), file_bytes=file_bytes)


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
