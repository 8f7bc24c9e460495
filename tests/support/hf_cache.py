"""Makes Hugging Face caches: the folders and links that huggingface_hub makes, byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path


def commit(number: int) -> str:
    """A commit of 40 digits."""
    return hashlib.sha1(b"commit %d" % number).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HFCache:
    """A cache at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, repo: str) -> Path:
        return self.root / f"models--{repo.replace('/', '--')}"

    def add(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        at: str = "",
        ref: str | None = "main",
        linked: bool = True,
    ) -> str:
        """Put files of a revision there; returns the revision. ``linked``: as on Linux, else as
        where there are no links: the file itself lies in the revision's folder."""
        at = at or commit(0)
        folder = self.folder(repo)
        for name in ("blobs", "snapshots"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = folder / "snapshots" / at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if linked:
                blob = self.add_blob(repo, content, is_small=not name.endswith(".gguf"))
                path.symlink_to(os.path.relpath(blob, path.parent))
            else:
                path.write_bytes(content)
        if ref is not None:
            self.point(repo, ref, at)
        return at

    def add_blob(self, repo: str, content: bytes, *, is_small: bool = False) -> Path:
        """Put a content there under its hash, that of git if it is small."""
        blob = self.folder(repo) / "blobs" / (git_sha1(content) if is_small else sha256(content))
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            blob.write_bytes(content)
        return blob

    def point(self, repo: str, ref: str, text: str) -> None:
        path = self.folder(repo) / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def lack(self, repo: str, at: str, name: str) -> None:
        """Note that a revision does not have a file, as huggingface_hub does."""
        path = self.folder(repo) / ".no_exist" / at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def share(self, repo: str, content: bytes, *, xet_hash: str = "") -> Path:
        """Let huggingface_hub move a blob to the store that repositories share; returns it there.

        Its own code does that, so that its own marker, list and links are read.
        """
        from huggingface_hub.utils import _shared_blobs

        blob = self.folder(repo) / "blobs" / sha256(content)
        xet_hash = xet_hash or sha256(b"xet" + content)
        done = _shared_blobs.publish_blob_to_shared_store(
            blob_path=str(blob),
            xet_hash=xet_hash,
            cache_dir=self.root,
            expected_size=len(content),
        )
        assert done
        assert blob.is_symlink()
        return self.root / "blobs" / xet_hash[:2] / xet_hash

    def lock(self, repo: str, etag: str) -> Path:
        """The lock of a blob, made."""
        path = self.root / ".locks" / self.folder(repo).name / f"{etag}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def n_bytes(self) -> int:
        """Of all files, each content once."""
        return n_bytes_below(self.root)

    def warnings(self) -> list[str]:
        """What huggingface_hub finds wrong with it."""
        from huggingface_hub import scan_cache_dir

        return [str(warning) for warning in scan_cache_dir(self.root).warnings]


def n_bytes_below(folder: Path) -> int:
    """The sizes of all ordinary files below a folder, each inode once."""
    found: dict[tuple[int, int], int] = {}
    for here, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(here, name))
            if stat.S_ISREG(status.st_mode):
                found[(status.st_dev, status.st_ino)] = status.st_size
    return sum(found.values())


def tree(folder: Path) -> set[str]:
    """The paths of all files and links below a folder."""
    return {
        str(Path(here, name).relative_to(folder))
        for here, _, names in os.walk(folder)
        for name in names
    }
