"""Checking kept files by their content: every byte is read and hashed.

In the Hugging Face cache a blob's name states its hash, in Ollama's folder a manifest does. Other
folders say nothing of a file's content: there only its header can be checked, and that no byte of
its tensors is missing at the end.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from localllm.core.kept import KeptModel, Verdict
from localllm.core.text import printable
from localllm.errors import IntegrityError, LocalLLMError, UsageError
from localllm.hub.download.hashing import READ_BYTES, hash_for, kind_of_hash
from localllm.hub.kept import shared_store
from localllm.hub.kept.deleting import lock_of
from localllm.hub.kept.disk import SnapshotFile, first_step, status_of
from localllm.hub.kept.locks import hold

_NO_HASH = "Nothing states what its content should be; its header is sound and no byte is missing."


def verify(
    model: KeptModel,
    *,
    on_bytes: Callable[[int], None] = lambda n_bytes: None,
    stop: threading.Event | None = None,
) -> Iterator[Verdict]:
    """Yield a verdict for each file of a model, parts that are missing included.

    ``on_bytes`` is told how many bytes were read, some times for each file. When ``stop`` is set
    the iterator ends, without a verdict for the file that it was at.
    """
    stop = stop or threading.Event()
    for file in model.files:
        verdict = _checked(file.path, file.sha256, on_bytes, stop)
        if verdict is None:
            return
        yield verdict
    for path in model.missing:
        yield _absent(path)


def set_aside(verdict: Verdict, root: Path) -> Path:
    """Move a corrupt blob of the cache at ``root`` out of the way, and return where it lies now.

    The links to it stay, and lead nowhere until the same content is fetched again: that heals every
    revision that has it. Raises UsageError for what is not corrupt, for a file of another program
    and for one that is no blob, and LocalLLMError where it is in use or cannot be moved.
    """
    root = Path(os.path.abspath(root))
    blob = first_step(verdict.path)
    if verdict.result != "corrupt" or blob is None or lock_of(blob, root) is None:
        raise UsageError(
            f"{printable(str(verdict.path))} cannot be repaired in its place.",
            hint="Remove it where it came from, and fetch it again.",
        )
    aside = blob.with_name(f"{blob.name}.part.corrupt")
    content = shared_store.content_of(blob, root) or blob
    lock = lock_of(blob, root)
    with hold([lock] if lock else []) as refused:
        if refused:
            raise LocalLLMError(f"{printable(str(verdict.path))} is in use by another process.")
        try:
            os.replace(content, aside)
            if content != blob:
                blob.unlink()
        except OSError as error:
            raise LocalLLMError(
                f"{printable(str(blob))} could not be moved aside: {error.strerror}."
            ) from None
    return aside


def _checked(
    path: Path, sha256: str | None, on_bytes: Callable[[int], None], stop: threading.Event
) -> Verdict | None:
    """The verdict on one file; None where it was stopped."""
    status = status_of(path)
    if status is None:
        return _absent(path)
    stated = sha256 or SnapshotFile(path=path, name="", blob=first_step(path), status=status).etag
    if stated is None:
        return _by_header(path, status.st_size)
    try:
        found = content_hash(path, stated, on_bytes, stop)
    except (LocalLLMError, OSError) as error:
        why = error.message if isinstance(error, LocalLLMError) else f"{error.strerror}."
        reason = f"It could not be read: {why}"
        return Verdict(path=path, n_bytes=status.st_size, result="unknown", reason=reason)
    if found is None:
        return None
    if found == stated:
        return Verdict(path=path, n_bytes=status.st_size, result="ok")
    return Verdict(
        path=path,
        n_bytes=status.st_size,
        result="corrupt",
        reason=f"Its {kind_of_hash(stated)} is {found[:12]}… where {stated[:12]}… is stated.",
    )


def content_hash(
    path: Path, stated: str, on_bytes: Callable[[int], None], stop: threading.Event
) -> str | None:
    """Return what a file hashes to, by the kind of hash that ``stated`` is; None if stopped.

    Not counted as a use of the file, where the system can be told so. Raises what ``open_file``
    does, and OSError.
    """
    from localllm.hub.gguf.reader import open_file

    with open_file(path) as opened, io.FileIO(opened.fileno(), closefd=False) as file:
        digest = hash_for(stated, os.fstat(file.fileno()).st_size)
        buffer = bytearray(READ_BYTES)
        view = memoryview(buffer)
        while n_read := file.readinto(buffer):
            if stop.is_set():
                return None
            digest.update(view[:n_read])
            on_bytes(n_read)
    return digest.hexdigest()


def _by_header(path: Path, n_bytes: int) -> Verdict:
    """By what can be told without a hash: a sound header, and no byte missing at the end."""
    from localllm.hub.gguf.reader import read_header  # only for folders that state no hashes

    try:
        read_header(path)
    except LocalLLMError as error:
        return Verdict(
            path=path,
            n_bytes=n_bytes,
            result="corrupt" if isinstance(error, IntegrityError) else "unknown",
            reason=error.message,
        )
    return Verdict(path=path, n_bytes=n_bytes, result="unknown", reason=_NO_HASH)


def _absent(path: Path) -> Verdict:
    return Verdict(path=path, n_bytes=0, result="missing", reason="It is not here.")
