"""Hollow model files: a header at the front, holes instead of weights, for llama.cpp's dry run.

llama.cpp checks that every tensor lies within the file and, without allocation, reads no further:
a sparse file of the true size behaves like the model and takes the header's room on the disk. The
**verbatim** copy is a file's own header, vocabulary and all. The **bare** one leaves the tokenizer
out and puts the tensors of all parts into one file: it loads in about 0.02 s instead of 0.3 s, with
the same bytes on every device.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from localllm.errors import GGUFError, LocalLLMError
from localllm.hub.gguf.parser import GGUFHeader
from localllm.hub.gguf.writer import (
    DEFAULT_ALIGNMENT,
    WrittenHeader,
    assemble,
    key_value,
    string,
)
from localllm.units import MiB, format_bytes

ReadSpan = Callable[[int, int], bytes]
"""``read_span(start, end)``: these bytes of the file that a header was read from."""

_KEPT_OF_TOKENIZER = "tokenizer.ggml.token_type_count"
"""The rows of BERT's type embedding: a size of the model, whatever its tokens."""

_TRIAL_BYTES = 16 * MiB
_SLACK_BYTES = MiB


class NoHolesError(LocalLLMError):
    """A hollow file cannot be made here, so llama.cpp cannot be asked; formulas still can."""


def bare_header(header: GGUFHeader, *, n_vocab: int, read_span: ReadSpan) -> WrittenHeader:
    """Return the header of one file with all tensors and no tokenizer.

    ``header`` holds the tensors of all parts and is the first part's otherwise; every other key is
    copied as it stands in the file, so that its type stays. ``n_vocab`` tokens take the place of
    the vocabulary. Raises GGUFError where the file is no longer the one that was read.
    """
    size_key = f"{header.metadata.get('general.architecture')}.vocab_size"
    entries = []
    for key, (start, end) in header.spans.items():
        if key == size_key or key.startswith("split."):
            continue
        if key.startswith("tokenizer.") and key != _KEPT_OF_TOKENIZER:
            continue
        entry = read_span(start, end)
        if len(entry) != end - start or not entry.startswith(string(key.encode())):
            raise GGUFError(
                f'"{key[:64]}" is no longer where it was in the file.',
                offset=start,
                hint="Another program is changing the file: try again when that has finished.",
            )
        entries.append(entry)
    entries.append(key_value("tokenizer.ggml.model", ("string", "no_vocab")))
    if n_vocab:
        entries.append(key_value(size_key, ("u32", n_vocab)))
    alignment = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    assert isinstance(alignment, int)  # the parser takes no other
    return assemble(entries, header.tensors, alignment=alignment)


def write_bare(folder: Path, written: WrittenHeader) -> tuple[Path, ...]:
    """Write a header as one hollow file into ``folder``, under a name that says its content.

    Raises NoHolesError where the file system would really give it room.
    """
    return (write_hollow(folder / f"bare-{_digest(written.data)}.gguf", written),)


def write_verbatim(folder: Path, parts: Sequence[WrittenHeader]) -> tuple[Path, ...]:
    """Write the header of each part, as it is, at the front of a hollow file of that part's size.

    The names are such that llama.cpp finds the other parts from the first one's. Raises
    NoHolesError as ``write_bare`` does.
    """
    stem = f"full-{_digest(*(part.data for part in parts))}"
    if len(parts) == 1:
        return (write_hollow(folder / f"{stem}.gguf", parts[0]),)
    return tuple(
        write_hollow(folder / f"{stem}-{number:05d}-of-{len(parts):05d}.gguf", part)
        for number, part in enumerate(parts, start=1)
    )


def write_hollow(path: Path, written: WrittenHeader) -> Path:
    """Write a header and extend the file to its full size with a hole; returns ``path``.

    A file of that name and size is taken as it is. Raises NoHolesError, and leaves nothing behind,
    where the file cannot be written or its hole takes room on the disk.
    """
    try:
        if path.stat().st_size == written.file_bytes:
            return path
    except OSError:
        pass
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(written.data)
            file.flush()
            # a small hole first: a file system without holes would fill the disk with the large one
            trial_bytes = min(written.file_bytes, len(written.data) + _TRIAL_BYTES)
            for size in (trial_bytes, written.file_bytes):
                file.truncate(size)
                _require_hole(file.fileno(), len(written.data), path.parent)
        os.replace(temporary, path)
        temporary = None
    except (OSError, OverflowError) as error:
        raise NoHolesError(
            f"a file of {format_bytes(written.file_bytes)} with nothing but a header could not be"
            f" made in {path.parent}: {getattr(error, 'strerror', None) or error}",
            hint="Set TMPDIR to a folder on a local disk.",
        ) from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
    return path


def _require_hole(descriptor: int, n_written: int, folder: Path) -> None:
    """Raise NoHolesError where more than what was written has room on the disk."""
    status = os.fstat(descriptor)
    n_blocks = getattr(status, "st_blocks", None)  # Windows does not say
    if n_blocks is None or n_blocks * 512 > n_written + _SLACK_BYTES:
        raise NoHolesError(
            f"the file system of {folder} keeps no files with holes",
            hint="Set TMPDIR to a folder on a local disk.",
        )


def _digest(*pieces: bytes) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(hashlib.sha256(piece).digest())
    return digest.hexdigest()[:20]
