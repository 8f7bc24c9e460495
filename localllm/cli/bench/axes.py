"""The settings that bench sweeps, by llama-bench's options: together they become ``Axes``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from localllm.cli.completers import items
from localllm.cli.options import Option
from localllm.core.bench.sweep import N_BATCH, N_UBATCH, Axes, LoadMode, SplitMode
from localllm.core.policy import KV_TYPES, FlashAttn, Policy
from localllm.errors import UsageError
from localllm.words import bench_lists as lists
from localllm.words.parse import parse_tensor_split

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

_SUFFIX = "_values"
"""Of the parameters here: the planning options take what has a setting's plain name."""

SWEPT_FLAGS = (
    "n_gpu_layers",
    "n_cpu_moe",
    "tensor_split",
    "n_batch",
    "n_ubatch",
    "kv",
    "type_k",
    "type_v",
    "flash_attn",
    "n_threads",
)
"""Planning flags that are lists here."""


def list_option(
    *declarations: str,
    parse: Callable[[str], tuple[T, ...]],
    metavar: str,
    help: str,
    words: Sequence[str] = (),
    group: str = "Options",
    parse_variable: Callable[[str], tuple[T, ...]] | None = None,
) -> Callable[[Function], Function]:
    """Declare an option that takes a list, and may be given several times, as in llama-bench.

    The command receives a tuple of all values, or None. ``parse_variable`` reads the environment
    twin where it is written otherwise there; ``words`` serve the shell.
    """
    long_name = next(d for d in declarations if d.startswith("--"))
    variable = "LOCALLLM_" + long_name.strip("-").replace("-", "_").upper()

    def read(
        ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
    ) -> tuple[T, ...] | None:
        assert parameter.name is not None
        from_variable = ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
        reader = parse_variable if from_variable and parse_variable else parse
        values: list[T] = []
        for text in texts:
            try:
                values += reader(text)
            except ValueError as error:
                name = variable if from_variable else long_name
                raise click.UsageError(f"{name}: {text!r} {error}.", ctx=ctx) from None
        return tuple(values) or None

    def complete_last(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return items(before + comma + word for word in words if word.startswith(last))

    return click.option(
        *declarations,
        cls=Option,
        group=group,
        shell_complete=complete_last,
        multiple=True,
        callback=read,
        metavar=metavar,
        help=help,
        envvar=variable,
    )


def one_split(text: str) -> tuple[tuple[float, ...] | None, ...]:
    """Read one split as the planning options write it: ``3,1``."""
    return (parse_tensor_split(text),)


_setting = functools.partial(
    list_option,
    group="Configurations (lists: every combination is measured)",
)

_SETTINGS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "n_gpu_layers": _setting(
        "-ngl", "--n-gpu-layers", "--gpu-layers", "n_gpu_layers_values",
        parse=lists.parse_layers, words=("auto", "all"), metavar="N|auto|all,...",
        help="Layers on GPUs, the output layer counted as one. [default: auto]",
    ),
    "n_cpu_moe": _setting(
        "-ncmoe", "--n-cpu-moe", "n_cpu_moe_values",
        parse=lists.parse_wholes, metavar="N,...",
        help="Keep the experts of the first N layers in RAM.",
    ),
    "split_mode": _setting(
        "-sm", "--split-mode", "split_mode_values",
        parse=lists.parse_split_modes, words=("none", "layer"), metavar="none|layer,...",
        help="One GPU, or layers for each. [default: layer]",
    ),
    "main_gpu": _setting(
        "-mg", "--main-gpu", "main_gpu_values",
        parse=lists.parse_wholes, metavar="N,...",
        help="The GPU of split mode none, from 0. [default: 0]",
    ),
    "tensor_split": _setting(
        "-ts", "--tensor-split", "tensor_split_values",
        parse=lists.parse_splits, parse_variable=one_split, metavar="A/B,...",
        help="Shares of the layers for each GPU, joined by /. [default: by the plan]",
    ),
    "load_mode": _setting(
        "-lm", "--load-mode", "load_mode_values",
        parse=lists.parse_load_modes, words=("auto", "mmap", "none"), metavar="auto|mmap|none,...",
        help="Map the file, or read it into memory. [default: map]",
    ),
    "use_mmap": _setting(
        "-mmp", "--use-mmap", "use_mmap_values",
        parse=lists.parse_mmaps, metavar="0|1,...", help="The same in older llama-bench's words.",
    ),
    "n_batch": _setting(
        "-b", "--batch", "--batch-size", "n_batch_values",
        parse=lists.parse_counts, metavar="N,...",
        help=f"Tokens submitted at once. [default: {N_BATCH}]",
    ),
    "n_ubatch": _setting(
        "-ub", "--ubatch", "--ubatch-size", "n_ubatch_values",
        parse=lists.parse_counts, metavar="N,...",
        help=f"Tokens computed at once. [default: {N_UBATCH}]",
    ),
    "kv": _setting(
        "--kv", "kv_values",
        parse=lists.parse_kv_types, words=KV_TYPES, metavar="TYPE,...",
        help=f"Type of the KV cache, K and V alike: {', '.join(KV_TYPES)}. [default: f16]",
    ),
    "type_k": _setting(
        "-ctk", "--type-k", "--cache-type-k", "type_k_values",
        parse=lists.parse_kv_types, words=KV_TYPES, metavar="TYPE,...",
        help="Type of the K cache alone.",
    ),
    "type_v": _setting(
        "-ctv", "--type-v", "--cache-type-v", "type_v_values",
        parse=lists.parse_kv_types, words=KV_TYPES, metavar="TYPE,...",
        help="Type of the V cache alone.",
    ),
    "flash_attn": _setting(
        "-fa", "--flash-attn", "flash_attn_values",
        parse=lists.parse_flash_attns, words=("on", "off", "auto"), metavar="on|off|auto,...",
        help="Flash attention. [default: auto]",
    ),
    "n_threads": _setting(
        "-t", "--threads", "n_threads_values",
        parse=lists.parse_counts, metavar="N,...", help="CPU threads. [default: performance cores]",
    ),
}  # fmt: skip


