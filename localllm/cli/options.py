"""The options that commands share; the planning flags together become a ``Policy``.

``planning_options`` declares every planning flag once, with llama.cpp's short form and an
environment twin; ``chat``, ``plan`` and ``bench`` receive the result as ``policy``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import click

from localllm.cli.amounts import (
    parse_currency,
    parse_energy,
    parse_hour_price,
    parse_kwh_price,
    parse_power,
    parse_rate,
    prices_of,
)
from localllm.cli.completers import complete_hardware, complete_model, complete_plannable
from localllm.cli.declaring import Command, Function, Option, value_option
from localllm.core.policy import KV_TYPES, Policy
from localllm.words.parse import (
    PREFERENCES,
    parse_count,
    parse_flash_attn,
    parse_headroom,
    parse_kv_type,
    parse_n_ctx,
    parse_n_gpu_layers,
    parse_preference,
    parse_quant,
    parse_size,
    parse_tensor_split,
    parse_whole,
)

__all__ = [
    "CHOICE_FLAGS",
    "CONTEXT_SETTINGS",
    "Command",
    "Option",
    "complete_hardware",
    "complete_model",
    "complete_plannable",
    "hardware_option",
    "json_option",
    "markdown_option",
    "model_argument",
    "offline_option",
    "planning_options",
    "planning_options_without",
    "value_option",
    "yes_option",
]

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

CHOICE_FLAGS = ("prefer", "min_tok_s", "max_j_per_token")
"""Planning flags for commands that choose: a file that is run has its quantisation."""

_PLANNING = "Planning options (each has a LOCALLLM_* twin: --ctx is LOCALLLM_CTX)"
_KV_WORDS = (*KV_TYPES, "auto")
_QUANT_WORDS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K")

_planning_option = functools.partial(value_option, group=_PLANNING)

_PLANNING_OPTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "n_ctx": _planning_option(
        "-c", "--ctx", "--ctx-size", "n_ctx",
        parse=parse_n_ctx, metavar="N|max", words=("max",),
        help="Context in tokens; max is the largest that costs no GPU layer. [default: 8192]",
    ),
    "kv": _planning_option(
        "--kv", "kv",
        parse=parse_kv_type, metavar="TYPE", words=_KV_WORDS,
        help=f"Type of the KV cache: {', '.join(_KV_WORDS)} (the best that costs no GPU layer). "
        "[default: chosen with the quantisation, else f16]",
    ),
    "type_k": _planning_option(
        "-ctk", "--type-k", "--cache-type-k", "type_k",
        parse=parse_kv_type, metavar="TYPE", words=_KV_WORDS, help="Type of the K cache alone.",
    ),
    "type_v": _planning_option(
        "-ctv", "--type-v", "--cache-type-v", "type_v",
        parse=parse_kv_type, metavar="TYPE", words=_KV_WORDS, help="Type of the V cache alone.",
    ),
    "n_gpu_layers": _planning_option(
        "-ngl", "--n-gpu-layers", "--gpu-layers", "n_gpu_layers",
        parse=parse_n_gpu_layers, metavar="N|auto|all", words=("auto", "all"),
        help="Layers on GPUs, the output layer counted as one. [default: auto]",
    ),
    "n_cpu_moe": _planning_option(
        "-ncmoe", "--n-cpu-moe", "n_cpu_moe",
        parse=parse_whole, metavar="N",
        help="Keep the experts of the first N layers in RAM.",
    ),
    "tensor_split": _planning_option(
        "-ts", "--tensor-split", "tensor_split",
        parse=parse_tensor_split, metavar="A,B,...", help="Share of the layers for each GPU.",
    ),
    "n_ubatch": _planning_option(
        "-ub", "--ubatch", "--ubatch-size", "n_ubatch",
        parse=parse_count, metavar="N", help="Tokens computed at once. [default: chosen]",
    ),
    "n_batch": _planning_option(
        "-b", "--batch", "--batch-size", "n_batch",
        parse=parse_count, metavar="N", help="Tokens submitted at once. [default: 2048]",
    ),
    "flash_attn": _planning_option(
        "-fa", "--flash-attn", "flash_attn",
        parse=parse_flash_attn, metavar="on|off|auto", words=("on", "off", "auto"),
        help="Flash attention. [default: auto]",
    ),
    "n_threads": _planning_option(
        "-t", "--threads", "n_threads",
        parse=parse_count, metavar="N", help="CPU threads. [default: performance cores]",
    ),
    "depth": _planning_option(
        "--depth", "depth",
        parse=parse_whole, metavar="N",
        help="Tokens already in the context, for the speed estimate. [default: 0]",
    ),
    "quant": _planning_option(
        "--quant", "quant",
        parse=parse_quant, metavar="NAME", words=_QUANT_WORDS,
        help="Quantisation, such as Q4_K_M. [default: the file's own, or chosen where the name of "
        "a known model leaves it open]",
    ),
    "prefer": _planning_option(
        "--prefer", "prefer",
        parse=parse_preference, metavar="WHAT", words=PREFERENCES,
        help="What the choice is for: quality, balanced, speed or context. [default: balanced, the "
        "best quality that decodes at 10 tok/s]",
    ),
    "min_tok_s": _planning_option(
        "--min-tok-s", "min_tok_s",
        parse=parse_rate, metavar="N", help="Decode at least so fast, by the estimate.",
    ),
    "max_j_per_token": _planning_option(
        "--max-j-per-token", "max_j_per_token",
        parse=parse_energy, metavar="J", help="Spend at most so much energy on a decoded token.",
    ),
    "power_limit_w": _planning_option(
        "--power-limit", "power_limit_w",
        parse=parse_power, metavar="W",
        help="Estimate with every GPU capped to this (nothing is set).",
    ),
    "price_kwh": _planning_option(
        "--price-kwh", "price_kwh",
        parse=parse_kwh_price, metavar="PRICE",
        help="Price of electricity, for the cost of tokens: 0.30, 0.30EUR.",
    ),
    "price_hour": _planning_option(
        "--price-hour", "price_hour",
        parse=parse_hour_price, metavar="PRICE", help="Rent of the machine, electricity included.",
    ),
    "currency": _planning_option(
        "--currency", "currency",
        parse=parse_currency, metavar="CODE", words=("USD", "EUR", "GBP"),
        help="Currency of these prices. [default: as they are written, else USD]",
    ),
    "vram_headroom": _planning_option(
        "--vram-headroom", "vram_headroom",
        parse=parse_headroom, metavar="SIZE|%",
        help="Leave this free on every GPU: 1GiB, 5%, none.",
    ),
    "vram_budget_bytes": _planning_option(
        "--vram-budget", "vram_budget_bytes",
        parse=parse_size, metavar="SIZE", help="Use no more than this of each GPU.",
    ),
    "ram_budget_bytes": _planning_option(
        "--ram-budget", "ram_budget_bytes",
        parse=parse_size, metavar="SIZE", help="Use no more than this RAM.",
    ),
    "use_mmap": click.option(
        "--mmap/--no-mmap", "use_mmap",
        cls=Option, group=_PLANNING, default=None, envvar="LOCALLLM_MMAP",
        help="Map the file, or read it into memory. [default: map]",
    ),
    "repack": click.option(
        "--repack/--no-repack", " /-nr", "repack",
        cls=Option, group=_PLANNING, default=None, envvar="LOCALLLM_REPACK",
        help="Let llama.cpp rearrange CPU weights for speed. [default: repack]",
    ),
}  # fmt: skip


def planning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the planning flags to a command; it is called with one ``policy`` in their place."""
    return planning_options_without()(function)


