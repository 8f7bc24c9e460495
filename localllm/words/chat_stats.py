"""The figures of a chat, line by line: what each is about, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.core.reconcile import sentence
from localllm.units import format_bytes, format_duration
from localllm.words.energy_lines import Line
from localllm.words.figures import rate, short_duration

if TYPE_CHECKING:
    from localllm.core.generation import Loaded, RunStats, SampledOn
    from localllm.core.metered.live import Live
    from localllm.core.metered.readings import Health
    from localllm.core.plan import SpeedEstimate
    from localllm.core.reconcile import Comparison
    from localllm.core.totals import Totals


def answer_lines(stats: RunStats | None, sampled_on: SampledOn = "host") -> Iterator[Line]:
    """Yield how fast the last answer was, what it read, and how full the context is."""
    if stats is None:
        yield "last answer", "none yet"
        return
    yield (
        "last answer",
        joined(
            f"{stats.n_gen:,} tokens in {format_duration(stats.tg_s)}",
            f"tg {rate(stats.tg_tok_s)} tok/s",
            f"first token after {short_duration(stats.ttft_s)}",
            f"seed {stats.seed}",
            _drawn(sampled_on),
        ),
    )
    yield (
        "prompt",
        joined(
            f"{stats.n_prompt:,} tokens",
            f"{stats.n_cached:,} from the turn before",
            f"pp {rate(stats.pp_tok_s)} tok/s",
        ),
    )
    share = f"{stats.n_ctx_used / stats.n_ctx:.0%}" if stats.n_ctx else "–"
    yield "context", joined(f"{stats.n_ctx_used:,} of {stats.n_ctx:,} tokens", share)


def totals_line(totals: Totals) -> Line:
    """Return what all answers took together."""
    return (
        "session",
        joined(
            f"{totals.n_answers:,} answer{'s' * (totals.n_answers != 1)}",
            f"{totals.n_gen:,} tokens generated in {format_duration(totals.tg_s)}",
            f"{totals.n_prompt - totals.n_cached:,} read in {format_duration(totals.prompt_s)}",
        ),
    )


def memory_lines(compared: Sequence[Comparison], loaded: Loaded | None) -> Iterator[Line]:
    """Yield planned beside measured bytes of each device, and why none were measured."""
    if not compared and loaded is not None:
        yield "memory", joined("not measured", loaded.memory_unknown or "")
    for row in compared:
        yield f"memory {row.device}", sentence(row.reconciled)
    if loaded is not None and loaded.rss_bytes is not None:
        yield "", f"{format_bytes(loaded.rss_bytes)} resident in the engine's process"


def predicted_line(speed: SpeedEstimate) -> Line:
    """Return the speed that the plan estimates, and what bounds it."""
    return (
        "predicted",
        joined(
            f"tg {rate(speed.tg_tok_s)} tok/s ({rate(speed.tg_low)} to {rate(speed.tg_high)})",
            f"bound by {speed.bound_by}",
        ),
    )


def meters_lines(live: Live) -> Iterator[Line]:
    """Yield whose watts an answer will show, or why none, before there is one."""
    if live.scope is not None:
        yield "power", f"metered: {live.scope}"
    elif live.missing is not None:
        yield "power", f"— W: {live.missing}"


def health_lines(healths: Sequence[Health]) -> Iterator[Line]:
    """Yield how the devices are, as their meters last saw them."""
    for health in healths:
        clock = "" if health.clock_mhz is None else f"{health.clock_mhz:,.0f} MHz"
        if clock and health.clock_max_mhz is not None:
            clock += f" of {health.clock_max_mhz:,.0f}"
        yield (
            health.device,
            joined(
                "" if health.temperature_c is None else f"{health.temperature_c:.0f} °C",
                clock,
                f"held back: {' + '.join(health.throttle)}" if health.throttle else "",
                f"{len(health.other_pids)} other processes compute on it"
                if health.other_pids
                else "",
            ),
        )


def joined(*parts: str) -> str:
    """Return the parts that say something, as one text."""
    return " · ".join(part for part in parts if part)


def _drawn(sampled_on: SampledOn) -> str:
    """Where the tokens were drawn, unless it was on the host as usual."""
    if sampled_on == "host":
        return ""
    where = "on the GPU" if sampled_on == "device" else "on the host and on the GPU"
    return f"tokens drawn {where}"
