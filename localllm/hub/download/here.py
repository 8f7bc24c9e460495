"""What lies in the cache under a content's name: believed when every byte of it was hashed.

Other programs write there too, and disks fail: neither a name nor a size says what a file holds.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from localllm.errors import IntegrityError
from localllm.hub.download.hashing import read_whole
from localllm.hub.download.part import set_aside
from localllm.hub.download.told import Told
from localllm.hub.download.wanted import WantedFile


class Here:
    """The files that may hold one content before anything is fetched."""

    def __init__(
        self, wanted: WantedFile, etag: str, *, aside: Path, told: Told, stop: threading.Event
    ) -> None:
        """Look at nothing yet. ``aside``: where a file goes that is wrong."""
        self._wanted = wanted
        self._etag = etag
        self._aside = aside
        self._told = told
        self._stop = stop
        self._wrong: set[tuple[int, int]] = set()

    def is_right(self, path: Path) -> bool:
        """Read a file, at the end of its links, and return whether it holds the content.

        Raises Stopped, and IntegrityError (exit 7) where it does though the listing states another
        size: then the listing is wrong, and not the file.
        """
        n_bytes, told = self._wanted.n_bytes, self._told

        def on_bytes(n_read: int) -> None:
            told.now(phase="checking", n_done=min(n_read, n_bytes), waiting_for=None)

        try:
            place = _place(os.stat(path))
        except OSError:  # nothing, or a link that leads nowhere
            return False
        if place in self._wrong:
            return False
        try:
            found = read_whole(path, self._etag, stop=self._stop, on_bytes=on_bytes)
        except OSError:  # a file that cannot be read runs no model either
            found = None
        if found is None or found.digest != self._etag:
            self._wrong.add(place)
            told.now(n_done=0)
            return False
        if found.n_bytes != n_bytes:
            raise IntegrityError(
                f"{self._wanted.path} of {self._wanted.repo} has {n_bytes:,} bytes by its listing,"
                f" and the content of that hash, which is here, has {found.n_bytes:,}.",
                hint="Nothing was changed. If HF_ENDPOINT names a mirror, do not use it: what it"
                " says cannot be trusted.",
            )
        told.now(n_done=n_bytes, n_resumed=n_bytes)
        return True

    def keep_evidence(self, path: Path) -> None:
        """Move what was found wrong aside, to make room for what is right. Raises LocalLLMError.

        A link is left alone: it is replaced, and what it leads to is for others to keep.
        """
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                return
            if not stat.S_ISREG(status.st_mode) or _place(status) in self._wrong:
                set_aside(path, self._aside)


def _place(status: os.stat_result) -> tuple[int, int]:
    """Which file it is."""
    return status.st_dev, status.st_ino
