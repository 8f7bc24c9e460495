"""What every block's graph is built from: the batch, its inputs, and the weights by place.

``llm_graph_context`` in ``src/llama-graph.cpp``. A batch is the worst case that llama.cpp reserves
memory for: ``min(n_ctx, n_ubatch)`` tokens, a full cache, all outputs that may be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from localllm.core.cache import kv_cells
from localllm.core.ggml import row_bytes
from localllm.core.graph.tensors import Dims, Graph, Tensor
from localllm.core.memory import RunShape, padded_n_ctx
from localllm.core.model import LayerHparams, MetadataValue, ModelSpec, TensorInfo

ROTATION_STEP = 64
"""Heads that are multiples of this are rotated before a quantised cache (``attn_rot``)."""


_SMALL_BATCH = 32
_NEVER_PINNED = frozenset({"post_ffw_norm"})


@dataclass(frozen=True, slots=True)
class Home:
    """Where one block lies: its backend, that of its routed experts, and what may be streamed."""

    backend: int
    experts: int
    cache: int
    """Backend of the cache that it reads: its own, or an earlier block's."""
    on_host: Callable[[TensorInfo], bool]
    """Whether a tensor lies in host memory that a device may copy it from (not repacked)."""
    host: int = 0
    """The CPU's number among the backends."""
    left: frozenset[str] = frozenset()
    """Tensors that stay in RAM because the block's device cannot use them."""


