"""A Hugging Face Hub on this machine that serves a folder: for demonstrations and measurements.

    scripts/serve_hub.py FOLDER                  every FOLDER/user/repo is a repository
    scripts/serve_hub.py FOLDER --rate 50MB/s    no faster than this, all downloads together

It prints ``HF_ENDPOINT=http://127.0.0.1:PORT`` once it answers, and serves until it is stopped
(Ctrl-C). The files' bytes come from a second port, as from a content network. It is the server of
the tests (``tests/support/loopback_hub``): nothing leaves this machine, no other can reach it.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from localllm.units import format_bytes, parse_amount  # noqa: E402  (after the path)
from tests.support.loopback_hub import LoopbackHub  # noqa: E402  (after the path)

RATE_UNITS = {"b/s": 1.0, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9}
"""Decimal, as networks are sold."""


def main() -> None:
    """Serve until somebody stops it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=bytes_per_s, metavar="50MB/s")
    parser.add_argument("--port", type=int, default=0, help="any free one, unless stated")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = repositories(options.folder)
    if not found:
        parser.error(f"there is no user/repo below {options.folder}")
    with contextlib.suppress(KeyboardInterrupt), LoopbackHub(port=options.port) as hub:
        for name, files in found.items():
            hub.add_repo(name, files)
            n_bytes = sum(path.stat().st_size for path in files.values())
            print(f"{name}: {len(files)} files, {format_bytes(n_bytes)}", file=sys.stderr)
            for path in files:
                hub.sha256(name, path)  # now, and not while a client waits for a listing
        hub.rate = options.rate
        print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
        signal.pause()


def repositories(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of each repository below a folder, by their path in it."""
    return {
        "/".join(repo.parts[-2:]): {
            file.relative_to(repo).as_posix(): file
            for file in sorted(repo.rglob("*"))
            if file.is_file()
        }
        for repo in sorted(folder.resolve().glob("*/*"))
        if repo.is_dir()
    }


def bytes_per_s(text: str) -> float:
    """Read ``"50MB/s"``. Raises what argparse expects."""
    rate = parse_amount(text, RATE_UNITS)
    if rate is None or rate <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: it is written as 50MB/s")
    return rate


if __name__ == "__main__":
    main()
