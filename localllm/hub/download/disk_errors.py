"""What the system says when it cannot write -> our error, with what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from localllm.errors import LocalLLMError

_ELSEWHERE = "HF_HUB_CACHE names the folder that models are kept in: set it to one on another disk."
_ROOM = "Make room (localllm list, localllm rm), then run the same command again."
_HINTS = {
    errno.ENOSPC: f"{_ROOM} {_ELSEWHERE}",
    errno.EDQUOT: f"{_ROOM} {_ELSEWHERE}",
    errno.EFBIG: "A limit of the shell (ulimit -f) or of the file system forbids files of this"
    f" size. {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: "HF_HUB_CACHE names the folder that models are kept in: set it to one that you"
    " may write to.",
    errno.EIO: f"The disk itself may be failing: see the system's log. {_ELSEWHERE}",
}
_HINTS[errno.EPERM] = _HINTS[errno.EACCES]


def disk_error(
    error: OSError, path: Path, *, what: str = "written", then: str = ""
) -> LocalLLMError:
    """Return the error for something that cannot be ``what`` (written, locked, read).

    ``then``: a sentence on what became of the bytes that had come.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LocalLLMError(
        " ".join(filter(None, (f"{path} cannot be {what}: {reason}.", then))),
        hint=_HINTS.get(error.errno or 0, _ELSEWHERE),
    )
