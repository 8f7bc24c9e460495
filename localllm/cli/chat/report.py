"""What a chat says about itself in lines: the banner, ``/stats``, the figures under an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.cli.chat.energy_lines import energy_lines, footer_piece
from localllm.cli.chat.figures import status_of
from localllm.cli.chat.names import label
from localllm.cli.chat.state import Chat
from localllm.cli.chat.status import rate
from localllm.cli.chat.turn import Answer
from localllm.core.generation import RunStats
from localllm.core.plan import Plan
from localllm.core.prediction import predicted
from localllm.core.reconcile import sentence
from localllm.core.text import printable
from localllm.units import format_bytes, format_duration, format_rate

if TYPE_CHECKING:
    from localllm.session import Summary

_TEMPLATES = {"model": "from the model", "built-in": "built in", "none": "none"}


def model_line(chat: Chat) -> str:
    """Return what is loaded and how it is placed, in one line, the name first."""
    session = chat.session
    plan, loaded, model = session.plan, session.loaded, session.model
    if plan is None or model is None:
        return "not loaded"
    parts = [label(model), format_bytes(model.spec.file_bytes), _placement(plan)]
    if loaded is not None:
        parts.append(f"context {loaded.n_ctx:,} ({_kv(plan)})")
    return " · ".join(parts)


def load_line(chat: Chat) -> str:
    """Return what the load showed: predicted beside measured memory, the time, the template."""
    loaded, status = chat.session.loaded, status_of(chat)
    parts: list[str] = []
    if status.planned_bytes is not None:
        measured = status.measured_bytes
        parts.append(
            f"memory {format_bytes(status.planned_bytes)} planned, "
            + (f"{format_bytes(measured)} measured" if measured is not None else "not measured")
        )
    if loaded is not None:
        parts.append(f"loaded in {format_duration(loaded.load_s)}")
        parts.append(f"template {_TEMPLATES[loaded.template]}")
    return " · ".join(parts)


def footer(answer: Answer, plan: Plan | None = None) -> str | None:
    """Return the figures under an answer, the plan's estimate beside them; None without any."""
    stats = answer.stats
    if stats is None:
        return None
    parts = (
        f"{stats.n_gen:,} token{'s' * (stats.n_gen != 1)}",
        f"{rate(stats.tg_tok_s)} tok/s{_estimated(stats, plan)}",
        footer_piece(stats, answer.energy, plan),
        f"first after {short_duration(stats.ttft_s)}",
    )
    return " · ".join(part for part in parts if part)


def _estimated(stats: RunStats, plan: Plan | None) -> str:
    """The estimate for this answer, at its depth, in brackets."""
    if plan is None or stats.tg_tok_s is None:
        return ""
    estimate = predicted(plan, "tg", n_tokens=stats.n_gen - 1, depth=stats.n_prompt)
    if estimate is None:
        return ""
    low, high = (format_rate(end, digits=2) for end in (estimate.low, estimate.high))
    return f" (estimated {rate(estimate.tok_s)}, range {low} to {high})"


def short_duration(seconds: float) -> str:
    """Return a duration, in milliseconds below a second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else format_duration(seconds)


def ending(answer: Answer, chat: Chat) -> str | None:
    """Return why an answer ended, where that is not the model's own end, and the ways on."""
    loaded = chat.session.loaded
    if answer.reason == "cancelled":
        return "stopped"
    if answer.reason == "length":
        return f"cut at max_tokens {chat.settings.max_tokens}: /set max_tokens none"
    if answer.reason == "context_full":
        n_ctx = f"{loaded.n_ctx:,}" if loaded is not None else "all"
        shift = (
            ", /set context_shift on drops the oldest part"
            if loaded is not None and loaded.can_shift and not chat.settings.context_shift
            else ""
        )
        return f"the context is full ({n_ctx} tokens): /clear starts anew, --ctx gives more{shift}"
    return None