def planning_options_without(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``planning_options`` without some, for a command with its own meaning for them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_policy(*args: Any, **values: Any) -> Any:
            wishes = {name: values.pop(name) for name in _PLANNING_OPTIONS if name in values}
            return function(*args, policy=_policy(wishes), **values)

        command: Callable[..., Any] = with_policy
        for name, option in reversed(_PLANNING_OPTIONS.items()):
            if name not in names:
                command = option(command)
        return command

    return decorate


def _policy(wishes: Mapping[str, Any]) -> Policy:
    """Return the policy; what was not given keeps the policy's own default."""
    given = {name: value for name, value in wishes.items() if value is not None}
    kv, headroom = given.pop("kv", None), given.pop("vram_headroom", None)
    prices = prices_of(*(given.pop(name, None) for name in ("price_kwh", "price_hour", "currency")))
    if prices is not None:
        given["prices"] = prices
    if kv is not None:
        given = {"type_k": kv, "type_v": kv} | given
    if headroom is not None:
        share = isinstance(headroom, float)
        given["vram_headroom_fraction" if share else "vram_headroom_bytes"] = headroom
    return Policy(**given)


def yes_option(function: Function) -> Function:
    """Add ``--yes``; the command receives ``yes``."""
    return click.option(
        "-y", "--yes", is_flag=True, cls=Option, envvar="LOCALLLM_YES", help="Ask nothing."
    )(function)


def offline_option(function: Function) -> Function:
    """Add ``--offline``: no packet leaves, whoever would send it; the command receives nothing.

    The environment is where huggingface_hub and every child process look.
    """

    def switch(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            os.environ["HF_HUB_OFFLINE"] = "1"

    return click.option(
        "--offline",
        is_flag=True,
        cls=Option,
        expose_value=False,
        callback=switch,
        envvar="LOCALLLM_OFFLINE",
        help="Use no network: what is here still works.",
    )(function)


def json_option(function: Function) -> Function:
    """Add ``--json``; the command receives ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, cls=Option, help="Print JSON on standard output."
    )(function)


def markdown_option(function: Function) -> Function:
    """Add ``--markdown``; the command receives ``as_markdown``."""
    return click.option(
        "--markdown", "as_markdown", is_flag=True, cls=Option, help="Print a GitHub table."
    )(function)


def hardware_option(*, help: str) -> Callable[[Function], Function]:
    """Declare ``--hardware``, which repeats; the command receives ``names``."""
    return click.option(
        "--hardware",
        "names",
        cls=Option,
        multiple=True,
        metavar="NAME|FILE",
        envvar="LOCALLLM_HARDWARE",
        shell_complete=complete_hardware,
        help=help,
    )


def model_argument(function: Function) -> Function:
    """Add the MODEL argument; the command receives ``model``, a name for ``resolve_model``."""
    return click.argument("model", metavar="MODEL", shell_complete=complete_model)(function)
