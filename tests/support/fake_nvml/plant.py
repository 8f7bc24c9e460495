"""The other side of ``plant.h``: lays down the power of the fake's GPUs over time, holds the clock.

A line of power only grows, so that a change never rewrites what was drawn before it. A plant lives
in a mapped file: the library may be in this process or in another one.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from itertools import pairwise
from pathlib import Path

MAGIC = 0x504C4E54
GPUS = 4
MAX_STEPS = 4096


class _Step(ctypes.Structure):
    _fields_ = (
        ("at_ns", ctypes.c_int64),
        ("mw", ctypes.c_double),
        ("mw_per_s", ctypes.c_double),
        ("mj", ctypes.c_double),
    )


class _Supply(ctypes.Structure):
    _fields_ = (
        ("tau_ns", ctypes.c_uint64),
        ("phase_ns", ctypes.c_uint64),
        ("sees_ns", ctypes.c_uint64),
        ("average_ns", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("noise_mw", ctypes.c_double),
        ("gain", ctypes.c_double),
        ("start_mj", ctypes.c_double),
        ("reset_ns", ctypes.c_int64),
        ("n_steps", ctypes.c_uint32),
        ("generation", ctypes.c_uint32),
        ("calls", ctypes.c_uint64),
        ("steps", _Step * MAX_STEPS),
    )


class _Plant(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("now_ns", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
        ("revision", ctypes.c_uint64),
        ("gpus", _Supply * GPUS),
    )


SIZE = ctypes.sizeof(_Plant)


class Supply:
    """The power of one GPU, and its sensor."""

    def __init__(self, plant: Plant, raw: _Supply) -> None:
        self._plant = plant
        self._raw = raw

    @property
    def calls(self) -> int:
        """Number of calls about this GPU."""
        return int(self._raw.calls)

    def sensor(
        self,
        *,
        tau_s: float = 0.1,
        duty: float = 1.0,
        phase_s: float = 0.0,
        noise_w: float = 0.0,
        gain: float = 0.0,
        seed: int = 0,
        start_j: float = 155.13,
    ) -> None:
        """Begin anew: a sensor that publishes every ``tau_s`` and has seen ``duty`` of it."""
        raw = self._raw
        raw.n_steps = 0
        raw.generation += 1
        raw.tau_ns = _ns(tau_s)
        raw.sees_ns = _ns(tau_s * duty)
        raw.phase_ns = _ns(phase_s)
        raw.average_ns = raw.tau_ns * max(1, round(1.0 / tau_s))
        raw.noise_mw = noise_w * 1000
        raw.gain = gain
        raw.seed = seed
        raw.start_mj = start_j * 1000
        raw.reset_ns = 0

    def power(self, watts: float, *, at_s: float | None = None, watts_per_s: float = 0.0) -> None:
        """Draw so much from then on; without a time, from the next moment on.

        In real time that is a millisecond ahead: no call may have answered for it already.
        """
        raw, mw, slope = self._raw, watts * 1000, watts_per_s * 1000
        soon_s = self._plant.clock() + (0.0 if self._plant.virtual else 0.001)
        at_ns = _ns(soon_s if at_s is None else at_s)
        if raw.tau_ns == 0:
            self.sensor()
        n = raw.n_steps
        assert n < MAX_STEPS, "a plant holds no more steps"
        mj = 0.0
        if n:
            last = raw.steps[n - 1]
            assert at_ns >= last.at_ns, "a line of power only grows"
            dt = (at_ns - last.at_ns) / 1e9
            mj = last.mj + last.mw * dt + last.mw_per_s * dt * dt / 2
        raw.steps[n] = _Step(at_ns, mw, slope, mj)
        raw.n_steps = n + 1  # last: the library may be looking

    def curve(self, *pieces: tuple[float, float, float], at_s: float | None = None) -> float:
        """Lay down pieces of (seconds, watts at first, watts at last); return when they end.

        The power stays at the last piece's end.
        """
        at = self._plant.clock() if at_s is None else at_s
        last = 0.0
        for seconds, first, last in pieces:
            self.power(first, at_s=at, watts_per_s=(last - first) / seconds)
            at += seconds
        self.power(last, at_s=at)
        return at

    def reset(self) -> None:
        """Start the counter from 0 again, as a driver does when it is loaded anew."""
        self._raw.reset_ns = _ns(self._plant.clock())

    def joules(self, began_s: float, ended_s: float) -> float:
        """Return what was truly drawn in a window, reckoned apart from the library."""
        raw = self._raw
        steps = [raw.steps[i] for i in range(raw.n_steps)]
        assert steps[0].at_ns / 1e9 <= began_s, "the plant's power begins later"
        bounds = [step.at_ns / 1e9 for step in steps] + [max(ended_s, steps[-1].at_ns / 1e9)]
        total = 0.0
        for step, (low, high) in zip(steps, pairwise(bounds), strict=True):
            low_s, high_s = max(low, began_s), min(high, ended_s)
            if high_s > low_s:
                middle = (low_s + high_s) / 2 - low
                total += (step.mw + step.mw_per_s * middle) / 1000 * (high_s - low_s)
        return total


class Plant:
    """A mapped plant file, made anew."""

    def __init__(self, path: Path, *, now_s: float | None = None) -> None:
        """Hold the clock at ``now_s``; None leaves it to the machine."""
        path.write_bytes(b"")
        with path.open("r+b") as file:
            file.truncate(SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._raw = _Plant.from_buffer(self._map)
        self._raw.now_ns = 0 if now_s is None else _ns(now_s)
        self._raw.magic = MAGIC
        self.gpus = [Supply(self, self._raw.gpus[i]) for i in range(GPUS)]

    @property
    def virtual(self) -> bool:
        """Whether the clock stands still until it is moved."""
        return bool(self._raw.now_ns)

    @property
    def calls(self) -> int:
        """Number of calls of any function of the library, init included."""
        return int(self._raw.calls)

    def clock(self) -> float:
        """Return the time in seconds, as ``time.monotonic`` does."""
        return self._raw.now_ns / 1e9 if self._raw.now_ns else time.monotonic()

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        assert self.virtual
        self._raw.now_ns += _ns(seconds)

    def go_to(self, now_s: float) -> None:
        """Move the clock to a time."""
        assert self.virtual
        self._raw.now_ns = _ns(now_s)

    def scenario_changed(self) -> None:
        """Have the library read its scenario again, however little time has passed."""
        self._raw.revision += 1


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
