"""Every link in the cache, by what it names: who needs a blob, a whole cache's worth of them.

Within a repository, revisions share blobs; between repositories the shared store does it, and
people who save space by hand. What anybody links to is needed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from localllm.hub.kept.disk import entries, first_step, is_folder, walk

_NOBODY: frozenset[Path] = frozenset()


class Links:
    """The links of all repositories, as they were when it was made."""

    def __init__(self, root: Path) -> None:
        """Read all of them: some 20 µs each."""
        self._folders: dict[str, str] = {}
        self._to: defaultdict[Path, set[Path]] = defaultdict(set)
        self.unread: list[Path] = []
        """Repositories of which a part could not be read: what they need is not known."""
        for entry in entries(root, []):
            if "--" in entry.name and is_folder(entry, follow=True):
                self._read(root / entry.name)

    def to(self, path: Path) -> frozenset[Path]:
        """Return the links that name a file, by their places (``place``)."""
        return frozenset(self._to.get(self.place(path), _NOBODY))

    def place(self, path: Path) -> Path:
        """Return a path by which it can be compared: its folder's links followed, its own not."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return Path(self._folders[folder], name)

    def _read(self, folder: Path) -> None:
        notes: list[str] = []
        for path, _ in walk(folder / "snapshots", notes):
            self._add(path)
        for entry in entries(folder / "blobs", notes):
            self._add(folder / "blobs" / entry.name)
        if notes:
            self.unread.append(folder)

    def _add(self, path: Path) -> None:
        target = first_step(path)
        if target is not None:
            self._to[self.place(target)].add(self.place(path))
