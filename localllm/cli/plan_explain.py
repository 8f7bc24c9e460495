"""The arithmetic behind a plan (``--explain``), for whoever wants to check it.

Every device's terms in bytes, so that the columns add up exactly, and where each came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.table import Table
from rich.text import Text

from localllm.core.cache import kv_cells, kv_layer_bytes
from localllm.core.memory import RunShape
from localllm.core.plan import DeviceMemory, Plan
from localllm.units import format_bytes
from localllm.words.memory import cached_pages, mapped_pages, place_name
from localllm.words.plan import difference_sentence

_TERMS: tuple[tuple[str, Callable[[DeviceMemory], int]], ...] = (
    ("model", lambda row: row.model_bytes),
    ("context", lambda row: row.context_bytes),
    ("compute", lambda row: row.compute_bytes),
    ("overhead", lambda row: row.overhead_bytes),
    ("taken by the GPU", lambda row: row.shared_bytes),
    ("headroom", lambda row: row.headroom_bytes),
)


def terms_table(plan: Plan) -> Table:
    """Bytes of every term on every device. The terms and what is spare add up to what is free."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text("bytes", style="dim"))
    for row in plan.devices:
        table.add_column(place_name(row), justify="right")
    for name, of in _TERMS:
        if any(of(row) for row in plan.devices):
            table.add_row(name, *(f"{of(row):,}" for row in plan.devices))
    table.add_row("spare", *(_known(row.spare_bytes) for row in plan.devices))
    table.add_row("= free now", *(_known(row.free_bytes) for row in plan.devices), style="bold")
    return table


def _known(n_bytes: int | None) -> str:
    return "?" if n_bytes is None else f"{n_bytes:,}"


def counted(plan: Plan) -> Iterator[str]:
    """Yield one line per term: what it is the sum of."""
    model = plan.model
    weights = sum(tensor.n_bytes for tensor in model.tensors)
    yield f"model: {len(model.tensors):,} tensors, {weights:,} bytes in the file's own types"
    yield from filter(None, (mapped_pages(plan), cached_pages(plan)))
    yield from _kv_lines(plan)
    yield (
        f"compute: batches of {plan.n_ubatch} tokens (submitted by {plan.n_batch}), "
        f"flash attention {plan.flash_attn}, n_outputs_max {plan.n_outputs_max}"
    )
    yield "overhead: what llama.cpp's own sum leaves out: backend context, pools, its process"
    for difference in plan.differences:
        yield difference_sentence(difference)
    for override in plan.tensor_overrides:
        yield f"kept in {override.buffer_type}: tensors like {override.pattern}"


def _kv_lines(plan: Plan) -> Iterator[str]:
    """One line for each group of layers with caches of one size."""
    model = plan.model
    shape = RunShape(
        n_ctx=plan.n_ctx,
        n_ubatch=plan.n_ubatch,
        type_k=plan.type_k,
        type_v=plan.type_v,
        flash_attn=plan.flash_attn != "off",
        n_seq=plan.n_seq,
        n_outputs_max=plan.n_outputs_max,
    )
    groups: dict[tuple[int, int, int, int], int] = {}
    for layer in range(model.n_layer):
        size = kv_layer_bytes(model, layer, shape)
        key = (
            kv_cells(model, layer, shape),
            model.n_embd_k_gqa(layer),
            model.n_embd_v_gqa(layer),
            size,
        )
        if size:
            groups[key] = groups.get(key, 0) + 1
    for (cells, n_k, n_v, size), count in groups.items():
        yield (
            f"context: {count} layers x {cells:,} cells x "
            f"({n_k:,} K as {plan.type_k} + {n_v:,} V as {plan.type_v}) = "
            f"{count} x {format_bytes(size)} = {format_bytes(count * size)}"
        )


def machine(plan: Plan) -> Iterator[str]:
    """Yield what the plan was made for."""
    hardware = plan.hardware
    yield f"{hardware.name} ({hardware.source}), {hardware.host.cpu}"
    yield from hardware.notes
