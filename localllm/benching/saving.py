"""A run as a document of its own, ``localllm.bench/1``, and the files that hold one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from localllm import __version__
from localllm.benching.gathered import Missed
from localllm.core.bench.read import BenchFile, read_bench
from localllm.core.bench.row import BENCH_SCHEMA
from localllm.core.bench.setup import Mode
from localllm.core.text import printable
from localllm.errors import LocalLLMError, NotFoundError, UsageError
from localllm.lookups import bench_folder

MOST_BYTES = 64 * 1024**2
"""More than any run writes: no file of another kind is read to its end."""


_UNSAFE = re.compile(r"[^\w.+-]+")
"""In the name of a file."""


def bench_document(
    rows: Sequence[dict[str, Any]],
    *,
    mode: Mode,
    ended: str,
    began: str,
    missed: Sequence[Missed],
    watts: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Return a whole run. ``ended``: ``complete``, ``interrupted``, or the error's sentence.

    ``power_trace`` is in seconds since its first moment, and watts.
    """
    start_s = watts[0][0] if watts else 0.0
    return {
        "schema": BENCH_SCHEMA,
        "mode": mode,
        "quick": mode == "quick",
        "complete": ended == "complete",
        "ended": ended,
        "began": began,
        "localllm": __version__,
        "rows": list(rows),
        "not_measured": [{"label": one.label, "reason": one.error.message} for one in missed],
        "power_trace": {
            "t_s": [round(t_s - start_s, 3) for t_s, _ in watts],
            "w": [round(watt, 3) for _, watt in watts],
        },
    }


def check_save_target(path: Path) -> None:
    """Raise UsageError for a path that a document cannot be written to."""
    if path.is_dir():
        raise UsageError(f"{printable(str(path))} is a folder.", hint="Name a file: run.json.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {printable(str(path.parent))}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{printable(str(path))} is there already, and it is not a file.")


def offered_path(name: str, when: datetime) -> Path:
    """Return a path in the folder for benchmarks that no file has.

    ``name``: what was measured; ``when``: it began.
    """
    stem = f"{_UNSAFE.sub('-', name).strip('-.') or 'bench'}-{when:%Y-%m-%d-%H%M}"
    folder = bench_folder()
    paths = (folder / f"{stem}{f'-{n}' if n > 1 else ''}.json" for n in itertools.count(1))
    return next(path for path in paths if not path.exists())


def save_new(path: Path, document: Mapping[str, Any]) -> None:
    """Write a whole run to a file that is not there; only the folder for benchmarks is made.

    Raises LocalLLMError, UsageError for a path that cannot be, or that is taken.
    """
    try:
        if path.parent == bench_folder():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalLLMError(
            f"{printable(str(path.parent))} cannot be made: {error.strerror or error}."
        ) from None
    check_save_target(path)
    save_bench(path, document, replaces=False)


def save_bench(path: Path, document: Mapping[str, Any], *, replaces: bool = True) -> None:
    """Write a whole run to a file. Raises LocalLLMError, UsageError as ``write_whole``."""
    write_whole(path, json.dumps(document, indent=1, allow_nan=False) + "\n", replaces=replaces)


def write_whole(path: Path, text: str, *, replaces: bool = True) -> None:
    """Write a file whole or not at all, over one of that name. Raises LocalLLMError.

    Without ``replaces`` a file of that name stays, and it is a UsageError.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        if replaces:
            partial.replace(target)
        else:
            _put(partial, target)
    except FileExistsError:
        raise UsageError(
            f"{printable(str(path))} is there already.", hint="Give it another name."
        ) from None
    except OSError as error:
        raise LocalLLMError(
            f"{printable(str(path))} could not be written: {error.strerror or error}."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _put(partial: Path, target: Path) -> None:
    """Give a whole file its name. Raises FileExistsError for a name that is taken."""
    target.open("x").close()  # nobody else takes the name between the look and the replacing
    try:
        partial.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def bench_file(path: Path) -> BenchFile:
    """Read a saved run, or llama-bench's JSON. Raises NotFoundError, IntegrityError (exit 7)."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {name}.") from None
    except OSError as error:
        raise LocalLLMError(f"{name} cannot be read: {error.strerror or error}.") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} is too large for a bench.")
    return read_bench(name, data.decode("utf-8", "replace"))
