"""A download in a process of its own, some of whose calls of the system fail or are its last.

``python -m tests.support.fetch_child ERRAND`` runs one; with ``--serve FD`` it waits at a socket
with its imports done and forks for each errand, which takes milliseconds (``fetch_nursery.py``).
Nothing is replaced in the downloader: what is wrapped are the functions of ``os`` and ``fcntl``
that are the calls of the system, in this process only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from localllm.core.fetching import FetchProgress
from localllm.errors import LocalLLMError
from localllm.hub.client.hub_client import HubClient
from localllm.hub.download.many import fetch_files
from localllm.hub.download.wanted import WantedFile
from localllm.hub.http_refusals import Transient
from localllm.hub.patience import FetchPatience

CALLS = ("pwrite", "fsync", "rename", "replace", "chmod", "fchmod", "symlink", "link", "unlink")
"""Of ``os``: those that change what is on the disk. What ``open`` writes, ``strace`` sees."""

LAST, EVERY, EVERY_SECOND = -1, -2, -3
"""Instead of a number: the write that reaches the end of the file, each call, each other call."""

How = Literal["kill-before", "kill-after", "error", "short", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """What goes wrong in the child, and where."""

    how: How
    call: str = ""
    """Of ``CALLS``; empty: any of them."""
    n: int = 1
    """At the n-th such call, from 1."""
    error: str = ""
    """``"ENOSPC"``, where the call is to fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a child is to do."""

    endpoint: str
    root: str
    """The cache's folder."""
    files: tuple[WantedFile, ...]
    mishap: Mishap | None = None
    locks: Literal["real", "none", "own"] = "real"
    """``none``: flock says yes to everyone, as on some file systems of clusters; ``own``: to every
    other process, as between the machines of one."""
    by: Literal["us", "huggingface_hub"] = "us"
    limit: int = 4
    timeout_s: float = 5.0
    max_file_bytes: int | None = None
    """``RLIMIT_FSIZE``."""
    max_write_bytes: int | None = None
    """What one ``pwrite`` takes at most: then the writes are as many each time."""
    environ: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Errand:
        given = json.loads(text)
        mishap = given.pop("mishap")
        files = tuple(WantedFile(**file) for file in given.pop("files"))
        return cls(files=files, mishap=Mishap(**mishap) if mishap else None, **given)


def tell(**facts: object) -> None:
    """Write one line of JSON for the test."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def arrange(errand: Errand) -> list[str]:
    """Make what shall go wrong go wrong. Returns the calls of ``CALLS``, as they will come."""
    if errand.locks == "none":
        fcntl.flock = lambda descriptor, operation: None
    elif errand.locks == "own":
        fcntl.flock = _own_locks()
    if errand.max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (errand.max_file_bytes, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python's own start does the same
    made: list[str] = []
    numbers = {name: itertools.count(1) for name in ("", *CALLS)}
    for name in CALLS:
        call = _wrapped(getattr(os, name), name, errand, numbers, made)
        setattr(os, name, call)
    return made


def _own_locks() -> Callable[[Any, int], None]:
    """A flock that keeps out what has another descriptor in this process, and nobody else."""
    holders: dict[tuple[int, int], int] = {}

    def flock(descriptor: Any, operation: int) -> None:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        holder = holders.setdefault(key, descriptor)
        with contextlib.suppress(OSError):  # closed: so it is free
            there = os.fstat(holder)
            if holder != descriptor and (there.st_dev, there.st_ino) == key:
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        holders[key] = descriptor

    return flock


def _wrapped(
    real: Callable[..., Any],
    name: str,
    errand: Errand,
    numbers: dict[str, itertools.count[int]],
    made: list[str],
) -> Callable[..., Any]:
    mishap = errand.mishap
    n_bytes = max(file.n_bytes for file in errand.files)

    def call(*args: Any, **named: Any) -> Any:
        made.append(name)
        if name == "pwrite":
            descriptor, data, offset = args
            args = descriptor, bytes(data[: errand.max_write_bytes]), offset
        here = {"": next(numbers[""]), name: next(numbers[name])}
        is_end = name == "pwrite" and args[2] + len(args[1]) >= n_bytes
        if mishap is None or mishap.call not in here:
            return real(*args, **named)
        if not _is_met(mishap.n, here[mishap.call], is_end=is_end):
            return real(*args, **named)
        if mishap.how == "error":
            code = getattr(errno, mishap.error)
            raise OSError(code, os.strerror(code), *args[:1])
        if mishap.how == "kill-before":
            os.kill(os.getpid(), signal.SIGKILL)
        if mishap.how == "nothing":
            return 0
        if mishap.how == "short":
            return real(descriptor, data[: max(1, len(data) // 3)], offset)
        result = real(*args, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def _is_met(wanted: int, number: int, *, is_end: bool) -> bool:
    if wanted == LAST:
        return is_end
    return wanted == EVERY or number == wanted or (wanted == EVERY_SECOND and number % 2 == 0)


def run(errand: Errand) -> int:
    """Do it, tell how it goes, and return the exit code that the command would have."""
    made = arrange(errand)
    try:
        paths = _by_huggingface_hub(errand) if errand.by == "huggingface_hub" else _by_us(errand)
    except LocalLLMError as error:
        tell(error=type(error).__name__, message=error.message, hint=error.hint, calls=made)
        return error.exit_code
    except KeyboardInterrupt:
        tell(error="KeyboardInterrupt", calls=made)
        return 130
    tell(paths=paths, calls=made)
    return 0


def _by_us(errand: Errand) -> list[str]:
    client = HubClient(
        environ={"HF_ENDPOINT": errand.endpoint, **errand.environ}, timeout_s=errand.timeout_s
    )
    patience = FetchPatience(timeout_s=errand.timeout_s, n_tries=4, first_wait_s=0.02)
    work = fetch_files(
        errand.files,
        client=client,
        root=Path(errand.root),
        patience=patience,
        limit=errand.limit,
    )
    before = None
    with closing(work):
        while True:
            try:
                told = next(work)
            except StopIteration as end:
                return [str(path) for path in end.value]
            if isinstance(told, FetchProgress) and told != before:
                before = told
                tell(files=[asdict(state) for state in told.files])


def _by_huggingface_hub(errand: Errand) -> list[str]:
    from huggingface_hub import hf_hub_download

    return [
        hf_hub_download(
            file.repo,
            file.path,
            revision=file.revision,
            cache_dir=errand.root,
            endpoint=errand.endpoint,
            token=False,
        )
        for file in errand.files
    ]


def serve(channel: socket.socket) -> None:
    """Fork for each errand that comes, until nobody is there any more.

    With an errand come two pipes: one for the pid and later the status, one for what it prints.
    Between this process and the one that runs the errand stands one that waits for its end.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 2)
        if not text:
            return
        if os.fork() == 0:
            channel.close()
            _attend(text.decode(), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _attend(text: str, control: int, output: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(control)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 70
        try:
            code = run(Errand.from_json(text))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(output)
    os.write(control, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # the test did not want to know
        os.write(control, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def warm_up() -> None:
    """Import what a download imports, so that the forks need not: nobody answers at this port."""
    from huggingface_hub import hf_hub_download

    assert callable(hf_hub_download)
    client = HubClient(environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
    with contextlib.suppress(Transient, LocalLLMError):
        client.metadata("user/model", "0" * 40, "model.gguf")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        with socket.socket(fileno=int(sys.argv[2])) as channel:
            warm_up()
            channel.sendall(b"!")
            serve(channel)
    else:
        sys.exit(run(Errand.from_json(sys.argv[1])))
