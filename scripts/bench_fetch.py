"""Our download beside ``curl -o FILE`` and ``sha256sum FILE``, and the memory that it takes.

    scripts/bench_fetch.py                              2 GiB of random bytes, 5 rounds
    scripts/bench_fetch.py --size 512MiB -r 9 --folder /mnt/disk
    scripts/bench_fetch.py --json > fetched.json

A Hub of our own (``serve_hub.py``), in a process of its own on this machine, serves one file from
the disk that it is fetched to. The two take turns, and the order turns from round to round
(A B B A), so that a busy machine favours neither; what a turn has written is removed and the disk
is quiet before the next. Both end with the file on the disk and its SHA-256 known. Ours has also
asked for the metadata, resumed if there was something, compared the hash, called ``fsync`` (curl
does not: its bytes may still be in memory) and renamed. A ratio is our throughput over theirs, of
the medians and of the least times: the least are the least disturbed. Times are those of the whole
processes; ``download`` is ours without the start of Python and its imports, which are the same for
a file of any size. Where there is ``openssl``, its hash is timed as well: it uses the processor's
own SHA instructions, which not every ``sha256sum`` does.

Memory: the most that a process held resident (``VmHWM``) while it fetched a file of each of three
sizes. Those are made of zeros, which nothing here compresses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from localllm.hub.client.hub_client import HubClient  # noqa: E402  (after the path)
from localllm.hub.download.many import fetch_files  # noqa: E402  (after the path)
from localllm.hub.download.wanted import WantedFile  # noqa: E402  (after the path)
from localllm.units import GiB, MiB, format_bytes, format_transfer, parse_bytes  # noqa: E402

MEMORY_SIZES = (64 * MiB, GiB, 4 * GiB)
RANDOM = "bench/random"
FILE = "model.gguf"
OURS, DOWNLOAD = "localllm", "download"
HASHES = {"sha256sum": ("sha256sum",), "openssl": ("openssl", "dgst", "-sha256", "-r")}

Result = dict[str, Any]


def main() -> None:
    """Make the files, take turns, weigh, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=parse_bytes, default=2 * GiB)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--memory", type=parse_bytes, nargs="*", default=MEMORY_SIZES)
    parser.add_argument("--folder", type=Path, help="where the files are made and fetched to")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fetch", nargs=2, metavar=("REPO", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch:
        print(json.dumps(fetch(options.fetch[0], Path(options.fetch[1]))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        served = folder / "served"
        make_random(served / RANDOM / FILE, options.size)
        for n_bytes in options.memory:
            make_zeros(served / zeros_repo(n_bytes) / FILE, n_bytes)
        with hub(served) as endpoint:
            result: Result = {"n_bytes": options.size, "rounds": options.rounds}
            result |= compare(endpoint, folder, options.rounds)
            result["peak_rss_bytes"] = {
                n_bytes: ours(endpoint, folder, zeros_repo(n_bytes))["peak_rss_bytes"]
                for n_bytes in options.memory
            }
    print(json.dumps(result) if options.json else as_text(result))


def compare(endpoint: str, folder: Path, n_rounds: int) -> Result:
    """Take turns; the seconds of each, and what they come to."""
    seconds: dict[str, list[float]] = {}
    turns: list[Callable[[], dict[str, Any]]] = [
        lambda: theirs(endpoint, folder),
        lambda: ours(endpoint, folder, RANDOM),
    ]
    for number in range(-1, n_rounds):  # one round before the first: files, and byte code
        found: dict[str, Any] = {}
        hashes = set()
        for turn in turns if number % 2 == 0 else reversed(turns):
            os.sync()
            taken = turn()
            hashes.add(taken.pop("sha256"))
            found |= taken
        if len(hashes) != 1:
            raise SystemExit("the two have fetched different bytes")
        found.pop("peak_rss_bytes")
        if number >= 0:
            for name, value in found.items():
                seconds.setdefault(name, []).append(value)
    ratios = {
        kind: {
            base: {
                name: typical(seconds[base]) / typical(seconds[name]) for name in (OURS, DOWNLOAD)
            }
            for base in map(with_curl, HASHES)
            if base in seconds
        }
        for kind, typical in (("ratio_of_medians", statistics.median), ("ratio_of_leasts", min))
    }
    return {"seconds": seconds, **ratios}


def theirs(endpoint: str, folder: Path) -> dict[str, Any]:
    """Fetch the file by curl and hash it; seconds of each and of both, and the hash."""
    target = folder / FILE
    began_s = time.perf_counter()
    address = f"{endpoint}/{RANDOM}/resolve/main/{FILE}"
    subprocess.run(["curl", "-sfL", "-o", str(target), address], check=True)
    fetched_s = time.perf_counter() - began_s
    found: dict[str, Any] = {"curl": fetched_s}
    for name, command in HASHES.items():
        if shutil.which(name) is None:
            continue
        began_s = time.perf_counter()
        hashed = subprocess.run([*command, str(target)], capture_output=True, text=True, check=True)
        found[name] = time.perf_counter() - began_s
        found[with_curl(name)] = fetched_s + found[name]
        found["sha256"] = hashed.stdout.split()[0]
    target.unlink()
    return found


def with_curl(name: str) -> str:
    """What the two together are called."""
    return f"curl + {name}"


def ours(endpoint: str, folder: Path, repo: str) -> dict[str, Any]:
    """Fetch the file by our download, in a process of its own, into an empty cache."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with tempfile.TemporaryDirectory(dir=folder) as home:
        environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": home}
        began_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--fetch", repo, str(Path(home, "hub"))],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        taken_s = time.perf_counter() - began_s
    return {OURS: taken_s, **json.loads(done.stdout)}


def fetch(repo: str, root: Path) -> Result:
    """Fetch the one file of a repository; the seconds of it, its hash, and this process's peak."""
    client = HubClient()
    began_s = time.perf_counter()
    listing = client.listing(repo)
    (file,) = listing.files
    wanted = WantedFile(
        repo=repo,
        revision=listing.revision,
        commit=listing.commit,
        path=file.path,
        n_bytes=file.n_bytes,
        sha256=file.sha256,
    )
    for _ in fetch_files([wanted], client=client, root=root):
        pass
    taken_s = time.perf_counter() - began_s
    return {DOWNLOAD: taken_s, "sha256": file.sha256, "peak_rss_bytes": peak_rss_bytes()}


def peak_rss_bytes() -> int:
    """The most that this process has held resident."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell the peak of a process")


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Serve a folder from a process of its own; gives the endpoint."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "serve_hub.py"), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip().partition("=")[2]
    finally:
        server.terminate()
        server.communicate()


def make_random(path: Path, n_bytes: int) -> None:
    """Write a file that nothing compresses."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for start in range(0, n_bytes, MiB):
            file.write(os.urandom(min(MiB, n_bytes - start)))


def make_zeros(path: Path, n_bytes: int) -> None:
    """Make a file of zeros that takes no room."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(n_bytes)


def zeros_repo(n_bytes: int) -> str:
    """The repository of a file of zeros."""
    return f"bench/zeros-{n_bytes}"


def as_text(result: Result) -> str:
    """A table for people."""
    seconds, n_bytes = result["seconds"], result["n_bytes"]
    lines = [f"{format_bytes(n_bytes)}, {result['rounds']} rounds: seconds, median (least)"]
    lines += [f"  {name:18}{_spread(taken, n_bytes)}" for name, taken in seconds.items()]
    for base, medians in result["ratio_of_medians"].items():
        leasts = result["ratio_of_leasts"][base]
        lines.append(
            f"  throughput over that of {base}: {medians[OURS]:.2f} of medians,"
            f" {leasts[OURS]:.2f} of leasts; download alone {medians[DOWNLOAD]:.2f},"
            f" {leasts[DOWNLOAD]:.2f}"
        )
    for size, peak in result["peak_rss_bytes"].items():
        lines.append(f"  most memory for {format_bytes(size):>8}: {format_bytes(peak)}")
    return "\n".join(lines)


def _spread(taken: Sequence[float], n_bytes: int) -> str:
    median = statistics.median(taken)
    return f"{median:7.2f} ({min(taken):.2f})   {format_transfer(n_bytes / median)}"


if __name__ == "__main__":
    main()
