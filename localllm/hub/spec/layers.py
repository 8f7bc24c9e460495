"""The blocks of a model: heads, windows, states, caches and experts, block by block.

llama.cpp's rules (``load_hparams``, ``load_arch_hparams`` and ``create_memory``); the facts that
differ between architectures are in ``spec/architectures.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from localllm.core.model import LayerHparams, TensorInfo
from localllm.hub.spec import architectures as known
from localllm.hub.spec.hparams import MAX_EXPERTS, MAX_LAYERS, Hparams
from localllm.hub.spec.sparse import Sparse, read_sparse

MAX_HEADS = 2**16
MAX_HEAD_SIZE = 2**16

SwaType = Literal["none", "standard", "chunked", "symmetric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Attention heads: how many in each block, and how large."""

    n_head: list[int]
    n_head_kv: list[int]
    n_embd_head_k: int
    n_embd_head_v: int
    n_embd_head_k_swa: int
    n_embd_head_v_swa: int
    n_rot: int
    n_rot_swa: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """All blocks of a model, in order."""

    layers: tuple[LayerHparams, ...]
    n_layer_nextn: int
    swa_type: SwaType
    n_swa: int
    sparse: Sparse


def read_heads(hparams: Hparams, n_layer: int, n_embd: int) -> Heads:
    """Read the attention heads. Raises GGUFError where an architecture with attention has none."""
    arch = hparams.arch
    n_head = hparams.per_layer("attention.head_count", n_layer, high=MAX_HEADS)
    n_head_kv = hparams.per_layer("attention.head_count_kv", n_layer, n_head, high=MAX_HEADS)
    if not any(n_head) and arch not in known.WITHOUT_HEADS:
        raise hparams.error("attention.head_count is 0")
    k = v = n_rot = 0
    if n_head[0]:
        k = _size(hparams, "attention.key_length", n_embd // n_head[0])
        v = _size(hparams, "attention.value_length", n_embd // n_head[0])
        n_rot = _size(hparams, "rope.dimension_count", k)
    k_swa = _size(hparams, "attention.key_length_swa", k)
    v_swa = _size(hparams, "attention.value_length_swa", v)
    n_rot_swa = _size(hparams, "rope.dimension_count_swa", n_rot)
    if arch == "plamo2":  # its first block has no attention, so nothing was read above
        k = _size(hparams, "attention.key_length", k)
        v = _size(hparams, "attention.value_length", v)
    if arch in known.LATENT_V_ROWS:
        v = _size(hparams, "attention.kv_lora_rank", v)
    if arch == "step35":  # half of each head is rotated in blocks without a window
        n_rot //= 2
    return Heads(
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_embd_head_k=k,
        n_embd_head_v=v,
        n_embd_head_k_swa=k_swa,
        n_embd_head_v_swa=v_swa,
        n_rot=n_rot,
        n_rot_swa=n_rot_swa,
    )


def read_blocks(
    hparams: Hparams, n_layer: int, n_embd: int, heads: Heads, tensors: Sequence[TensorInfo]
) -> Blocks:
    """Read everything that may differ from block to block."""
    n_nextn = hparams.integer("nextn_predict_layers", high=n_layer)
    if hparams.arch == "deepseek4":
        # files without the tensors of the MTP block carry the key all the same
        probe = f"blk.{n_layer - n_nextn}.nextn.eh_proj.weight"
        n_nextn = n_nextn if any(tensor.name == probe for tensor in tensors) else 0
    n_main = n_layer - n_nextn
    n_ff = hparams.per_layer("feed_forward_length", n_layer)
    recurrent = _recurrent(hparams, n_layer, n_main, heads.n_head_kv, n_ff)
    swa_type, n_swa, in_window = _window(hparams, n_layer, n_main)
    if hparams.arch == "lfm2":
        in_window = [swa and not state for swa, state in zip(in_window, recurrent, strict=True)]
    n_ff_exp, n_expert_used = _experts(hparams, n_layer, tensors)
    sparse = read_sparse(hparams, n_layer, n_main, n_embd, recurrent)
    cached = [
        _has_cache(hparams, layer, n_layer, n_main, is_recurrent=recurrent[layer], n_ff=n_ff[layer])
        for layer in range(n_layer)
    ]
    layers = tuple(
        LayerHparams(
            n_head=heads.n_head[i],
            n_head_kv=heads.n_head_kv[i],
            n_ff=n_ff[i],
            is_swa=in_window[i],
            is_recurrent=recurrent[i],
            has_kv=cached[i],
            n_ff_exp=n_ff_exp[i],
            n_expert_used=n_expert_used[i],
            has_indexer=sparse.has_indexer[i],
            compress_ratio=sparse.compress_ratios[i],
            is_ple=sparse.is_ple[i],
        )
        for i in range(n_layer)
    )
    n_loops = 1
    if hparams.arch == "nanbeige":  # the same blocks are run through several times
        n_loops = hparams.integer("num_loops", 1, low=1, high=MAX_LAYERS // n_layer)
    if n_loops > 1 and n_main:
        layers = layers[:n_main] * n_loops
    if hparams.arch == "graniteswitch":  # one more block, with one head, routes between adapters
        layers = (*layers[:n_main], LayerHparams(n_head=1, n_head_kv=1, n_ff=0))
        n_nextn = 1
    return Blocks(
        layers=layers, n_layer_nextn=n_nextn, swa_type=swa_type, n_swa=n_swa, sparse=sparse
    )


def _window(hparams: Hparams, n_layer: int, n_main: int) -> tuple[SwaType, int, list[bool]]:
    """The kind of window, its width in tokens, and which blocks look through it."""
    window = known.WINDOWS.get(hparams.arch)
    nowhere = [False] * n_layer
    if window is None or window.n_layer not in (None, n_main):
        return "none", 0, nowhere
    if hparams.arch == "dflash" and hparams.integer("hyper_connection.count"):
        window = known.Window(period=0)
    width = hparams.integer("attention.sliding_window", window.default)
    if window.optional and width == 0:
        return "none", 0, nowhere
    width = window.fixed or width
    pattern = None
    if window.period != 0:
        pattern = hparams.pattern("attention.sliding_window_pattern", n_layer)
    if isinstance(pattern, list):
        return window.kind, width, pattern
    if window.period is None:
        return "none", 0, nowhere
    period = window.period if pattern is None else pattern
    if window.dense_first:
        flags = [period == 0 or i % period != 0 for i in range(n_main)]
    else:
        flags = [period == 0 or i % period < period - 1 for i in range(n_main)]
    in_mtp_blocks = hparams.arch in ("deepseek4", "dflash")
    return window.kind, width, flags + [in_mtp_blocks] * (n_layer - n_main)


def _recurrent(
    hparams: Hparams, n_layer: int, n_main: int, n_head_kv: list[int], n_ff: list[int]
) -> list[bool]:
    """Which blocks keep a state."""
    arch = hparams.arch
    if arch in known.RECURRENT or arch in known.STATE_BESIDE_CACHE:
        return [True] * n_layer
    if arch in known.NEMOTRON_H:
        return [i < n_main and n_head_kv[i] == 0 and n_ff[i] == 0 for i in range(n_layer)]
    if arch in known.RECURRENT_WITHOUT_KV_HEADS:
        n = n_layer if arch == "glm5-next" else n_main
        return [i < n and n_head_kv[i] == 0 for i in range(n_layer)]
    if arch in known.FULL_ATTENTION_INTERVALS:
        if hparams.has("attention.recurrent_layers"):
            flags = hparams.per_layer("attention.recurrent_layers", n_layer)
            return [bool(flag) for flag in flags]
        interval = hparams.integer(
            "full_attention_interval", known.FULL_ATTENTION_INTERVALS[arch], low=1
        )
        return [i < n_main and (i + 1) % interval != 0 for i in range(n_layer)]
    return [False] * n_layer


def _has_cache(
    hparams: Hparams, layer: int, n_layer: int, n_main: int, *, is_recurrent: bool, n_ff: int
) -> bool:
    """Whether the main context gives a block a KV cache of its own."""
    arch = hparams.arch
    if arch in known.WITHOUT_CACHE or arch in known.RECURRENT:
        return False
    if arch in known.STATE_BESIDE_CACHE:
        return True
    if arch in known.NEMOTRON_H:
        return not is_recurrent and n_ff == 0
    if is_recurrent:
        return False
    if layer >= n_main > 0 and arch not in known.CACHE_IN_MTP_BLOCKS:
        return False
    if arch in known.SHARED_CACHE:
        first_shared = known.SHARED_CACHE[arch]
        if first_shared is None:
            first_shared = n_layer - hparams.integer("attention.shared_kv_layers", high=n_layer)
        return layer < first_shared
    return True


def _experts(
    hparams: Hparams, n_layer: int, tensors: Sequence[TensorInfo]
) -> tuple[list[int], list[int]]:
    """Width of one expert and experts used, per block; 0 where the file has no experts.

    The tensors say it more reliably than the keys: several architectures store the width under
    ``feed_forward_length``, and leading blocks are often dense.
    """
    n_expert = hparams.integer("expert_count", high=MAX_EXPERTS)
    if hparams.arch in ("hunyuan-dense", "hunyuan_vl") and n_expert <= 1:
        return [0] * n_layer, [0] * n_layer
    n_used = hparams.per_layer("expert_used_count", n_layer, high=MAX_EXPERTS)
    if max(n_used) > n_expert or (n_expert and not any(n_used)):
        raise hparams.error(f"expert_used_count is {max(n_used)} of {n_expert} experts")
    n_ff_exp = hparams.per_layer("expert_feed_forward_length", n_layer)
    found = {
        tensor.layer: tensor.shape[0]
        for tensor in tensors
        if tensor.name.endswith("ffn_down_exps.weight")
    }
    if found:
        n_ff_exp = [found.get(i, 0) for i in range(n_layer)]
        n_used = [n_used[i] if i in found else 0 for i in range(n_layer)]
    return n_ff_exp, n_used


def _size(hparams: Hparams, key: str, default: int) -> int:
    return hparams.integer(key, default, high=MAX_HEAD_SIZE)
