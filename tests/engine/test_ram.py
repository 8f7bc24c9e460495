"""A plan's RAM against what the kernel says of the engine's process, on the CPU alone.

The same comparison as ``scripts/check_ram.py``, on a shape of a few hundred MiB: four layers as
wide as Llama 3.2 1B's, hollow, so that the pages are zeros and as resident as any.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from _check.ram import Resident, Run, resident, run

from localllm.core.policy import Policy
from localllm.session import resolve_model
from localllm.units import MiB
from tests.support.amx import AMX
from tests.support.gguf_maker import make_model
from tests.support.shapes import LLAMA_32_1B

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/smaps is Linux's")

TOLERANCE = 0.05
POLICY = Policy(n_ctx=4096, n_ubatch=64)


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Path:
    return make_model(models_dir / "four-layers.gguf", replace(LLAMA_32_1B, n_layer=4))


@pytest.fixture(scope="module")
def repacked(model: Path) -> Run:
    if AMX:
        pytest.skip("rearranging for AMX is told by the engine only")
    return run(resolve_model(str(model)), replace(POLICY, repack=True))


@pytest.fixture(scope="module")
def plain(model: Path) -> Run:
    return run(resolve_model(str(model)), replace(POLICY, repack=False))


@pytest.fixture(scope="module")
def read(model: Path) -> Run:
    return run(resolve_model(str(model)), replace(POLICY, use_mmap=False))


def close(planned: int, measured: int) -> bool:
    return abs(planned - measured) <= TOLERANCE * measured


@pytest.mark.parametrize("name", ["repacked", "plain", "read"])
def test_the_plan_says_what_the_process_holds_for_itself(
    name: str, request: pytest.FixtureRequest
) -> None:
    result: Run = request.getfixturevalue(name)
    measured = result.after_work.own_bytes
    assert close(result.planned_own_bytes, measured), (result.planned_own_bytes, measured)


@pytest.mark.parametrize("name", ["repacked", "plain", "read"])
def test_the_plan_says_how_much_of_the_file_is_resident(
    name: str, request: pytest.FixtureRequest
) -> None:
    result: Run = request.getfixturevalue(name)
    measured = result.after_work.mapped_bytes
    assert close(result.planned_span_bytes, measured), (result.planned_span_bytes, measured)
    assert close(result.planned_rss_bytes, result.after_work.rss_bytes)


def test_repacking_takes_anonymous_memory_beside_the_mapped_file(repacked: Run, plain: Run) -> None:
    copied = plain.planned_mapped_bytes - repacked.planned_mapped_bytes
    if not copied:
        pytest.skip("llama.cpp repacks nothing of this model on this CPU")
    grown = repacked.after_work.own_bytes - plain.after_work.own_bytes
    assert close(copied, grown), (copied, grown)
    assert repacked.after_work.mapped_bytes == plain.after_work.mapped_bytes, (
        "what was copied out of the file stays in the page cache"
    )


def test_the_whole_cache_is_resident_before_the_first_token(plain: Run) -> None:
    before = plain.after_load.own_bytes
    assert before > plain.plan.host.context_bytes + 10 * MiB
    assert before < plain.after_work.own_bytes, "the compute buffers fill with the first batch"


def test_a_load_never_takes_more_than_the_plan(repacked: Run, plain: Run, read: Run) -> None:
    for result in (repacked, plain, read):
        peak = result.after_work.peak_bytes
        assert peak <= (1 + TOLERANCE) * result.planned_rss_bytes, (peak, result.plan.repack)


def test_a_process_is_told_apart_by_the_kernels_kinds(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    process = tmp_path / "7"
    process.mkdir()
    mappings = [
        (f"7f00-7f01 r--s 00000000 08:01 42   {model}", 900, 0),
        ("7f01-7f02 rw-p 00000000 00:00 0 ", 300, 300),
        ("7f02-7f03 r-xp 00000000 08:01 43   /usr/lib/libc.so", 20, 4),
        ("7f03-7f04 rw-p 00000000 00:00 0   [heap]", 50, 50),
    ]
    text = "".join(
        f"{head}\nSize: 9999 kB\nRss: {rss} kB\nAnonymous: {anonymous} kB\nVmFlags: rd mr\n"
        for head, rss, anonymous in mappings
    )
    (process / "smaps").write_text(text)
    (process / "status").write_text("Name:\tpython\nVmHWM:\t  1500 kB\n")
    held = resident(7, [model], proc=tmp_path)
    assert held == Resident(
        anonymous_bytes=354 * 1024,
        mapped_bytes=900 * 1024,
        library_bytes=16 * 1024,
        peak_bytes=1500 * 1024,
    )
    assert held.rss_bytes == 1270 * 1024


def test_this_process_is_read_as_the_kernel_counts_it() -> None:
    held = resident(os.getpid(), [])
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert close(held.rss_bytes, pages * os.sysconf("SC_PAGE_SIZE"))
