"""What a process really holds in RAM, told apart by kind, beside what a plan says of the host.

The kinds are the kernel's: anonymous pages, pages of the mapped model, pages of other files
(libraries). Only Linux tells them of another process (``/proc/PID/smaps``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from localllm.core.buffers import BufferMemory
from localllm.core.generation import BenchTest, Died, Event, Failed, LoadNote
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.engine.client import EngineClient
from localllm.session import LocalModel, Session, detect_hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Resident memory of one process, in bytes."""

    anonymous_bytes: int
    mapped_bytes: int
    """Pages of the mapped model files: page cache, which the kernel may drop and read again."""
    library_bytes: int
    """Pages of libraries and of every other file, and shared memory."""
    peak_bytes: int
    """The most that was ever resident at once (``VmHWM``)."""

    @property
    def own_bytes(self) -> int:
        """Everything but the mapped model."""
        return self.anonymous_bytes + self.library_bytes

    @property
    def rss_bytes(self) -> int:
        """All resident pages, as ``VmRSS`` counts them."""
        return self.own_bytes + self.mapped_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model, planned, loaded and used on the CPU alone."""

    plan: Plan
    llama: BufferMemory | None
    """llama.cpp's own breakdown of the host; None where it cannot be read."""
    after_load: Resident
    after_work: Resident
    """After a full prompt batch and a few tokens."""
    helper_bytes: int
    """What the engine's own children (the template renderer) hold for themselves."""

    @property
    def planned_own_bytes(self) -> int:
        """What the plan says of everything but the mapped model."""
        host = self.plan.host
        return host.needed_bytes - host.mapped_bytes

    @property
    def planned_mapped_bytes(self) -> int:
        """The part of the mapped model that the plan says is used."""
        return self.plan.host.mapped_bytes

    @property
    def planned_span_bytes(self) -> int:
        """The part of the mapped model that stays resident while nobody needs the memory."""
        return self.plan.host.mapped_bytes + self.plan.host.cached_bytes

    @property
    def planned_rss_bytes(self) -> int:
        """What the process should hold altogether."""
        return self.planned_own_bytes + self.planned_span_bytes


def resident(pid: int, files: Iterable[Path], *, proc: Path = Path("/proc")) -> Resident:
    """Read what process ``pid`` holds; ``files`` are the model's. Raises OSError when it ended."""
    names = {str(path.resolve()) for path in files}
    anonymous = mapped = other = rss = 0
    of_model = False
    for line in (proc / str(pid) / "smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if " " in key:  # a new mapping: "7f00-7f01 r--s 00000000 08:01 42   /path"
            of_model = line.split(None, 5)[-1] in names
        elif key == "Rss":
            rss = _kib(rest)
        elif key == "Anonymous":  # a program's own copies of a file's pages included
            anonymous += _kib(rest)
            if of_model:
                mapped += rss - _kib(rest)
            else:
                other += rss - _kib(rest)
    return Resident(
        anonymous_bytes=anonymous,
        mapped_bytes=mapped,
        library_bytes=other,
        peak_bytes=_status_bytes(proc / str(pid) / "status", "VmHWM"),
    )


def run(model: LocalModel, policy: Policy, *, n_gen: int = 4) -> Run:
    """Load ``model`` on the CPU under its plan, evaluate one full prompt batch and some tokens.

    Raises SystemExit where the plan does not fit or the engine fails.
    """
    hardware = replace(detect_hardware(), devices=())
    with EngineClient() as engine, Session(hardware=hardware, engine=engine) as session:
        plan = session.make_plan(model, policy)
        if plan.verdict != "fits":
            raise SystemExit(f"error: {model.name} does not fit into this machine's RAM")
        _drain(session.load(model, plan))
        pid = engine.pid
        assert pid is not None and session.loaded is not None
        after_load = resident(pid, model.paths)
        n_prompt = min(plan.n_ubatch, plan.n_ctx - n_gen)
        _drain(session.bench((BenchTest(n_prompt=n_prompt, n_gen=n_gen, repetitions=1),)))
        return Run(
            plan=plan,
            llama=next((row for row in session.loaded.memory if row.name == "host"), None),
            after_load=after_load,
            after_work=resident(pid, model.paths),
            helper_bytes=sum(_private_bytes(child) for child in _children(pid)),
        )


def _drain(events: Iterator[Event | LoadNote]) -> None:
    for event in events:
        if isinstance(event, (Failed, Died)):
            raise SystemExit(f"error: {event.message}")


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in text.read_text().split()] if text.exists() else []


def _private_bytes(pid: int) -> int:
    """Proportional share of a process, libraries that others use divided among them."""
    return _status_bytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _status_bytes(path: Path, wanted: str) -> int:
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(":")
        if key == wanted:
            return _kib(rest)
    return 0


def _kib(text: str) -> int:
    return int(text.split()[0]) * 1024
