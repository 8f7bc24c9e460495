"""A Hugging Face cache of a test's own, with real model files in it."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMIT = "1" * 40
OLDER = "0" * 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """The shared cache, laid out as huggingface_hub does."""

    root: Path

    def folder(self, repo: str) -> Path:
        return self.root / ("models--" + repo.replace("/", "--"))

    def put(
        self, repo: str, name: str, content: Path | bytes, *, commit: str = COMMIT, ref: str = ""
    ) -> Path:
        """Place a file in a revision, and a branch on it; return the blob."""
        body = content if isinstance(content, bytes) else content.read_bytes()
        blob = self.folder(repo) / "blobs" / hashlib.sha256(body).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            if isinstance(content, bytes):
                blob.write_bytes(content)
            else:
                shutil.copyfile(content, blob)
        link = self.folder(repo) / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
        if ref:
            refs = self.folder(repo) / "refs" / ref
            refs.parent.mkdir(parents=True, exist_ok=True)
            refs.write_text(commit)
        return blob

    def left(self) -> list[str]:
        """Every file and link that is left, the locks excepted."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if (path.is_file() or path.is_symlink()) and ".locks" not in path.parts
        )


@pytest.fixture
def cache(plain_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty cache, and a home without the folders of other tools."""
    for name in list(os.environ):
        if name.startswith(("HF_", "OLLAMA_", "LLAMA_CACHE", "LMSTUDIO")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return Cache(root=tmp_path / "hf" / "hub")


@pytest.fixture
def toy(cache: Cache, toy_model: Path) -> Cache:
    """The cache with one model, ``maker/Toy-GGUF:F16``."""
    cache.put("maker/Toy-GGUF", "Toy-F16.gguf", toy_model, ref="main")
    return cache
