"""The repositories of the loopback Hub: files under names, commits that stay readable."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from tests.support.loopback_hub.content import Content

Json = dict[str, Any]
GIT_NAMES = (".gitattributes", ".gitignore", "LICENSE")
GIT_SUFFIXES = (".md", ".json", ".txt", ".jinja", ".yaml")
POINTER_BYTES = 134
"""What git keeps of a large file; every listing states it."""
WRITTEN = "2026-11-20T08:00:00.000Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a revision."""

    content: Content
    is_git: bool
    """Small text, served by the Hub itself and named by git's SHA-1; all else lies at the CDN and
    is named by its SHA-256."""

    @property
    def etag(self) -> str:
        return self.content.git_sha1 if self.is_git else self.content.sha256

    def entry(self, path: str, *, xet: bool) -> Json:
        """What a listing of the tree says of it."""
        found: Json = {"type": "file", "oid": self._oid, "size": self.content.size, "path": path}
        if not self.is_git:
            found["lfs"] = {**self._lfs, "oid": self.content.sha256}
            if xet:
                found["xetHash"] = self.xet_hash
        return found

    def sibling(self, path: str, *, blobs: bool) -> Json:
        """What a listing of the repository says of it."""
        if not blobs:
            return {"rfilename": path}
        found: Json = {"rfilename": path, "size": self.content.size, "blobId": self._oid}
        if not self.is_git:
            found["lfs"] = {**self._lfs, "sha256": self.content.sha256}
        return found

    @property
    def xet_hash(self) -> str:
        return hashlib.sha256(b"xet" + self.content.sha256.encode()).hexdigest()

    @property
    def _oid(self) -> str:
        return self.content.git_sha1 if self.is_git else self.content.sha256[:40]

    @property
    def _lfs(self) -> Json:
        return {"size": self.content.size, "pointerSize": POINTER_BYTES}


def is_git_file(path: str, size: int, named: Collection[str] | None) -> bool:
    """Whether a file is kept by git: those ``named``, or small text by its name."""
    if named is not None:
        return path in named
    pure = PurePosixPath(path)
    return size < 10**6 and (pure.name in GIT_NAMES or pure.suffix in GIT_SUFFIXES)


@dataclass(slots=True, kw_only=True)
class Repo:
    """A repository with all its commits."""

    name: str
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    disabled: bool = False
    licence: str | None = None
    downloads: int = 0
    likes: int = 0
    tags: Sequence[str] = ()
    gguf: Mapping[str, Any] | None = None
    xet: bool = False
    raw_entries: Sequence[Json] = ()
    """Added to every listing as they stand."""
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    """Branches, tags: the commit of each."""

    def commit(self, revision: str, files: Mapping[str, StoredFile]) -> str:
        """Make these the files of a new commit, the head of a branch. Returns the commit."""
        seed = f"{self.name} {len(self.commits)} {revision} {sorted(files)}"
        made = hashlib.sha1(seed.encode(errors="surrogatepass")).hexdigest()
        self.commits[made] = dict(files)
        self.revisions[revision] = made
        return made

    def find(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit."""
        return revision if revision in self.commits else self.revisions.get(revision)

    def info(self, commit: str, *, blobs: bool) -> Json:
        """What the Hub says of it at a commit."""
        licence = [f"license:{self.licence}"] if self.licence else []
        files = self.commits[commit]
        return {
            "_id": hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()[:24],
            "id": self.name,
            "modelId": self.name,
            "author": self.name.partition("/")[0],
            "sha": commit,
            "private": self.private,
            "gated": self.gated,
            "disabled": self.disabled,
            "downloads": self.downloads,
            "likes": self.likes,
            "lastModified": WRITTEN,
            "createdAt": WRITTEN,
            "tags": [*self.tags, *licence],
            "cardData": {"license": self.licence} if self.licence else {},
            **({"gguf": dict(self.gguf)} if self.gguf else {}),
            "siblings": [
                *(files[path].sibling(path, blobs=blobs) for path in sorted(files)),
                *self.raw_entries,
            ],
        }

    def tree(self, commit: str, folder: str, *, recursive: bool) -> list[Json]:
        """The entries of a folder, with all below it or only what lies directly in it."""
        prefix = f"{folder}/" if folder else ""
        found: dict[str, Json] = {}
        for path, file in sorted(self.commits[commit].items()):
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts)) if recursive else range(1, min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                oid = hashlib.sha1(name.encode(errors="surrogatepass")).hexdigest()
                found[name] = {"type": "directory", "oid": oid, "size": 0, "path": name}
            if recursive or len(parts) == 1:
                found[path] = file.entry(path, xet=self.xet)
        return [*found.values(), *self.raw_entries]
