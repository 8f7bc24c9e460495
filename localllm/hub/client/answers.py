"""What the Hub answers, read and checked: a file's headers, the list of files, a body's range.

Nothing that a server says is used before it has the form it must have. No network here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from localllm.core.text import printable
from localllm.errors import IntegrityError
from localllm.hub.cache_layout import (
    SHA1,
    SHA256,
    check_commit,
    check_etag,
    check_path,
    is_hostile_path,
)
from localllm.hub.client.refusals import Wanted, disabled
from localllm.hub.http_refusals import CONTENT_RANGE, Headers, Transient
from localllm.hub.offers.files import is_told_apart
from localllm.hub.repo_files import FileMetadata, RepoFile, RepoListing

LARGEST_FILE_BYTES = 1 << 44
"""16 TiB, the largest file of ext4: more is no size of a model."""
_DIGITS = re.compile(r"[0-9]{1,19}")
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_FEW = 3
MIRROR = "If HF_ENDPOINT names a mirror, use another: what it says cannot be trusted."


# ------------------------------------------------------------------------- one file's metadata


def says_enough(headers: Headers) -> bool:
    """Whether a redirect describes the file that it leads to; storage knows nothing of commits."""
    return bool(headers.get("X-Linked-ETag") and headers.get("X-Repo-Commit"))


def metadata_of(
    wanted: Wanted, headers: Headers, *, location: str, redirects: bool
) -> FileMetadata:
    """Return what the answer to a HEAD says of a file.

    ``location``: where its bytes are; ``redirects``: whether the answer leads there, so that its
    own length says nothing. Raises IntegrityError (exit 7) for what has not the form of a commit,
    a hash or a size, and where a commit was asked for and another is named.
    """
    commit = check_commit(headers.get("X-Repo-Commit"))
    if SHA1.fullmatch(wanted.revision) and commit != wanted.revision:
        raise IntegrityError(
            f"{wanted.endpoint} answers with revision {commit} where {wanted.revision} of"
            f" {printable(wanted.repo)} was asked for.",
            hint=MIRROR,
        )
    own_length = None if redirects else headers.get("Content-Length")
    return FileMetadata(
        commit=commit,
        etag=check_etag(_bare_etag(headers.get("X-Linked-ETag") or headers.get("ETag"))),
        n_bytes=_size(wanted, headers.get("X-Linked-Size") or own_length),
        location=location,
    )


def _bare_etag(stated: str | None) -> str | None:
    """An ETag without its quotes and its mark for weak ones."""
    text = (stated or "").strip()
    match = _ETAG.fullmatch(text)
    return match[1] if match else text


def _size(wanted: Wanted, stated: object) -> int:
    if isinstance(stated, str) and _DIGITS.fullmatch(stated.strip()):
        stated = int(stated)
    if type(stated) is int and 0 < stated <= LARGEST_FILE_BYTES:
        return stated
    said = "not" if stated is None else f'as "{printable(str(stated)[:40])}"'
    raise IntegrityError(
        f"{wanted.endpoint} states the size of {wanted.shown} {said}.",
        hint=MIRROR,
    )


# ------------------------------------------------------------------------- the list of files


def listing_of(wanted: Wanted, answer: object) -> RepoListing:
    """Return what offers are made of out of ``/api/models/.../revision/...?blobs=true``.

    A name that cannot be one here is left out, with a sentence. Raises IntegrityError (exit 7) for
    an answer without sense and for names that were made to lead out of a folder; AccessError (4)
    for a repository that is closed.
    """
    if not isinstance(answer, dict):
        raise _senseless(wanted, "is no object")
    if answer.get("disabled") is True:
        raise disabled(wanted)
    name, siblings = answer.get("id"), answer.get("siblings")
    if not isinstance(siblings, list):
        raise _senseless(wanted, "has no files")
    files: dict[str, RepoFile] = {}
    odd: list[str] = []
    for sibling in siblings:
        path = sibling.get("rfilename") if isinstance(sibling, dict) else None
        if not isinstance(path, str):
            raise _senseless(wanted, "has a file without a name")
        if not is_told_apart(path):
            continue
        if not _can_be_kept(path):
            odd.append(path)
            continue
        if path in files:
            raise _senseless(wanted, "has a file twice")
        if sibling.get("size") != 0:  # an upload that failed: there is nothing in it
            files[path] = _repo_file(wanted, path, sibling)
    same_name = isinstance(name, str) and name.casefold() == wanted.repo.casefold()
    return RepoListing(
        repo=str(name) if same_name else wanted.repo,
        revision=wanted.revision,
        commit=check_commit(_text(answer.get("sha"))),
        files=tuple(files.values()),
        is_gated=answer.get("gated") not in (None, False),
        licence=_licence(answer),
        left_out=_odd_names(odd),
    )


def _can_be_kept(path: str) -> bool:
    """Whether a name can be one of a file here. Raises IntegrityError for a hostile one."""
    try:
        check_path(path)
    except IntegrityError:
        if is_hostile_path(path):
            raise
        return False
    return True


def _odd_names(paths: Sequence[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    names = ", ".join(f'"{printable(path[:100])}"' for path in paths[:_FEW])
    more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
    one = len(paths) == 1
    return (f"{names}{more} cannot be kept here under {'its name' if one else 'their names'}.",)


def _repo_file(wanted: Wanted, path: str, sibling: dict[str, Any]) -> RepoFile:
    lfs = sibling.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else {}
    size = lfs.get("size") if sibling.get("size") is None else sibling["size"]
    sha256 = lfs.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
        raise _senseless(wanted, f"has a hash that is none, of {printable(path)}")
    return RepoFile(
        path=path,
        n_bytes=_size(
            Wanted(endpoint=wanted.endpoint, repo=wanted.repo, revision=wanted.revision, path=path),
            size,
        ),
        sha256=sha256,
    )


def _licence(answer: dict[str, Any]) -> str | None:
    """The licence of the model's card by the name it has there, else of the repository's tags."""
    card = answer.get("cardData")
    card = card if isinstance(card, dict) else {}
    tags = answer.get("tags")
    tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    stated = _first_text(card.get("license"))
    stated = stated or next((t[8:] for t in tags if t.startswith("license:")), None)
    if stated == "other":
        stated = _first_text(card.get("license_name")) or stated
    return printable(stated[:80]) if stated else None


def _first_text(value: object) -> str | None:
    """A text, or the first of a list of texts."""
    if isinstance(value, list):
        value = next(iter(value), None)
    return _text(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _senseless(wanted: Wanted, what: str) -> IntegrityError:
    return IntegrityError(
        f"The list of files of {printable(wanted.repo)} that {wanted.endpoint} sends {what}.",
        hint=MIRROR,
    )


# ------------------------------------------------------------------------- a body's range


def body_start(status: int, headers: Headers, *, start: int, n_bytes: int) -> int:
    """Return where the bytes of an answer begin, of a file of ``n_bytes`` asked for from ``start``.

    ``start`` after a 206 with exactly that range, 0 after a 200 with the whole file. Raises
    Transient for anything else: bytes at a wrong place would spoil what is here already.
    """
    encoding = (headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise Transient("the server sent the file in another encoding than asked for")
    length = headers.get("Content-Length")
    if status == 206:
        match = CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
        stated = (match[1], match[2], match[3]) if match else None
        if stated != (str(start), str(n_bytes - 1), str(n_bytes)):
            raise Transient("the server sent another range than asked for")
        if length is not None and length.strip() != str(n_bytes - start):
            raise Transient("the server sent another length than asked for")
        return start
    # A page that says "log in first" is a 200, too: it must not replace what is here.
    is_whole = length is not None and length.strip() == str(n_bytes)
    if not is_whole and (length is not None or start > 0):
        raise Transient("the server sent something else than the file")
    return 0
