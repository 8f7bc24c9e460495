"""Wishes as a command line: what a person types to get the same plan, here or in llama.cpp.

Only what differs from the defaults is spelled out. ``cli/options.py`` reads it back to the same
policy; what has no flag (several sequences, headroom that a failed load asked for) is not said.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

from localllm.core.plan import Plan
from localllm.core.policy import Policy, Prices
from localllm.core.text import printable

Command = tuple[str, ...]
Verb = Literal["plan", "chat", "bench"]

_FLAGS = {
    "n_ctx": "--ctx",
    "type_k": "--type-k",
    "type_v": "--type-v",
    "n_gpu_layers": "--n-gpu-layers",
    "n_cpu_moe": "--n-cpu-moe",
    "n_batch": "--batch",
    "n_ubatch": "--ubatch",
    "flash_attn": "--flash-attn",
    "n_threads": "--threads",
    "depth": "--depth",
    "vram_headroom_bytes": "--vram-headroom",
    "vram_budget_bytes": "--vram-budget",
    "ram_budget_bytes": "--ram-budget",
    "power_limit_w": "--power-limit",
}
_WISHES = {
    "quant": "--quant",
    "prefer": "--prefer",
    "min_tok_s": "--min-tok-s",
    "max_j_per_token": "--max-j-per-token",
}
"""What a choice answers."""
_SWITCHES = {"use_mmap": ("--mmap", "--no-mmap"), "repack": ("--repack", "--no-repack")}
_SHARES = {"plan": ",", "chat": ",", "bench": "/"}
"""What joins the shares of a split: bench takes lists of them."""


def command(verb: Verb, name: str, policy: Policy, machines: Iterable[str] = ()) -> Command:
    """Return the command that plans, runs or measures a model under some wishes.

    ``machines``: names for ``--hardware``, which only ``plan`` takes.
    """
    if verb == "bench":  # it measures one fixed plan, and takes depths as tests
        usual = Policy()
        policy = replace(
            policy,
            depth=usual.depth,
            prefer=usual.prefer,
            min_tok_s=usual.min_tok_s,
            max_j_per_token=usual.max_j_per_token,
        )
    elsewhere = hardware_flags(machines) if verb == "plan" else ()
    flags = (*wish_flags(policy), *policy_flags(policy, joined_by=_SHARES[verb]))
    return ("localllm", verb, name, *elsewhere, *flags)


def command_line(command: Sequence[str]) -> str:
    """Return the command as it can be typed again."""
    return printable(shlex.join(command))


def llama_command(plan: Plan) -> Command:
    """Return the command that serves a plan with llama.cpp's own program."""
    return ("llama-server", *plan.llama_args)


def in_lines(command: Sequence[str]) -> str:
    """Return a command with one flag and its value on a line, to be pasted as it stands."""
    lines: list[list[str]] = [[]]
    for word in command:
        if word.startswith("-") and len(word) > 1 and not _is_number(word):
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(command_line(line) for line in lines)


def hardware_flags(machines: Iterable[str]) -> Iterator[str]:
    """Yield ``--hardware`` once for each name."""
    for name in machines:
        yield from ("--hardware", name)


def wish_flags(policy: Policy) -> Iterator[str]:
    """Yield the flags of what a choice is made by: quantisation, preference, speed, prices."""
    for name, value in _stated(policy):
        if name in _WISHES:
            yield from (_WISHES[name], str(value))
        elif name == "prices":
            yield from _price_flags(value)


def policy_flags(chosen: Policy, *, joined_by: str = ",") -> Iterator[str]:
    """Yield the planning flags of a choice; what is as usual needs none.

    Wishes that the choice has answered (``wish_flags``) are not among them.
    """
    alike = chosen.type_k is not None and chosen.type_k == chosen.type_v
    if alike:
        yield from ("--kv", str(chosen.type_k))
    for name, value in _stated(chosen):
        if alike and name in ("type_k", "type_v"):
            continue
        if name == "vram_headroom_bytes" and chosen.vram_headroom_fraction is not None:
            continue  # the share wins
        if name in _FLAGS:
            yield from (_FLAGS[name], str(value))
        elif name == "tensor_split":
            yield from ("--tensor-split", joined_by.join(_number(share) for share in value))
        elif name == "vram_headroom_fraction":
            yield from ("--vram-headroom", _percent(value))
        elif name in _SWITCHES:
            yield _SWITCHES[name][0 if value else 1]


def _stated(policy: Policy) -> Iterator[tuple[str, Any]]:
    """What a policy says beyond the defaults, in the order of its fields."""
    usual = Policy()
    for field in fields(Policy):
        value = getattr(policy, field.name)
        if value != getattr(usual, field.name) and value is not None:
            yield field.name, value


def _price_flags(prices: Prices) -> Iterator[str]:
    for flag, price in (("--price-kwh", prices.per_kwh), ("--price-hour", prices.per_hour)):
        if price is not None:
            yield from (flag, _number(price))
    yield from ("--currency", prices.currency)


def _number(value: float) -> str:
    """A number as short as it can be written without becoming another one."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _percent(share: float) -> str:
    """A percentage that is read as the same share, as short as it can be.

    What no percentage is read as, which nobody can have typed, comes out a rounding error off.
    """
    texts = (f"{100 * share:.{digits}g}" for digits in range(6, 18))
    return next((f"{text}%" for text in texts if float(text) / 100 == share), f"{100 * share!r}%")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
