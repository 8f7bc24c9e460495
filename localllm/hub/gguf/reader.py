"""The GGUF header of a file on this machine.

Nothing is mapped: a mapped file that another process truncates would end this process with SIGBUS.
Reading a header with 128,256 tokens and 280,147 merges takes about 0.05 s and half a MiB; again,
a tenth of it (``gguf/walks.py``).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from localllm.core.text import printable
from localllm.errors import GGUFError, LocalLLMError, NotFoundError, UsageError
from localllm.hub.gguf.parser import (
    ArrayRef,
    GGUFHeader,
    NeedMoreError,
    parse_buffer,
    parse_header,
)
from localllm.hub.gguf.walks import Walks
from localllm.system.folders import own_folder

__all__ = [
    "ArrayRef",
    "GGUFHeader",
    "NeedMoreError",
    "directory_error",
    "open_file",
    "parse_buffer",
    "parse_header",
    "read_header",
]

_O_BINARY = getattr(os, "O_BINARY", 0)
_O_NOATIME = getattr(os, "O_NOATIME", 0)
"""Linux: to look at a model is not to use it, and its last use is told by when it was read."""


def read_header(path: Path) -> GGUFHeader:
    """Read and check the header of one file.

    Raises NotFoundError for a missing file, UsageError for a directory or a device, LocalLLMError
    for one that may not be read, and GGUFError, with the offset and a hint, for everything else.
    """
    name = printable(path.name)
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        size = status.st_size

        def read_at(offset: int, n_min: int, n_max: int) -> bytes:
            try:
                file.seek(offset)
                data = file.read(n_max)
                while len(data) < n_min and (more := file.read(n_max - len(data))):
                    data += more
            except OSError as error:
                raise LocalLLMError(
                    f"{name} could not be read: {error.strerror}.",
                    hint="Check the disk and the file system that the file is on.",
                ) from error
            if len(data) < n_min:
                raise GGUFError(
                    "the file became shorter while it was read.",
                    offset=offset,
                    hint="Another program is changing it: try again when that has finished.",
                )
            return data

        walks = Walks(own_folder("cache", os.environ), status)
        ends = walks.load()
        try:
            if ends:
                with suppress(GGUFError):
                    return parse_header(read_at, size, known_ends=ends)
            return parse_header(read_at, size, keep_ends=walks.keep)
        except GGUFError as error:
            raise GGUFError(
                f"{name}: {error.message}", offset=error.offset, hint=error.hint
            ) from None


def open_file(path: Path) -> BinaryIO:
    """Open an ordinary file for reading, unbuffered. Raises what ``read_header`` says."""
    name = printable(str(path))
    try:
        # a named pipe without a writer would wait for ever; on a plain file the flag does nothing
        descriptor = _open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _O_BINARY)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"There is no file {name}.", hint="Check the path; `demo` is always there to try."
        ) from None
    except IsADirectoryError:
        raise directory_error(path) from None
    except PermissionError:
        if path.is_dir():
            raise directory_error(path) from None
        raise LocalLLMError(
            f"{name} may not be read: permission denied.",
            hint=f"Allow it, for example with: chmod u+r {name}",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LocalLLMError(f"{name} cannot be opened: {reason}.") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise directory_error(path)
        raise UsageError(f"{name} is not a file but a device or a pipe.", hint="Pass a .gguf file.")
    return os.fdopen(descriptor, "rb", buffering=0)


def _open(path: Path, flags: int) -> int:
    if _O_NOATIME:
        with suppress(PermissionError):  # the file of somebody else
            return os.open(path, flags | _O_NOATIME)
    return os.open(path, flags)


def directory_error(path: Path) -> UsageError:
    """The error for a folder where a file was meant; its hint names the models in the folder."""
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(".gguf"))
    except OSError:
        names = []
    if names:
        shown = ", ".join(printable(name) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        hint = f"Pass a file in it: {shown}{more}."
    else:
        hint = "There is no .gguf file in it: pass the path of one."
    return UsageError(f"{printable(str(path))} is a folder, not a model file.", hint=hint)
