from __future__ import annotations

import time
from dataclasses import replace

import pytest

from localllm.core.hardware import Host
from localllm.probes.bandwidth import measure_bandwidth
from localllm.probes.host import probe_host
from localllm.probes.machine import detect
from localllm.units import GiB, MiB


@pytest.fixture(scope="module")
def host() -> Host:
    return probe_host().host


def test_memory_moves_at_a_rate_that_memory_can_have(host: Host) -> None:
    start = time.perf_counter()
    measured = measure_bandwidth(host)
    elapsed_s = time.perf_counter() - start

    # A Raspberry Pi 4 reads about 4 GB/s, a twelve-channel server about 400.
    assert 1 < measured.gb_s < 5000
    assert measured.n_threads == host.n_threads_default
    assert elapsed_s < 20, "two methods of three windows of 0.1 s, and touching the buffers"


def test_little_memory_makes_the_buffers_small_and_not_the_machine_swap(host: Host) -> None:
    measured = measure_bandwidth(replace(host, available_bytes=64 * MiB))

    assert measured.gb_s > 0


def test_a_measured_bandwidth_is_labelled_and_not_unknown() -> None:
    measured = detect([], measure_bandwidth=True).host

    assert measured.memory_bandwidth_gb_s is not None
    assert (measured.memory_bandwidth_basis or "").startswith("measured: sequential ")
    assert "memory_bandwidth_gb_s" not in measured.unknown
    assert measured.total_bytes < 1024 * GiB * 1024
