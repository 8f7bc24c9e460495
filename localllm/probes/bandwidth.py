"""The host's memory bandwidth, measured in about a second.

What is measured: several threads each search their own large buffer for a byte that is not in it
(``memchr`` of the C library), which reads memory from end to end and writes nothing, as decoding on
the CPU reads weights. The figure is the sum over the threads in the best of three windows.

Its bias: it is a rate of plain sequential reads, so an upper bound for any model's decoding, and it
lies below the bus's theoretical peak (85-90 % is usual; refresh and page misses take the rest). A C
library whose ``memchr`` goes byte by byte (musl) is limited by the core, not the memory, and then
gives too little: a copy (``memmove``, counted as a read and a write) is measured as well, and the
larger figure counts. Other programs that use memory at the same time lower it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from localllm.core.hardware import Host
from localllm.units import MiB

_PER_THREAD_BYTES = 64 * MiB
_LEAST_TOTAL_BYTES = 256 * MiB
"""Far above the last cache of ordinary CPUs (8-64 MiB); servers have more, and more threads too."""
_WINDOW_S = 0.1
_WINDOWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Bytes moved per second, in 10^9, and how."""

    gb_s: float
    method: Literal["read", "copy"]
    n_threads: int


def measure_bandwidth(host: Host) -> Bandwidth:
    """Return the host's memory bandwidth; its buffers take at most an eighth of what is available.

    Raises OSError where the system refuses even that.
    """
    n_threads = host.n_threads_default
    wanted = max(_LEAST_TOTAL_BYTES, _PER_THREAD_BYTES * n_threads)
    total = min(wanted, max(16 * MiB, host.available_bytes // 8))
    size = max(mmap.PAGESIZE, total // n_threads // mmap.PAGESIZE * mmap.PAGESIZE)
    read = _run(n_threads, size, _reader())
    copy = _run(n_threads, size, _copier())
    method: Literal["read", "copy"] = "read" if read >= copy else "copy"
    return Bandwidth(gb_s=max(read, copy), method=method, n_threads=n_threads)


_Pass = Callable[[int, int], int]
"""One pass over (address, bytes): returns the bytes that crossed the memory bus. Drops the GIL."""


def _reader() -> _Pass:
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    memchr = library.memchr
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    memchr.restype = ctypes.c_void_p

    def read(address: int, size: int) -> int:
        memchr(address, 0, size)
        return size

    return read


def _copier() -> _Pass:
    def copy(address: int, size: int) -> int:
        half = size // 2
        ctypes.memmove(address, address + half, half)
        return 2 * half

    return copy


def _run(n_threads: int, size: int, one_pass: _Pass) -> float:
    """Return the best window's sum over all threads, in GB/s."""
    barrier = threading.Barrier(n_threads)
    rates = [[0.0] * n_threads for _ in range(_WINDOWS)]
    # Here, not in the threads: one that failed would leave the others waiting for it.
    memories = [mmap.mmap(-1, size) for _ in range(n_threads)]

    def work(thread: int) -> None:
        with memories[thread] as memory:
            buffer = (ctypes.c_char * size).from_buffer(memory)
            address = ctypes.addressof(buffer)
            # Untouched pages all map to one page of zeros; writing also places them near this CPU.
            ctypes.memset(address, 1, size)
            for window in range(_WINDOWS):
                barrier.wait()
                moved, start = 0, time.perf_counter()
                while (elapsed := time.perf_counter() - start) < _WINDOW_S:
                    moved += one_pass(address, size)
                rates[window][thread] = moved / elapsed
            del buffer  # or the mapping cannot be closed

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(sum(window) for window in rates) / 1e9