class Builder:
    """The graph of one batch, block by block."""

    def __init__(
        self,
        model: ModelSpec,
        shape: RunShape,
        tensors: Mapping[int, Mapping[str, TensorInfo]],
        first: Home,
        output: Home,
        *,
        all_offloaded: bool,
        transposed_v: bool,
        few_tokens: bool = False,
    ) -> None:
        """``tensors``: of each block by their names without ``blk.N.``; -1 is input and output.

        ``first``, ``output``: homes of the first block and of the output. ``transposed_v``: the
        cache was made for attention without flash attention. ``few_tokens``: a batch of one token
        a sequence, as answers are generated.
        """
        self.graph = Graph()
        self.model = model
        self.shape = shape
        self.transposed_v = transposed_v
        self.n_embd = model.n_embd
        n_seq = shape.n_seq
        # A causal batch is no longer than the context that was asked for, before padding.
        n_ctx = shape.n_ctx if model.causal_attn else padded_n_ctx(shape.n_ctx, n_seq=n_seq)
        n_tokens = n_seq if few_tokens else min(n_ctx, shape.n_ubatch)
        self.n_seq = n_seq
        self.n_tokens = -(-n_tokens // n_seq) * n_seq
        self.n_outputs = min(n_tokens, max(shape.n_outputs_max, n_seq))
        self._pins = all_offloaded or self.n_tokens < _SMALL_BATCH
        self.is_last = False
        """Whether the block being built is the last: it goes on with the outputs' rows alone."""
        self._tensors = tensors
        self._of_layer: Mapping[str, TensorInfo] = {}
        self.layer = 0
        self._home = Home(0, 0, 0, lambda _: False)
        self._first = first
        self._output = output
        self._masks: dict[int, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        self._shared: dict[tuple[str, int], Tensor] = {}
        self.carried: dict[str, Tensor] = {}
        """What a family's beginning keeps for its blocks."""

    # ------------------------------------------------------------------ the block at hand

    def enter(self, layer: int, home: Home) -> None:
        """Go to a block (-1: input and output)."""
        self.layer = layer
        self._home = home
        self._of_layer = self._tensors.get(layer, {})

    def enter_first(self) -> None:
        """Go to the tensors that have no block's name and yet lie with the first one's."""
        self.enter(-1, self._first)

    def enter_output(self) -> None:
        """Go to the output and what lies with it."""
        self.enter(-1, self._output)

    @property
    def hparams(self) -> LayerHparams:
        """Hyperparameters of the block at hand."""
        return self.model.layers[self.layer]

    @property
    def head_k(self) -> int:
        """Size of a K head of the block at hand."""
        model = self.model
        return (model.n_embd_head_k_swa if self.hparams.is_swa else 0) or model.n_embd_head_k

    @property
    def head_v(self) -> int:
        """Size of a V head of the block at hand."""
        model = self.model
        return (model.n_embd_head_v_swa if self.hparams.is_swa else 0) or model.n_embd_head_v

    def has(self, name: str) -> bool:
        """Whether the block has a tensor (``attn_q.weight``)."""
        return name in self._of_layer

    def dims(self, name: str) -> Dims:
        """Shape of one of the block's tensors; KeyError where it has none."""
        return self._of_layer[name].shape

    @property
    def block_dims(self) -> dict[str, Dims]:
        """Names and shapes of all the block's tensors."""
        return {name: info.shape for name, info in self._of_layer.items()}

    def weight(self, name: str) -> Tensor | None:
        """One of the block's tensors, or None."""
        info = self._of_layer.get(name)
        if info is None:
            return None
        home = self._home
        backend = home.experts if "_exps" in name else home.backend
        if info.name in home.left:
            backend = home.host
        tensor = self.graph.stored(info.shape, info.n_bytes, backend, type_=info.type, weight=True)
        tensor.streamable = home.on_host(info)
        return tensor

    def shared(self, name: str) -> Tensor | None:
        """Return a tensor that every block uses, one per backend; None where there is none."""
        info = self._tensors.get(-1, {}).get(name)
        if info is None:
            return None
        key = (name, self._home.backend)
        if key not in self._shared:
            tensor = self.graph.stored(
                info.shape, info.n_bytes, self._home.backend, type_=info.type, weight=True
            )
            tensor.streamable = self._home.on_host(info)
            self._shared[key] = tensor
        return self._shared[key]

    def needed(self, name: str) -> Tensor:
        """One of the block's tensors; KeyError where it has none."""
        tensor = self.weight(name)
        if tensor is None:
            raise KeyError(name)
        return tensor

    def cache(self, ne: Dims, type_: str = "f32") -> Tensor:
        """A part of the context's memory on the block's backend."""
        n_bytes = row_bytes(type_, ne[0]) * prod(ne[1:])
        return self.graph.stored(ne, n_bytes, self._home.cache, type_=type_)

    def note_attention(self, node: Tensor) -> None:
        """Remember a fused attention of the block at hand."""
        self.graph.attentions.append((self._home.backend, node))

    # ------------------------------------------------------------------ inputs

    def input(self, name: str, ne: Dims, type_: str = "i32") -> Tensor:
        """One of the batch's inputs, made once."""
        if name not in self._inputs:
            self._inputs[name] = self.graph.input(ne, type_)
        return self._inputs[name]

    @property
    def positions(self) -> Tensor:
        """Token positions, I32."""
        return self.input("positions", (self.n_tokens,))

    @property
    def out_ids(self) -> Tensor:
        """Which rows are outputs, I32."""
        return self.input("out_ids", (self.n_outputs,))

    @cached_property
    def state_ids(self) -> tuple[Tensor, Tensor]:
        """Which states the batch reads, and which others are moved (none): views of one input."""
        ids = self.input("states", (self.n_seq,))
        g = self.graph
        return g.view(ids, (self.n_seq,), packed=True), g.view(ids, (0,), packed=True)

    @property
    def n_kv(self) -> int:
        """Cells of the block's cache, per sequence."""
        return kv_cells(self.model, self.layer, self.shape) // self.n_seq

    @property
    def mask(self) -> Tensor:
        """``[n_kv, n_tokens / n_seq, 1, n_seq]``: F16 with flash attention, F32 without."""
        window = int(self._in_window)
        if window not in self._masks:
            ne = (self.n_kv, self.n_tokens // self.n_seq, 1, self.n_seq)
            self._masks[window] = self.graph.input(ne, "f16" if self.shape.flash_attn else "f32")
        return self._masks[window]

    @cached_property
    def has_states(self) -> bool:
        """Whether any block keeps a state."""
        return any(layer.is_recurrent for layer in self.model.layers)

    @property
    def _in_window(self) -> bool:
        return self.hparams.is_swa and self.model.n_swa > 0

    def cell_ids(self, part: str) -> Tensor:
        """Return the cells that a batch's rows go to, I64; one per element if V is transposed."""
        n = self.n_tokens
        if part == "v" and self.transposed_v:
            model = self.model
            n *= max(model.n_embd_v_gqa(i) for i in range(model.n_layer))
        return self.input(f"{part} cells {int(self._in_window)}", (n,), "i64")

    # ------------------------------------------------------------------ small steps

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Norm by a weight, and a bias where there is one; without a weight the norm alone.

        With all layers on devices, and for few tokens, llama.cpp keeps a block's norms on the
        block's device (``graph_get_cb`` in ``src/llama-context.cpp``), the last one left out.
        """
        g = self.graph
        weight = self.weight(f"{name}.weight") or self.weight(name)
        bias = self.weight(f"{name}.bias")
        x = g.like("norm" if self.layer_norm else "rms_norm", x)
        if self.layer >= 0 and self._pins and weight is not None and name not in _NEVER_PINNED:
            x.pinned = self._home.backend
        if weight is not None:
            x = g.like("mul", x, weight)
        return x if bias is None else g.like("add", x, bias)

    @cached_property
    def layer_norm(self) -> bool:
        """Whether the model norms with a mean (``ggml_norm``, never in place) instead of RMS."""
        return self.setting("attention.layer_norm_rms_epsilon") is None and (
            self.setting("attention.layer_norm_epsilon") is not None
        )

    def setting(self, name: str) -> MetadataValue | None:
        """Return a value of the header by its name without the architecture's."""
        return self.model.metadata.get(f"{self.model.arch}.{name}")

    def linear(self, name: str, x: Tensor, *, bias: bool = True) -> Tensor:
        """Multiply by a weight and add its bias where there is one."""
        out = self.graph.mul_mat(self.needed(f"{name}.weight"), x)
        scale = self.weight(f"{name}.scale")
        out = out if scale is None else self.graph.like("mul", out, scale)
        offset = self.weight(f"{name}.bias") if bias else None
        return out if offset is None else self.graph.like("add", out, offset)

    def outputs_only(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """In the last block: the rows of the outputs; elsewhere the tensors as they are."""
        if not self.is_last:
            return tensors
        return tuple(self.graph.get_rows(t, self.out_ids) for t in tensors)
