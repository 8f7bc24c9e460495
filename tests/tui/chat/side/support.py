"""Runs to look at: real plans of named machines, and meters' values as such machines give them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from localllm.core.buffers import BufferMemory
from localllm.core.generation import Finished, Loaded, PromptProgress, RunStats, TextDelta
from localllm.core.joules import AnswerEnergy
from localllm.core.metered.live import Live
from localllm.core.metered.readings import Energy, Health, Unmeasured
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.core.reconcile import compare_memory
from localllm.session import Session, hardware_named
from localllm.talking.turn import Answer
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.looking import Moment, figures

PCI = "0000:01:00.0"


@cache
def plan_of(model: str, *machines: str) -> Plan:
    """The real plan of a known model on a known machine, whose card has an address."""
    hardware = hardware_named(*machines)
    devices = tuple(replace(device, pci_id=PCI) for device in hardware.devices)
    with Session(hardware=replace(hardware, devices=devices), basis="formula") as session:
        return session.plan_decided(session.find_for_plan(model, Policy()))


def gpu_plan() -> Plan:
    return plan_of("qwen3-8b", "rtx-4060-ti-16gb")


def cpu_plan() -> Plan:
    return plan_of("llama-3-8b", "desktop-ddr5")


def loaded(plan: Plan, *, more_bytes: int = 0) -> Loaded:
    """A load that took what was planned, and ``more_bytes`` for computing."""
    memory = tuple(
        BufferMemory(
            name=row.name,
            model_bytes=row.model_bytes,
            mapped_bytes=row.mapped_bytes,
            context_bytes=row.context_bytes,
            compute_bytes=row.compute_bytes + more_bytes,
        )
        for row in plan.devices
    )
    return Loaded(
        load_s=2.0,
        n_ctx=plan.n_ctx,
        n_vocab=plan.model.n_vocab,
        description="",
        memory=memory,
        rss_bytes=None,
        template="model",
        can_shift=True,
    )


def moment(
    plan: Plan,
    live: Live,
    *,
    more_bytes: int = 0,
    used_bytes: int | None = None,
    resident_bytes: int | None = None,
) -> Moment:
    load = loaded(plan, more_bytes=more_bytes)
    health = Health(t_s=0.0, device="nvidia0", pci_id=PCI, used_bytes=used_bytes)
    return Moment(
        plan=plan,
        loaded=load,
        compared=compare_memory(plan, load.memory),
        live=live,
        healths=(health,) if used_bytes is not None else (),
        resident_bytes=resident_bytes,
    )


BOARD = Live(
    watts=118.4,
    scope="GPU board",
    sources=("NVML energy counter",),
    temperature_c=61.0,
    clock_mhz=2520.0,
    clock_max_mhz=3105.0,
    throttle_told=True,
)
HELD_BACK = replace(BOARD, temperature_c=83.0, clock_mhz=1410.0, throttle=("power cap", "thermal"))
NO_METER = Live(
    missing="no permission to read RAPL",
    fix="sudo chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj",
)


def asked(course: Course, now_s: float = 100.0) -> Course:
    course.asked(now_s)
    return course


def reading(course: Course, *, n_done: int, n_total: int, n_cached: int = 0) -> Course:
    """Half a second a step: the prompt so far."""
    asked(course)
    course.take(PromptProgress(n_done=n_cached, n_total=n_total, n_cached=n_cached), 100.0)
    course.take(PromptProgress(n_done=n_done, n_total=n_total, n_cached=n_cached), 100.5)
    return course


def answering(
    course: Course, *, n_tokens: int, tok_s: float, watts: float | None = None, n_prompt: int = 1024
) -> float:
    """Tokens at a speed that dips for a while; returns when the last one came."""
    reading(course, n_done=n_prompt, n_total=n_prompt)
    t_s, every_s = 0.0, 1 / tok_s
    for n in range(1, n_tokens + 1):
        now_s = 100.5 + t_s
        course.take(TextDelta(text="a", channel="answer", n_tokens=n, tg_s=t_s), now_s)
        if watts is not None and n % 8 == 0:
            course.seen(replace(BOARD, watts=watts * (1 + 0.05 * (n % 3))), now_s)
        t_s += every_s * (1.6 if n_tokens // 3 < n < n_tokens // 2 else 1.0)
    return 100.5 + t_s - every_s


def stats(*, n_gen: int, tg_s: float, n_prompt: int = 1024, n_ctx: int = 8192) -> RunStats:
    return RunStats(
        n_prompt=n_prompt,
        n_cached=n_prompt // 2,
        n_gen=n_gen,
        prompt_s=0.25,
        tg_s=tg_s,
        ttft_s=0.31,
        n_ctx=n_ctx,
        n_ctx_used=n_prompt + n_gen,
        seed=1,
    )


def energy(*, watts: float, seconds: float, idle_w: float | None = 12.0) -> Energy:
    return Energy(
        joules=watts * seconds,
        sigma_j=0.4 * seconds,
        gain=0.05,
        began_s=100.5,
        ended_s=100.5 + seconds,
        scope="GPU board",
        sources=("NVML energy counter",),
        kinds=("counter",),
        idle_w=idle_w,
        idle_sigma_w=0.1,
    )


def ended(
    course: Course, took: Energy | Unmeasured, *, n_gen: int = 301, tg_s: float = 8.0
) -> None:
    """The answer ends as an engine tells it, with its energy."""
    finished = Finished(reason="stop", stats=stats(n_gen=n_gen, tg_s=tg_s))
    course.take(finished, 120.0)
    took_all = AnswerEnergy(prefill=took, decode=took, total=took)
    course.ended(Answer(reason="stop", finished=finished, energy=took_all))


def seen(at: Moment, course: Course, now_s: float, *, context_shift: bool = False) -> RunFigures:
    return figures(at, course, context_shift=context_shift, now_s=now_s)
