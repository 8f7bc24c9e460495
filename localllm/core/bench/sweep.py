"""The configurations that a bench run measures: every combination of the settings that are swept.

Lists of settings are multiplied in llama-bench's order (``get_cmd_params_instances`` in
tools/llama-bench/llama-bench.cpp), which loads a model as seldom as possible.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

from localllm.core.policy import FlashAttn, Policy

N_BATCH, N_UBATCH = 2048, 512
"""llama-bench's own defaults."""

LoadMode = Literal["auto", "none", "mmap"]
SplitMode = Literal["none", "layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The values of every setting, in llama-bench's order; None leaves one to the planner."""

    n_gpu_layers: tuple[int | None, ...] = (None,)
    n_cpu_moe: tuple[int | None, ...] = (None,)
    split_mode: tuple[SplitMode, ...] = ("layer",)
    load_mode: tuple[LoadMode, ...] = ("auto",)
    main_gpu: tuple[int, ...] = (0,)
    tensor_split: tuple[tuple[float, ...] | None, ...] = (None,)
    n_batch: tuple[int, ...] = (N_BATCH,)
    n_ubatch: tuple[int, ...] = (N_UBATCH,)
    cache: tuple[tuple[str | None, str | None], ...] = ((None, None),)
    """Types of K and V."""
    flash_attn: tuple[FlashAttn, ...] = ("auto",)
    n_threads: tuple[int | None, ...] = (None,)

    @classmethod
    def of_policy(cls, policy: Policy) -> Self:
        """Return the one configuration of a policy; llama-bench's own where it leaves one open."""
        return cls(
            n_gpu_layers=(policy.n_gpu_layers,),
            n_cpu_moe=(policy.n_cpu_moe,),
            tensor_split=(policy.tensor_split,),
            n_batch=(policy.n_batch or N_BATCH,),
            n_ubatch=(policy.n_ubatch or N_UBATCH,),
            cache=((policy.type_k, policy.type_v),),
            flash_attn=(policy.flash_attn,),
            n_threads=(policy.n_threads,),
        )

    @property
    def swept(self) -> frozenset[str]:
        """llama-bench's fields of the settings that have several values."""
        several = {
            name for name in self.__slots__ if name != "cache" and len(set(getattr(self, name))) > 1
        }
        for index, name in enumerate(("type_k", "type_v")):
            if len({pair[index] for pair in self.cache}) > 1:
                several.add(name)
        return frozenset(several)

    def __len__(self) -> int:
        """How many configurations there are."""
        return math.prod(len(getattr(self, name)) for name in self.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way to load a model: one plan."""

    policy: Policy
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    """With ``none``: the one GPU that is used, from 0."""


def configurations(policy: Policy, axes: Axes) -> Iterator[Configuration]:
    """Yield every combination, the first setting the slowest to change.

    ``policy`` holds what is the same in all of them.
    """
    placements = itertools.product(
        axes.n_gpu_layers,
        axes.n_cpu_moe,
        axes.split_mode,
        axes.load_mode,
        axes.main_gpu,
        axes.tensor_split,
    )
    contexts = itertools.product(
        axes.n_batch, axes.n_ubatch, axes.cache, axes.flash_attn, axes.n_threads
    )
    for placement, context in itertools.product(placements, tuple(contexts)):
        n_gpu_layers, n_cpu_moe, split_mode, load_mode, main_gpu, tensor_split = placement
        n_batch, n_ubatch, (type_k, type_v), flash_attn, n_threads = context
        yield Configuration(
            policy=replace(
                policy,
                n_gpu_layers=n_gpu_layers,
                n_cpu_moe=n_cpu_moe,
                use_mmap=policy.use_mmap if load_mode == "auto" else load_mode == "mmap",
                tensor_split=tensor_split,
                n_batch=n_batch,
                n_ubatch=n_ubatch,
                type_k=type_k,
                type_v=type_v,
                flash_attn=flash_attn,
                n_threads=n_threads,
            ),
            split_mode=split_mode,
            main_gpu=main_gpu,
        )
