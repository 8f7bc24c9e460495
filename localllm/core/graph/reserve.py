"""The compute buffers of a whole model: its graph over the devices that hold its blocks.

``llama_context::sched_reserve``: the graphs of one full prompt batch and of one token are built and
laid out, and each buffer is as large as the larger of the two wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from localllm.core.graph.builder import Builder, Home
from localllm.core.graph.families import family_of, scales_embeddings
from localllm.core.graph.tensors import Graph, Tensor
from localllm.core.memory import N_CTX_PADDING, RunShape
from localllm.core.model import ModelSpec, TensorInfo

Blocks = Mapping[int, Mapping[str, TensorInfo]]


def batch_graph(
    model: ModelSpec,
    shape: RunShape,
    tensors: Blocks,
    layers: Sequence[tuple[int, Home]],
    output: Home,
    host: int,
    *,
    all_offloaded: bool,
    transposed_v: bool,
    few_tokens: bool = False,
) -> Graph:
    """Graph of a batch that llama.cpp reserves memory for: a full one, or one token a sequence.

    ``layers``: the blocks in order with their homes, the model's perhaps thinned out; ``host``: the
    CPU's number among the backends, where the input embedding always is. ``shape.flash_attn`` says
    how attention is computed, ``transposed_v`` how the cache was made.
    """
    first = layers[0][1] if layers else output
    b = Builder(
        model,
        shape,
        tensors,
        first,
        output,
        all_offloaded=all_offloaded,
        transposed_v=transposed_v,
        few_tokens=few_tokens,
    )
    b.enter(-1, Home(host, host, host, lambda _: False))
    g = b.graph
    tokens = b.input("tokens", (b.n_tokens,))
    x = g.expand(g.get_rows(b.needed("token_embd.weight"), tokens))
    g.expand(b.input("embeddings", (b.n_embd, b.n_tokens), "f32"))
    if scales_embeddings(model):
        x = g.like("unary", x)
    family = family_of(model.arch)
    late = family.late_outputs
    if family.begin is not None:
        x = family.begin(b, x)
    for index, (layer, home) in enumerate(layers):
        b.enter(layer, home)
        b.is_last = index == len(layers) - 1 and late == "no"
        x = family.block(b, x)
    b.enter_output()
    if family.end is not None:
        x = family.end(b, x)
    if late == "plain":
        x.is_output = True
        x = g.get_rows(x, b.out_ids)
    x = b.norm(x, "output_norm" if b.has("output_norm.weight") else "token_embd_norm")
    x.is_output = True
    if late == "normed":
        x = g.get_rows(x, b.out_ids)
        x.is_output = True
    logits = b.linear("output" if b.has("output.weight") else "token_embd", x)
    if family.logits is not None:
        logits = family.logits(b, logits)
    logits.is_output = True
    g.expand(logits)
    return g


def attention_probe(
    model: ModelSpec, shape: RunShape, tensors: Blocks, layer: int
) -> tuple[Tensor, ...]:
    """Fused attentions of one block, one token a sequence: what llama.cpp tries devices with."""
    here = Home(0, 0, 0, lambda _: False)
    graph = batch_graph(
        model,
        replace(shape, n_ctx=N_CTX_PADDING),
        tensors,
        [(layer, here)],
        here,
        0,
        all_offloaded=False,
        transposed_v=False,
        few_tokens=True,
    )
    return tuple(node for _, node in graph.attentions)