def stats(chat: Chat) -> Iterator[str]:
    """Yield the lines of ``/stats``."""
    last = chat.last.stats if chat.last is not None else None
    if last is None:
        yield _line("last answer", "none yet")
    else:
        yield _line(
            "last answer",
            f"{last.n_gen:,} tokens in {format_duration(last.tg_s)}",
            f"tg {rate(last.tg_tok_s)} tok/s",
            f"first token after {short_duration(last.ttft_s)}",
            f"seed {last.seed}",
            _drawn(chat),
        )
        yield _line(
            "prompt",
            f"{last.n_prompt:,} tokens",
            f"{last.n_cached:,} from the turn before",
            f"pp {rate(last.pp_tok_s)} tok/s",
        )
        share = f"{last.n_ctx_used / last.n_ctx:.0%}" if last.n_ctx else "–"
        yield _line("context", f"{last.n_ctx_used:,} of {last.n_ctx:,} tokens", share)
    totals = chat.totals
    yield _line(
        "session",
        f"{totals.n_answers:,} answer{'s' * (totals.n_answers != 1)}",
        f"{totals.n_gen:,} tokens generated in {format_duration(totals.tg_s)}",
        f"{totals.n_prompt - totals.n_cached:,} read in {format_duration(totals.prompt_s)}",
    )
    yield from _memory(chat)
    plan = chat.session.plan
    if plan is not None and plan.speed is not None:
        speed = plan.speed
        yield _line(
            "predicted",
            f"tg {rate(speed.tg_tok_s)} tok/s ({rate(speed.tg_low)} to {rate(speed.tg_high)})",
            f"bound by {speed.bound_by}",
        )
    if last is not None and chat.last is not None:
        for name, text in energy_lines(last, chat.last.energy, plan):
            yield _line(name, text)
    else:
        yield from _meters(chat)
    yield from _health(chat)
    yield _line("kept in", str(chat.conversation.path or "nothing: it is not being kept"))


def conversations(rows: Sequence[Summary]) -> list[str]:
    """Return one line per conversation, the one used last first."""
    return [
        f"  {row.id}  {_age(time.time() - row.modified_s):>11}  {row.n_messages:>3} messages  "
        + printable(row.title)
        for row in rows
    ] or ["  No conversation has been kept yet."]


def _memory(chat: Chat) -> Iterator[str]:
    session = chat.session
    compared = session.memory_comparison()
    if not compared and session.loaded is not None:
        yield _line("memory", "not measured", session.loaded.memory_unknown or "")
    for row in compared:
        yield _line(f"memory {row.device}", sentence(row.reconciled))
    if session.loaded is not None and session.loaded.rss_bytes is not None:
        yield _line(
            "", f"{format_bytes(session.loaded.rss_bytes)} resident in the engine's process"
        )


def _drawn(chat: Chat) -> str:
    """Where the tokens were drawn, unless it was on the host as usual."""
    finished = chat.last.finished if chat.last is not None else None
    if finished is None or finished.sampled_on == "host":
        return ""
    where = "on the GPU" if finished.sampled_on == "device" else "on the host and on the GPU"
    return f"tokens drawn {where}"


def _meters(chat: Chat) -> Iterator[str]:
    """Whose watts an answer will show, or why none, before there is one."""
    if chat.session.measuring.meters is None:
        return
    live = chat.live()
    if live.scope is not None:
        yield _line("power", f"metered: {live.scope}")
    elif live.missing is not None:
        yield _line("power", f"— W: {live.missing}")


def _health(chat: Chat) -> Iterator[str]:
    """How the devices are, as their meters last saw them, and what no meter sees."""
    meters = chat.session.measuring.meters
    for health in meters.health() if meters is not None else ():
        clock = "" if health.clock_mhz is None else f"{health.clock_mhz:,.0f} MHz"
        if clock and health.clock_max_mhz is not None:
            clock += f" of {health.clock_max_mhz:,.0f}"
        yield _line(
            health.device,
            "" if health.temperature_c is None else f"{health.temperature_c:.0f} °C",
            clock,
            f"held back: {' + '.join(health.throttle)}" if health.throttle else "",
            f"{len(health.other_pids)} other processes compute on it" if health.other_pids else "",
        )


def _line(name: str, *parts: str) -> str:
    return f"  {name:<12}  {' · '.join(part for part in parts if part)}"


def _placement(plan: Plan) -> str:
    names = [d.name for d in plan.devices if d.kind == "gpu"]
    if not names or not plan.n_gpu_layers:
        return f"CPU, {plan.n_threads} thread{'s' * (plan.n_threads != 1)}"
    return f"{plan.n_gpu_layers}/{plan.n_layer_total} layers on {' + '.join(names)}"


def _kv(plan: Plan) -> str:
    if plan.type_k == plan.type_v:
        return f"KV {plan.type_k}"
    return f"K {plan.type_k}, V {plan.type_v}"


def _age(seconds: float) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {name}{'s' * (n != 1)}"
    return "just now"
