"""Where the long arrays of a file's header end, remembered: a vocabulary is walked once.

The strings of a vocabulary and of its merges can only be passed over one by one, 400,000 of them in
0.04 s: as long as everything else that a plan needs of a file. One small file per model in the
cache folder says how far the walk went, for exactly that version of the file: device, inode, size,
and both times to the nanosecond, of which nobody but the system sets the second. What is not
believed costs a walk: a parse that fails with remembered ends is made again without them
(``gguf/reader.py``). Where nothing can be written there is no memory, and no error either.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from localllm.hub.small_files import read_json, write_whole

Ends = dict[tuple[int, int], int]
"""From where an array of strings begins in the file and their number, to where it ends."""

_SCHEMA = "localllm.walks/1"
_SETTLED_NS = 2_000_000_000
"""A file that was changed a moment ago may change again within one tick of its clock."""
_MAX_BYTES = 4096
_MAX_ENDS = 16


class Walks:
    """What is known of one open file."""

    def __init__(self, folder: Path, status: os.stat_result) -> None:
        """Take the cache folder, and what the system says of the file."""
        self._path = folder / "walks" / f"{status.st_dev:x}-{status.st_ino:x}.json"
        self._version = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        self._is_settled = time.time_ns() - status.st_ctime_ns > _SETTLED_NS

    def load(self) -> Ends:
        """Return what is remembered of this version of the file; nothing where it is not sure."""
        if not self._is_settled:
            return {}
        try:
            known = read_json(self._path, _MAX_BYTES)
            if known["schema"] != _SCHEMA or known["version"] != self._version:
                return {}
            ends = {(begin, n): end for begin, n, end in known["ends"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        plain = all(type(x) is int and x >= 0 for (b, n), e in ends.items() for x in (b, n, e))
        return ends if plain else {}

    def keep(self, ends: Mapping[tuple[int, int], int]) -> None:
        """Remember, where that can be."""
        if not self._is_settled or not 0 < len(ends) <= _MAX_ENDS:
            return
        rows = [[begin, n, end] for (begin, n), end in ends.items()]
        text = json.dumps({"schema": _SCHEMA, "version": self._version, "ends": rows})
        with suppress(OSError):
            write_whole(self._path, text.encode())
