"""The loopback Hub: start it, put repositories on it, tell it what shall go wrong, read its log."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from tests.support.loopback_hub.content import Content, Source
from tests.support.loopback_hub.faults import Fault, OriginName
from tests.support.loopback_hub.handler import Asked, Server, Traffic
from tests.support.loopback_hub.origins import CdnHandler, HubHandler, signed
from tests.support.loopback_hub.repos import Json, Repo, StoredFile, is_git_file


class LoopbackHub:
    """A Hub on this machine, at two origins. Use it in ``with``.

    ``endpoint`` is what ``HF_ENDPOINT`` is set to; the bytes of large files come from ``cdn``.
    """

    def __init__(self, *, port: int = 0) -> None:
        """``port`` of the Hub itself; 0: any. Nothing is answered before ``with``."""
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}
        """Repositories that have another name now: 307 to the same path under the new one."""
        self.token = "hf_" + secrets.token_hex(17)
        """May read everything."""
        self.other_token = "hf_" + secrets.token_hex(17)
        """A good one of somebody who may read neither gated nor private repositories."""
        self.page_size = 1000
        """Entries of a tree in one answer."""
        self.names_files = True
        """The CDN sends ``Content-Disposition``."""
        self.is_one_origin = False
        """The Hub keeps the large files itself, as mirrors do that have no CDN."""
        self.linked: dict[str, Content] = {}
        """What the CDN has given links to, by SHA-256."""
        self._contents: list[Content] = []
        self._n_links = 0
        self._n_expired = 0
        self._lock = threading.Lock()
        self._traffic = Traffic()
        shared = {"hub": self, "traffic": self._traffic}
        self._hub = Server(type("Hub", (HubHandler,), shared), port)
        self._cdn = Server(type("Cdn", (CdnHandler,), shared))
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for server in (self._hub, self._cdn):
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        for content in self._contents:
            content.close()

    def stop(self) -> None:
        """Go away: connections break, new ones are refused."""
        if not self._threads:
            return
        self._traffic.closing.set()
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()
            for connection in list(server.connections):
                with contextlib.suppress(OSError):  # it has ended by itself
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self._hub.url

    @property
    def cdn(self) -> str:
        """The same for the other origin."""
        return self._cdn.url

    # ------------------------------------------------------------------ what is on it

    def add_repo(
        self,
        name: str,
        files: Mapping[str, Source],
        *,
        git: Collection[str] | None = None,
        revision: str = "main",
        gated: Literal[False, "auto", "manual"] = False,
        private: bool = False,
        disabled: bool = False,
        licence: str | None = None,
        downloads: int = 0,
        likes: int = 0,
        tags: Sequence[str] = ("gguf",),
        gguf: Mapping[str, Any] | None = None,
        xet: bool = False,
        raw_entries: Sequence[Json] = (),
    ) -> str:
        """Add ``user/repo``; returns its first commit.

        ``files`` by their path: bytes, a ``Path``, or ``Zeros``. Those in ``git`` are small files
        of the Hub itself; where it is None, README.md and the like are. ``raw_entries`` are added
        to every listing as they stand: ``{"rfilename": "../x", "path": "../x", ...}``.
        """
        self.repos[name] = Repo(
            name=name,
            gated=gated,
            private=private,
            disabled=disabled,
            licence=licence,
            downloads=downloads,
            likes=likes,
            tags=tags,
            gguf=gguf,
            xet=xet,
            raw_entries=raw_entries,
        )
        return self.repos[name].commit(revision, self._stored(files, git))

    def update_repo(
        self,
        name: str,
        files: Mapping[str, Source],
        *,
        remove: Collection[str] = (),
        git: Collection[str] | None = None,
        revision: str = "main",
    ) -> str:
        """Make a new commit on a branch, with these files replaced; the old ones stay readable.

        A branch that is not there yet begins at ``main``.
        """
        repo = self.repos[name]
        before = repo.commits[repo.find(revision) or repo.revisions["main"]]
        kept = {path: file for path, file in before.items() if path not in remove}
        return repo.commit(revision, {**kept, **self._stored(files, git)})

    def sha256(self, name: str, path: str, revision: str = "main") -> str:
        """Of a file, as the Hub states it."""
        repo = self.repos[name]
        return repo.commits[repo.find(revision) or ""][path].content.sha256

    # ------------------------------------------------------------------ what goes wrong

    def fault(self, fault: Fault) -> Fault:
        """Let this go wrong; faults are tried in the order in which they came."""
        return self._traffic.faults.add(fault)

    def heal(self) -> None:
        """Forget all faults and the rate."""
        self._traffic.faults.clear()
        self.rate = None

    def expire_links(self) -> None:
        """Answer 403 to every address of the CDN that was given out before."""
        with self._lock:
            self._n_expired = self._n_links

    @property
    def rate(self) -> float | None:
        """Bytes a second, of all answers together; None: no bound. May be set at any time."""
        return self._traffic.pace.rate

    @rate.setter
    def rate(self, bytes_per_s: float | None) -> None:
        self._traffic.pace.rate = bytes_per_s

    # ------------------------------------------------------------------ what was asked

    @property
    def requests(self) -> list[Asked]:
        """All requests, in order."""
        return list(self._traffic.log)

    def asked(
        self,
        origin: OriginName | Literal[""] = "",
        method: str = "",
        where: str = "",
    ) -> list[Asked]:
        """The requests to an origin by a method whose address contains ``where``; empty: any."""
        probe = Fault(origin=origin, method=method, where=where, times=-1)
        return [one for one in self.requests if probe.matches(one.origin, one.method, one.target)]

    def gets(self, origin: OriginName | Literal[""] = "cdn", where: str = "") -> list[Asked]:
        """The GETs."""
        return self.asked(origin, "GET", where)

    def heads(self, where: str = "") -> list[Asked]:
        """The HEADs."""
        return self.asked("", "HEAD", where)

    def ranges(self, where: str = "") -> list[str]:
        """What each GET at the CDN asked for, in order: ``["0-", "5000000-"]``; empty: no range."""
        return [one.range for one in self.gets("cdn", where)]

    def forget(self) -> None:
        """Empty the log."""
        self._traffic.log.clear()

    # ------------------------------------------------------------------ for the origins

    def link_to(self, content: Content, path: str) -> str:
        """A new signed address of a content at the CDN."""
        with self._lock:
            self._n_links += 1
            signature = f"{self._n_links:08x}"
        self.linked[content.sha256] = content
        name = path.rpartition("/")[2] if self.names_files else None
        origin = self.endpoint if self.is_one_origin else self.cdn
        return signed(origin, content.sha256, signature, name)

    def is_good_signature(self, signature: str) -> bool:
        """Whether an address was given out, and has not expired."""
        try:
            number = int(signature, 16)
        except ValueError:
            return False
        return self._n_expired < number <= self._n_links

    def _stored(
        self, files: Mapping[str, Source], git: Collection[str] | None
    ) -> dict[str, StoredFile]:
        stored = {}
        for path, source in files.items():
            content = Content(source)
            self._contents.append(content)
            is_git = is_git_file(path, content.size, git)
            stored[path] = StoredFile(content=content, is_git=is_git)
        return stored
