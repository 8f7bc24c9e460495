"""One file on the loopback Hub, and a cache that it is fetched into."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from localllm.core.fetching import FileState
from localllm.hub.cache_layout import RepoFolder
from localllm.hub.client.hub_client import HubClient
from localllm.hub.download.one import fetch_file
from localllm.hub.download.wanted import WantedFile
from localllm.hub.patience import FetchPatience
from tests.support.fetch_nursery import wanted_files
from tests.support.loopback_hub import LoopbackHub

REPO = "user/model-GGUF"
NAME = "m-Q4_K_M.gguf"
SMALL = "README.md"
BODY = random.Random(7).randbytes(1_200_000)
ETAG = hashlib.sha256(BODY).hexdigest()
LONG_S = 60.0
"""A test in which anything waits for so long fails by its own time limit."""


@dataclass
class OneFetch:
    """A Hub with one model, and an empty cache."""

    hub: LoopbackHub
    root: Path
    timeout_s: float = LONG_S
    """Of a silent server."""
    patience: FetchPatience = field(
        default_factory=lambda: FetchPatience(n_tries=3, first_wait_s=0.01)
    )
    told: list[FileState] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def on(cls, hub: LoopbackHub, root: Path) -> OneFetch:
        """Put a model and a small file on a Hub that may have served others."""
        hub.heal()
        hub.forget()
        hub.add_repo(REPO, {NAME: BODY, SMALL: b"# A model\n"})
        return cls(hub=hub, root=root)

    @property
    def folder(self) -> RepoFolder:
        return RepoFolder(root=self.root, repo=REPO)

    @property
    def blob(self) -> Path:
        return self.folder.blob(ETAG)

    @property
    def part(self) -> Path:
        return self.folder.part(ETAG)

    @property
    def corrupt(self) -> Path:
        return self.folder.corrupt(ETAG)

    def wanted(self, name: str = NAME) -> WantedFile:
        """A file as the listing has it."""
        (wanted,) = wanted_files(self.hub, REPO, name)
        return wanted

    def fetch(self, wanted: WantedFile | None = None, *, symlinks: bool = True) -> Path:
        """Fetch a file: the model, unless another is named."""
        return fetch_file(
            wanted or self.wanted(),
            client=HubClient(environ={"HF_ENDPOINT": self.hub.endpoint}, timeout_s=self.timeout_s),
            root=self.root,
            tell=self.told.append,
            stop=self.stop,
            patience=self.patience,
            note=self.notes.append,
            environ={} if symlinks else {"HF_HUB_DISABLE_SYMLINKS": "1"},
        )

    def leave_part(self, data: bytes) -> None:
        """Leave what an earlier run would have left."""
        self.folder.blobs.mkdir(parents=True, exist_ok=True)
        self.part.write_bytes(data)

    def names(self) -> list[str]:
        """What lies among the contents, by what it is."""
        found = sorted(path.name.replace(ETAG, "ETAG") for path in self.folder.blobs.iterdir())
        return found

    def reasons(self) -> list[str]:
        """Why it waited, each time."""
        return [state.waiting_for or "" for state in self.told if state.phase == "waiting"]

    @contextmanager
    def in_background(self) -> Iterator[Callable[[], BaseException | Path]]:
        """Fetch in a thread; yields what waits for the result or the error."""
        results: list[BaseException | Path] = []

        def work() -> None:
            try:
                results.append(self.fetch())
            except BaseException as error:
                results.append(error)

        def result() -> BaseException | Path:
            thread.join(LONG_S)
            return results[0]

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield result
        finally:
            self.stop.set()
            thread.join(LONG_S)

    def wait_until(self, seen: Callable[[FileState], bool]) -> FileState:
        """Wait until something was told."""
        pause = threading.Event()
        for _ in range(int(LONG_S / 0.01)):
            for state in list(self.told):
                if seen(state):
                    return state
            pause.wait(0.01)
        raise AssertionError(f"not told: {self.told[-3:]}")