def axes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the settings to a command that takes a ``policy``; it is called with ``axes`` as well."""

    @functools.wraps(function)
    def with_axes(*args: Any, policy: Policy, **values: Any) -> Any:
        settings = {name: values.pop(name + _SUFFIX) for name in _SETTINGS}
        return function(*args, policy=policy, axes=axes_of(policy, **settings), **values)

    command: Callable[..., Any] = with_axes
    for option in reversed(_SETTINGS.values()):
        command = option(command)
    return command


def axes_of(
    policy: Policy,
    *,
    n_gpu_layers: tuple[int | None, ...] | None = None,
    n_cpu_moe: tuple[int, ...] | None = None,
    split_mode: tuple[SplitMode, ...] | None = None,
    main_gpu: tuple[int, ...] | None = None,
    tensor_split: tuple[tuple[float, ...] | None, ...] | None = None,
    load_mode: tuple[LoadMode, ...] | None = None,
    use_mmap: tuple[LoadMode, ...] | None = None,
    n_batch: tuple[int, ...] | None = None,
    n_ubatch: tuple[int, ...] | None = None,
    kv: tuple[str, ...] | None = None,
    type_k: tuple[str, ...] | None = None,
    type_v: tuple[str, ...] | None = None,
    flash_attn: tuple[FlashAttn, ...] | None = None,
    n_threads: tuple[int, ...] | None = None,
) -> Axes:
    """Return what is swept; None leaves a setting at its default. Raises UsageError.

    ``kv`` sets both caches at once, and ``type_k`` or ``type_v`` one of them in each of its values.
    """
    modes = (load_mode or ()) + (use_mmap or ())
    if modes and policy.use_mmap is not None:
        raise UsageError(
            "--mmap, --no-mmap and -lm say the same.", hint="Give a list to -lm alone."
        )
    return Axes(
        n_gpu_layers=n_gpu_layers or (None,),
        n_cpu_moe=n_cpu_moe or (None,),
        split_mode=split_mode or ("layer",),
        load_mode=modes or ("auto",),
        main_gpu=main_gpu or (0,),
        tensor_split=tensor_split or (None,),
        n_batch=n_batch or (N_BATCH,),
        n_ubatch=n_ubatch or (N_UBATCH,),
        cache=tuple(
            (k, v)
            for both in (kv or (None,))
            for k in (type_k or (both,))
            for v in (type_v or (both,))
        ),
        flash_attn=flash_attn or ("auto",),
        n_threads=n_threads or (None,),
    )
