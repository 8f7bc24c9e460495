"""Killed or refused at every call that changes the disk: a plain rerun recovers, and loses no byte.

The suite takes a choice of the points; with ``LOCALLLM_ALL_CRASH_POINTS=1`` it takes all.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from localllm.hub.cache_layout import RepoFolder
from tests.support.fetch_child import EVERY, EVERY_SECOND, LAST, Errand, Mishap
from tests.support.fetch_nursery import ENVIRON, REPOSITORY, Download, Nursery, wanted_files
from tests.support.loopback_hub import Fault, LoopbackHub

BODY = random.Random(6).randbytes(600_000)
WRITE_BYTES = 20_000
SHA256 = hashlib.sha256(BODY).hexdigest()
ALL = os.environ.get("LOCALLLM_ALL_CRASH_POINTS", "") == "1"
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


class Point:
    """One download that goes wrong, in a cache of its own, of a file of its own name."""

    numbers = itertools.count()

    def __init__(self, hub: LoopbackHub, root: Path) -> None:
        self.hub = hub
        self.name = f"m-{next(self.numbers)}.gguf"
        self.repo = f"user/{self.name.removesuffix('.gguf')}"
        hub.add_repo(self.repo, {self.name: BODY})
        (self.wanted,) = wanted_files(hub, self.repo)
        self.folder = RepoFolder(root=root / self.name, repo=self.repo)
        self.errand = Errand(
            endpoint=hub.endpoint,
            root=str(self.folder.root),
            files=(self.wanted,),
            max_write_bytes=WRITE_BYTES,
        )

    @property
    def found(self) -> Path:
        """Where the file is when all is well."""
        return self.folder.snapshot(self.wanted.commit, self.name)

    @property
    def n_here(self) -> int | None:
        """How long the part is; None where there is none."""
        part = self.folder.part(SHA256)
        return part.stat().st_size if part.exists() else None

    def assert_nothing_wrong(self) -> None:
        """What stands under a final name is what the name says."""
        for blob in self.folder.blobs.glob("*"):
            if blob.suffix == "":
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name

    def recover(self, nursery: Nursery) -> Download:
        """Run it again, plainly, and hold against it all that a good download leaves behind."""
        self.assert_nothing_wrong()
        n_here = self.n_here
        is_here = self.folder.blob(SHA256).exists() or self.found.exists()
        n_before = len(self.hub.ranges(self.name))
        again = nursery.run(self.errand)
        assert again.exit_code == 0, again.told
        asked = self.hub.ranges(self.name)[n_before:]
        assert asked == ([] if is_here or n_here == len(BODY) else [f"{n_here or 0}-"])
        self.assert_is_complete()
        return again

    def assert_is_complete(self) -> None:
        assert hashlib.sha256(self.found.read_bytes()).hexdigest() == SHA256
        if self.folder.blob(SHA256).exists():  # where links are refused the file itself moves
            assert os.readlink(self.found) == f"../../blobs/{SHA256}"
        assert self.folder.ref("main").read_bytes() == self.wanted.commit.encode()
        for seen, names in (
            (self.folder.refs, {"main"}),
            (self.found.parent, {self.name}),
        ):
            assert {path.name for path in seen.iterdir()} == names
        left = {path.name for path in self.folder.blobs.iterdir()} - {SHA256}
        assert all(name.endswith(".tmp") for name in left), left
        assert scan_cache_dir(self.folder.root).warnings == []


def test_nothing_goes_wrong_without_a_mishap(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path
) -> None:
    point = Point(hub, tmp_path)
    first = nursery.run(point.errand)
    assert first.exit_code == 0
    point.assert_is_complete()
    made = Counter(first.last["calls"])
    assert made["pwrite"] >= len(BODY) // WRITE_BYTES
    assert {"fsync", "rename", "fchmod", "symlink", "replace"} <= set(made)


def before_and_after(call: str, *numbers: int) -> list[Mishap]:
    return [
        Mishap(how=how, call=call, n=n) for n in numbers for how in ("kill-before", "kill-after")
    ]


KILLS = [
    *before_and_after("pwrite", 1, 2, 20, LAST),
    *before_and_after("fsync", 1, 2),
    *before_and_after("rename", 1),
    *before_and_after("fchmod", 1),
    *before_and_after("symlink", 1),
    *before_and_after("replace", 1, 2),
]
REFUSALS = [
    Mishap(how="error", call="pwrite", n=1, error="ENOSPC"),
    Mishap(how="error", call="pwrite", n=10, error="ENOSPC"),
    Mishap(how="error", call="pwrite", n=10, error="EIO"),
    Mishap(how="error", call="pwrite", n=LAST, error="EDQUOT"),
    Mishap(how="error", call="fsync", n=1, error="EIO"),
    Mishap(how="error", call="fsync", n=1, error="ENOSPC"),
    Mishap(how="error", call="rename", n=1, error="EACCES"),
]
BORNE = [
    Mishap(how="error", call="fchmod", n=1, error="EPERM"),
    Mishap(how="short", call="pwrite", n=EVERY_SECOND),
    Mishap(how="nothing", call="pwrite", n=EVERY_SECOND),
]


def named(mishap: Mishap) -> str:
    number = {LAST: "last", EVERY_SECOND: "every second"}.get(mishap.n, mishap.n)
    return f"{mishap.how} {mishap.call} {number} {mishap.error}".strip()


@pytest.mark.parametrize("mishap", KILLS, ids=named)
def test_killed_at_a_call(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path, mishap: Mishap
) -> None:
    point = Point(hub, tmp_path)
    assert nursery.run(replace(point.errand, mishap=mishap)).exit_code == KILLED
    point.recover(nursery)


@pytest.mark.parametrize("mishap", REFUSALS, ids=named)
def test_refused_at_a_call(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path, mishap: Mishap
) -> None:
    point = Point(hub, tmp_path)
    refused = nursery.run(replace(point.errand, mishap=mishap))
    assert refused.exit_code == 1
    assert os.strerror(getattr(errno, mishap.error)) in refused.last["message"]
    assert refused.last["hint"]
    point.recover(nursery)


@pytest.mark.parametrize("mishap", BORNE, ids=named)
def test_what_is_no_reason_to_fail(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path, mishap: Mishap
) -> None:
    point = Point(hub, tmp_path)
    assert nursery.run(replace(point.errand, mishap=mishap)).exit_code == 0
    point.assert_is_complete()


def test_a_disk_that_takes_nothing_any_more_is_not_asked_for_ever(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path
) -> None:
    point = Point(hub, tmp_path)
    mishap = Mishap(how="nothing", call="pwrite", n=EVERY)
    assert nursery.run(replace(point.errand, mishap=mishap)).exit_code == 1
    point.recover(nursery)


@pytest.mark.skipif(not ALL, reason="hundreds of crash points: LOCALLLM_ALL_CRASH_POINTS=1")
def test_every_point_there_is(nursery: Nursery, hub: LoopbackHub, tmp_path: Path) -> None:
    """Killed before and after each call, and each call refused in each way."""
    made = Counter(nursery.run(Point(hub, tmp_path).errand).last["calls"])
    made["pwrite"] = len(BODY) // WRITE_BYTES  # at least, and a few more as the bytes come
    places = [(call, n) for call, times in made.items() for n in range(1, times + 1)]
    hows = [Mishap(how="kill-before"), Mishap(how="kill-after")]
    hows += [Mishap(how="error", error=error) for error in ("ENOSPC", "EIO", "EACCES", "EPERM")]
    points = [
        replace(how, call=call, n=n) for call, n in [*places, ("pwrite", LAST)] for how in hows
    ]

    def run(mishap: Mishap) -> str:
        point = Point(hub, tmp_path)
        met = nursery.run(replace(point.errand, mishap=mishap))
        try:
            assert met.exit_code in ((KILLED,) if "kill" in mishap.how else (0, 1))
            point.recover(nursery)
        except (AssertionError, OSError) as error:
            return f"{named(mishap)}: {met.last} {error}"
        finally:
            shutil.rmtree(point.folder.root)
        return ""

    with ThreadPoolExecutor(4) as pool:
        failed = [text for text in pool.map(run, points) if text]
    print(f"{len(points) - len(failed)} of {len(points)} points, {dict(made)}")
    assert failed == [], "\n".join(failed)


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, KILLED)],
)
def test_a_signal_at_any_moment(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    point = Point(hub, tmp_path)
    moment = random.random() * 0.9 * len(BODY)
    hub.rate = 2e6
    hub.fault(Fault(where=point.name, cut="stall", after=len(BODY) - 1))  # it never ends by itself
    with nursery.begin(point.errand) as download:
        download.until(lambda told: told["files"][0]["n_done"] > moment)
        assert download.kill(number) == exit_code
    hub.rate = None
    n_here = point.n_here
    assert n_here is not None and moment < n_here < len(BODY)
    again = point.recover(nursery)
    assert again.told[-2]["files"][0]["n_resumed"] == n_here


# ------------------------------------------------------------------- with the system's own calls


def can_trace() -> bool:
    """Whether strace is here and may look into a process."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True).returncode
        == 0
    )


