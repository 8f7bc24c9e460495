"""Apple silicon: the chip's own energy counters, without administrator rights.

``apple_ioreport.py`` reads them in a process of its own; here its answers become joules. Parsing
and process handling are tested; the whole has NOT been run on a Mac yet: in doubt it is missing.
"""

from __future__ import annotations

import json
import os
import platform
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from localllm.core.metered.readings import Reading, Source
from localllm.power import apple_ioreport
from localllm.power.meter import MeterLost, Missing, Opened, Wanted

PERIOD_S = 0.1
"""How often the counters move is not documented."""

ANSWER_S = 2.0
"""Longer than starting Python and reading the counters takes; then the child is given up."""

MOST_W = 1000.0
"""More than any Apple chip draws: a step that would need more was none."""

_JOULES = {"mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9}
_MOST_BYTES = 1 << 20

Counter = tuple[str, str, int]
"""Name, unit label and value of a channel."""


class NoAnswer(Exception):
    """The child cannot tell; its text is the reason."""


def joules_of(value: int, unit: str) -> float | None:
    """Return a counter's value in joules, or None for a unit that is not known."""
    factor = _JOULES.get(unit.strip())
    return None if factor is None or value < 0 else value * factor


def chip_joules(counters: Sequence[Counter]) -> float | None:
    """Return the energy of CPU, GPU and neural engine together, in joules since some moment.

    ``CPU Energy`` (``DIE_0_CPU Energy`` ... on an Ultra), ``GPU Energy`` and ``ANE`` (``ANE0`` ...)
    are the sums of their parts, which stand beside them and must not be added. None where the CPU
    or the GPU is not among them, or a unit is not known.
    """
    parts: dict[str, float] = {}
    for name, unit, value in counters:
        part = _part(name.strip())
        if part is None:
            continue
        joules = joules_of(value, unit)
        if joules is None:
            return None
        parts[part] = parts.get(part, 0.0) + joules
    return sum(parts.values()) if {"CPU", "GPU"} <= parts.keys() else None


def _part(name: str) -> str | None:
    if name.endswith("CPU Energy"):
        return "CPU"
    if name.endswith("GPU Energy"):
        return "GPU"
    return "ANE" if name.startswith("ANE") else None


def counters_of(line: bytes) -> tuple[Counter, ...]:
    """Return the channels of one answer. Raises NoAnswer for anything else."""
    try:
        rows = json.loads(line)
        return tuple((str(name), str(unit), int(value)) for name, unit, value in rows)
    except (ValueError, TypeError) as error:
        raise NoAnswer("the energy counters' answer cannot be read") from error


class Child:
    """The process that reads the counters; it ends with its input, so also with this process."""

    def __init__(self, command: Sequence[str], answer_s: float = ANSWER_S) -> None:
        """Start it. Raises NoAnswer where it cannot be started."""
        self._answer_s = answer_s
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the chat
            )
        except OSError as error:
            raise NoAnswer(f"the energy counters cannot be read: {error.strerror}") from error

    def ask(self) -> bytes:
        """Return the next line. Raises NoAnswer where none comes in time."""
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:  # both are pipes; this is for the type checker
            raise NoAnswer("the energy counters are closed")
        try:
            os.write(requests.fileno(), b"\n")
            while b"\n" not in self._rest:
                ready, _, _ = select.select([answers], [], [], self._answer_s)
                if not ready:
                    raise NoAnswer("the energy counters do not answer")
                more = os.read(answers.fileno(), 1 << 16)
                if not more or len(self._rest) > _MOST_BYTES:
                    raise NoAnswer("macOS does not give its energy counters")
                self._rest += more
        except (OSError, ValueError) as error:
            raise NoAnswer("macOS does not give its energy counters") from error
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """End the process, at once if it does not end by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class AppleMeter:
    """CPU, GPU and neural engine of one chip."""

    def __init__(self, child: Child, clock: Callable[[], float]) -> None:
        """Ask once. Raises NoAnswer where the chip's energy is not among the counters."""
        self._child = child
        self._clock = clock
        self._source = Source(
            name="IOReport",
            scope="whole chip",
            kind="counter",
            device="apple0",
            period_s=PERIOD_S,
            note="CPU, GPU and neural engine; memory and screen left out",
        )
        self._t_s, self._raw_j = self._ask()
        self._joules = self._raw_j

    @property
    def source(self) -> Source:
        """What it measures, and how well."""
        return self._source

    def read(self) -> Reading | None:
        """Look once. Raises MeterLost when the child does not answer.

        A counter that was set back or jumped lets the count fall back to 0, so that no window over
        that moment has an energy.
        """
        try:
            t_s, raw_j = self._ask()
        except NoAnswer as error:
            raise MeterLost(str(error)) from error
        gained_j = raw_j - self._raw_j
        possible = 0 <= gained_j <= MOST_W * (t_s - self._t_s + PERIOD_S)
        self._joules = self._joules + gained_j if possible else 0.0
        self._t_s, self._raw_j = t_s, raw_j
        return Reading(t_s=t_s, joules=self._joules)

    def _ask(self) -> tuple[float, float]:
        began_s = self._clock()
        joules = chip_joules(counters_of(self._child.ask()))
        if joules is None:
            raise NoAnswer("the chip's CPU and GPU are not among macOS's energy counters")
        return (began_s + self._clock()) / 2, joules

    def close(self) -> None:
        """End the child."""
        self._child.close()


def open_apple(wanted: Wanted) -> Opened:
    """Open the chip's counters on a Mac; nothing elsewhere, nor under a planted root."""
    if sys.platform != "darwin" or wanted.root != Path("/"):
        return Opened()
    if platform.machine() != "arm64":
        reason = "the power of an Intel Mac's processor needs administrator rights"
        missing = Missing(scope="CPU package", device="", reason=reason)
        return Opened(missing=(missing,))
    # -I and -S: the script needs the standard library alone, and starts faster without the rest.
    command = (sys.executable, "-I", "-S", apple_ioreport.__file__)
    return open_child(command, wanted.clock)


def open_child(
    command: Sequence[str], clock: Callable[[], float], answer_s: float = ANSWER_S
) -> Opened:
    """Open the meter that a command serves, or say why there is none."""
    try:
        child = Child(command, answer_s)
    except NoAnswer as error:
        return _missing(str(error))
    try:
        return Opened(meters=(AppleMeter(child, clock),))
    except NoAnswer as error:
        child.close()
        return _missing(str(error))


def _missing(reason: str) -> Opened:
    return Opened(missing=(Missing(scope="whole chip", device="apple0", reason=reason),))
