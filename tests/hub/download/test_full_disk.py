"""A disk of 16 MiB, a limit on the size of files: refused before, or stopped and gone on with."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.hub.cache_layout import RepoFolder
from localllm.hub.download.wanted import WantedFile
from localllm.units import MiB
from tests.support.fetch_child import Errand
from tests.support.fetch_nursery import Download, Nursery, wanted_files
from tests.support.inside import needs_namespaces
from tests.support.loopback_hub import Fault, LoopbackHub, Zeros

REPO = "user/m"
BODY = random.Random(7).randbytes(8 * MiB)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {"m.gguf": BODY, "large.gguf": Zeros(size=24 * MiB)})
        yield hub


@pytest.fixture
def wanted(hub: LoopbackHub) -> Iterator[WantedFile]:
    hub.forget()
    yield wanted_files(hub, REPO, "m.gguf")[0]
    hub.heal()


class SmallDisk:
    """A file system of 16 MiB in a namespace of its own, seen from here through ``/proc``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        script = f"mount -t tmpfs -o size=16m none '{place}' && exec \"$@\""
        self.nursery = Nursery("unshare", "-rm", "sh", "-c", script, "sh")
        self.seen = Path(f"/proc/{self.nursery.pid}/root{place}")

    def fill(self) -> Path:
        """Write until nothing more goes on it."""
        filler = self.seen / "somebody-elses"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(64 * 1024)) == 64 * 1024:
                    pass
            except OSError:
                pass
        return filler


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path_factory.mktemp("disk"))
    with disk.nursery:
        yield disk


@needs_namespaces
def test_what_has_no_room_is_refused_before_the_first_byte(
    hub: LoopbackHub, wanted: WantedFile, disk: SmallDisk
) -> None:
    large = wanted_files(hub, REPO, "large.gguf")[0]
    root = str(disk.place / "a")
    refused = disk.nursery.run(Errand(endpoint=hub.endpoint, root=root, files=(large,)))
    assert refused.exit_code == 1
    n_needed = (24 + 1) * MiB  # with what is to stay free
    assert f"25.0 MiB ({n_needed:,} bytes)" in refused.last["message"]
    assert "16.0 MiB (16,777,216 bytes) free" in refused.last["message"]
    assert "HF_HUB_CACHE" in refused.last["hint"]
    assert hub.requests == []


@needs_namespaces
def test_a_disk_that_fills_up_half_way(
    hub: LoopbackHub, wanted: WantedFile, disk: SmallDisk
) -> None:
    root = disk.place / "b"
    errand = Errand(endpoint=hub.endpoint, root=str(root), files=(wanted,))
    hub.rate = 10e6
    held = hub.fault(Fault(cut="stall", after=2 * MiB))
    with disk.nursery.begin(errand) as download:
        download.until(lambda told: told["files"][0]["n_done"] > MiB // 2)
        filler = disk.fill()
        hub.rate = None
        held.released.set()
        assert download.wait() == 1
    assert "No space left on device" in download.last["message"]
    assert download.last["hint"]
    folder = RepoFolder(root=disk.seen / "b", repo=REPO)
    n_kept = folder.part(SHA256).stat().st_size
    assert MiB // 2 < n_kept < len(BODY)
    assert not folder.blob(SHA256).exists()

    still = disk.nursery.run(errand)
    assert still.exit_code == 1
    assert folder.part(SHA256).stat().st_size >= n_kept

    n_kept = folder.part(SHA256).stat().st_size
    filler.unlink()
    hub.forget()
    assert disk.nursery.run(errand).exit_code == 0
    assert hub.ranges() == [f"{n_kept}-"]
    assert folder.blob(SHA256).read_bytes() == BODY


def test_a_limit_on_the_size_of_files(hub: LoopbackHub, wanted: WantedFile, tmp_path: Path) -> None:
    errand = Errand(endpoint=hub.endpoint, root=str(tmp_path), files=(wanted,))
    with Nursery() as nursery:
        refused = nursery.run(replace(errand, max_file_bytes=3 * MiB))
        assert refused.exit_code == 1
        assert "File too large" in refused.last["message"]
        assert "ulimit -f" in refused.last["hint"]
        part = RepoFolder(root=tmp_path, repo=REPO).part(SHA256)
        assert part.stat().st_size == 3 * MiB
        hub.forget()
        again: Download = nursery.run(errand)
    assert again.exit_code == 0
    assert hub.ranges() == [f"{3 * MiB}-"]
    assert Path(again.last["paths"][0]).read_bytes() == BODY