TRACED = (
    "pwrite64,fsync,rename,renameat,renameat2,chmod,fchmod,fchmodat,symlink,symlinkat,openat,write"
)
INJECTED = [
    ("pwrite64:signal=SIGKILL:when=2", KILLED),
    ("pwrite64:error=ENOSPC:when=3", 1),
    ("fsync:error=EIO:when=1", 1),
    ("rename:signal=SIGKILL:when=1", KILLED),
]


@pytest.mark.skipif(not can_trace(), reason=f"{len(INJECTED)} crash points need a working strace")
def test_the_same_with_the_calls_of_the_system(
    nursery: Nursery, hub: LoopbackHub, tmp_path: Path
) -> None:
    def run(injected: tuple[str, int]) -> None:
        what, exit_code = injected
        point = Point(hub, tmp_path)
        hub.fault(Fault(where=point.name, times=-1, piece_bytes=WRITE_BYTES, delay_s=0.001))
        paths = [point.folder.part(SHA256), point.folder.blob(SHA256), point.folder.blobs]
        watched = [word for path in paths for word in ("-P", str(path))]
        command = ["strace", "-f", "-qq", "-o", os.devnull, *watched, "-e", f"trace={TRACED}"]
        command += ["-e", f"inject={what}", sys.executable, "-m", "tests.support.fetch_child"]
        done = subprocess.run(
            [*command, point.errand.to_json()],
            cwd=REPOSITORY,
            env={**os.environ, **ENVIRON},
            capture_output=True,
        )
        assert done.returncode == exit_code, (what, done)
        point.recover(nursery)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, INJECTED))
