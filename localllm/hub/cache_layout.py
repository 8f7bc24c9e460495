"""The shared Hugging Face cache: which file lies where. Other tools read and write the same folder.

::

    <root>/models--<ns>--<name>/blobs/<etag>                      content, named by its hash
    <root>/models--<ns>--<name>/blobs/<etag>.part                 ours: a download that goes on
    <root>/models--<ns>--<name>/blobs/<etag>.part.corrupt         ours: did not hash to its name
    <root>/models--<ns>--<name>/snapshots/<commit>/<path>         relative link to the blob
    <root>/models--<ns>--<name>/refs/<branch>                     the commit, without a newline
    <root>/.locks/models--<ns>--<name>/<etag>.lock                flock of who writes the blob

Nothing a server says becomes a path before it is checked here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

from localllm.core.text import printable
from localllm.errors import IntegrityError, LocalLLMError, UsageError
from localllm.system.folders import expanded

SHA1 = re.compile(r"[0-9a-f]{40}")
"""What names a commit, and the content of a small file, in git."""
SHA256 = re.compile(r"[0-9a-f]{64}")
"""What names the content of a large file."""
_REPO = re.compile(r"\w([\w.-]{0,94}\w)?/\w([\w.-]{0,94}\w)?", re.ASCII)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./+-]{0,200}", re.ASCII)
_MAX_PATH = 1000
_MAX_SHOWN = 100
_MIRROR = "If HF_ENDPOINT names a mirror, do not use it: what it says cannot be trusted."


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the cache, which may not exist, found as huggingface_hub finds it.

    ``~`` and ``$NAME`` in a setting are expanded; a setting that is empty is none. Raises
    UsageError for the home of somebody who has none.
    """
    if stated := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _folder(stated, environ)
    if home := environ.get("HF_HOME"):
        return _folder(home, environ) / "hub"
    return _folder(environ.get("XDG_CACHE_HOME") or "~/.cache", environ) / "huggingface" / "hub"


def check_repo(repo: str) -> str:
    """Return ``user/repo``. Raises UsageError for what cannot be one."""
    bad = ".." in repo or "--" in repo or repo.endswith(".git")
    if _REPO.fullmatch(repo) and not bad:
        return repo
    raise UsageError(
        f'"{_shown(repo)}" is no name of a repository.',
        hint="It is the user and the name, as in bartowski/Llama-3.3-70B-Instruct-GGUF.",
    )


def check_revision(revision: str) -> str:
    """Return a branch, tag or commit. Raises UsageError for what cannot be one."""
    bad = ".." in revision or "//" in revision or revision.endswith(("/", ".lock", "."))
    if _REVISION.fullmatch(revision) and not bad:
        return revision
    raise UsageError(f'"{_shown(revision)}" is no name of a revision.')


def check_etag(etag: str | None) -> str:
    """Return an ETag that is a hash. Raises IntegrityError for any other (exit 7)."""
    if etag is not None and (SHA1.fullmatch(etag) or SHA256.fullmatch(etag)):
        return etag
    raise IntegrityError(
        f'The server names the content "{_shown(etag or "")}", which is no hash.',
        hint=_MIRROR,
    )


def check_commit(commit: str | None) -> str:
    """Return a commit. Raises IntegrityError for what is none (exit 7)."""
    if commit is not None and SHA1.fullmatch(commit):
        return commit
    raise IntegrityError(
        f'The server names the revision "{_shown(commit or "")}", which is no commit.',
        hint=_MIRROR,
    )


def is_hostile_path(path: str) -> bool:
    """Whether the path of a file in a repository was made to lead elsewhere: nobody names one so.

    An absolute one, ``..``, a backslash, a control character. git has other names that cannot be
    paths here (``check_path``), and nothing is wrong with those who gave them.
    """
    return (
        path.startswith("/")
        or ".." in path.split("/")
        or any(character == "\\" or category(character) == "Cc" for character in path)
    )


def check_path(path: str) -> str:
    """Return the path of a file in a repository that can be one below any folder.

    Raises IntegrityError (exit 7) for an absolute one, ``..``, ``.``, an empty part, a backslash, a
    colon, a control character, and a part or a whole that is too long for a file system.
    """
    bad = (
        len(path) > _MAX_PATH
        # half a surrogate pair is not printable either, and has no bytes to count
        or any(character in "\\:" or not character.isprintable() for character in path)
        or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in path.split("/"))
    )
    if not bad:
        return path
    raise IntegrityError(
        f'The server names a file "{_shown(path)}", which may lead elsewhere.', hint=_MIRROR
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFolder:
    """One repository's folder in the cache. Each method checks what it makes a path of."""

    root: Path
    """The cache's."""
    repo: str
    """``user/repo``."""

    def __post_init__(self) -> None:
        """Raise UsageError for a name that is none."""
        check_repo(self.repo)

    @property
    def folder(self) -> Path:
        """``models--user--repo``."""
        return self.root / self._name

    @property
    def blobs(self) -> Path:
        """Where contents lie."""
        return self.folder / "blobs"

    @property
    def snapshots(self) -> Path:
        """Where revisions lie."""
        return self.folder / "snapshots"

    @property
    def refs(self) -> Path:
        """Where branches point from."""
        return self.folder / "refs"

    def blob(self, etag: str) -> Path:
        """Return where a content lies under its final name."""
        return self.blobs / check_etag(etag)

    def part(self, etag: str) -> Path:
        """Return where it grows."""
        return self.blobs / f"{check_etag(etag)}.part"

    def corrupt(self, etag: str) -> Path:
        """Return where a part goes that did not hash to its name."""
        return self.blobs / f"{check_etag(etag)}.part.corrupt"

    def lock(self, etag: str) -> Path:
        """Return the lock of who writes a blob: huggingface_hub's own."""
        return self.root / ".locks" / self._name / f"{check_etag(etag)}.lock"

    def snapshot(self, commit: str, path: str) -> Path:
        """Return where a file of a revision is found.

        Raises LocalLLMError where this process cannot name it: by its locale, in ASCII only.
        """
        check_path(path)
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise LocalLLMError(
                f'The locale of this process has no letters for the file "{ascii(path)[1:-1]}".',
                hint="Set one of UTF-8, as with LC_ALL=C.UTF-8, and run the same command again.",
            ) from None
        return self.snapshots / check_commit(commit) / path

    def ref(self, revision: str) -> Path:
        """Return the file that holds the commit of a branch or tag."""
        return self.refs / check_revision(revision)

    @property
    def _name(self) -> str:
        return "models--" + self.repo.replace("/", "--")


def _folder(stated: str, environ: Mapping[str, str]) -> Path:
    """A setting as a path; a variable that is not set stands as it is."""
    path = expanded(stated, environ)
    return Path(
        _VARIABLE.sub(lambda name: environ.get(name[1] or name[2], name[0]), os.fspath(path))
    )


def _shown(name: str) -> str:
    """A name that may hold anything, on one line."""
    return printable(name[:_MAX_SHOWN]).replace("\n", r"\n").replace("\t", r"\t")
