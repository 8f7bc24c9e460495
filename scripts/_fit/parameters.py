"""The constants that are fitted, each with what it would be if nothing were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One constant: its prior, the least that physics allows, and what it stands for."""

    prior: float
    least: float
    meaning: str


def _(prior: float, meaning: str, *, least: float = 0.0) -> Parameter:
    return Parameter(prior=prior, least=least, meaning=meaning)


def _read(prior: float, meaning: str) -> Parameter:
    """Nothing is read faster than at 97 % of the peak."""
    return _(prior, meaning, least=1.03)


_OLD = "of measurements of 2024, beyond today's"

PRIORS: Mapping[str, Parameter] = {
    "decode cuda gddr weights": _read(1.1, "time of reading weights, in times at the peak"),
    "decode cuda hbm weights": _read(1.1, "the same, HBM"),
    "decode cuda unified weights": _read(1.2, "the same, GB10"),
    "decode rocm gddr weights": _read(1.3, "the same"),
    "decode rocm hbm weights": _read(1.3, "the same"),
    "decode rocm unified weights": _read(1.2, "the same, Strix Halo"),
    "decode vulkan weights": _read(1.3, "the same"),
    "decode metal weights": _read(1.2, "the same"),
    "decode cuda kv": _read(1.3, "time of reading the cache, in times at the peak"),
    "decode rocm kv": _read(1.5, "the same"),
    "decode vulkan kv": _read(1.5, "the same"),
    "decode metal kv": _read(1.5, "the same"),
    "decode gpu scores": _read(4.0, "passes over attention's scores without flash attention"),
    "decode vulkan unpack bf16 experts": _(7.0, "chosen experts in BF16"),
    "decode gpu unpack legacy": _(0.01, "clocks of a multiprocessor per weight unpacked"),
    "decode gpu unpack k": _(0.02, "the same, K-quants"),
    "decode gpu unpack i": _(0.05, "the same, with tables"),
    "decode cuda matrices": _(16000, "clocks per matrix multiplied, whatever its size"),
    "decode rocm matrices": _(16000, "the same"),
    "decode vulkan matrices": _(16000, "the same"),
    "decode metal matrices": _(16000, "the same"),
    "decode gpu crossing": _(5e-5, "seconds per change of place"),
    "decode cpu weights": _read(1.25, "time of reading weights, in times at the peak"),
    "decode cpu latency": _(0.5, "vector units' time per byte taken in, in times at the peak"),
    "decode cpu unpack legacy": _(0.5, "vector units' bytes' worth of time per weight"),
    "decode cpu unpack k": _(0.7, "the same, K-quants"),
    "decode cpu arm unpack k": _(0.7, "the same on ARM"),
    "decode cpu unpack i": _(3.5, "the same, with tables"),
    "decode cpu kv": _read(1.5, "time of reading the cache, in times at the peak"),
    "decode cpu matrices": _(
        20000, "clocks per matrix and root of the threads, which wait for each other"
    ),
    "decode cpu crossing": _(1e-4, "seconds per change of place"),
    "prefill cuda matmul": _(1.0, "time of products with quantised weights, 512 a clock"),
    "prefill rocm matmul": _(2.8, "the same"),
    "prefill vulkan matmul": _(2.0, "the same"),
    "prefill metal matmul": _(1.5, "the same"),
    "prefill cuda matmul float": _read(1.1, "time of FP16 products, in times at the peak"),
    "prefill cuda feed": _(0.3, "time of bringing FP16 operands to the matrix units"),
    "prefill rocm matmul float": _(2.0, "the same"),
    "prefill vulkan matmul float": _(2.0, "the same"),
    "prefill metal matmul float": _(1.3, "the same"),
    "prefill rocm matmul bf16": _(3.0, "the same, BF16"),
    "prefill vulkan matmul bf16": _(6.0, "the same, BF16"),
    "prefill cuda attention": _(3.0, "time of attention's products, at FP16's peak"),
    "prefill rocm attention": _(6.0, "the same"),
    "prefill vulkan attention": _(6.0, "the same"),
    "prefill metal attention": _(3.0, "the same"),
    "prefill gpu scores": _(5.0, "passes over attention's scores without flash attention"),
    "prefill gpu weights": _read(1.3, "time of reading weights, in times at the peak"),
    "prefill gpu kv": _read(1.3, "time of reading the cache, in times at the peak"),
    "prefill gpu stream": _read(2.0, "time of copying weights over the bus, at its peak"),
    "prefill gpu matrices": _(20000, "clocks per matrix multiplied, whatever its size"),
    "prefill cpu weights": _read(1.3, "time of reading weights, in times at the peak"),
    "prefill cpu matmul": _(1.0, "vector units' bytes' worth of time per operation"),
    "prefill cpu matmul i": _(2.5, "the same, with tables"),
    "prefill cpu matmul float": _(0.8, "the same, FP16"),
    "prefill cpu attention": _(1.5, "the same, attention"),
    "2024 weights": _(0.1, f"as for decode, {_OLD}"),
    "2024 matrices": _(4000, f"as for decode, {_OLD}"),
    "2024 several matrices": _(10000, f"several GPUs had no CUDA graphs, {_OLD}"),
    "2024 kv": _(0.5, f"as for decode, {_OLD}"),
    "2024 matmul": _(0.3, f"as for prefill, {_OLD}"),
    "2024 stream": _(2.0, f"as for prefill, {_OLD}"),
    "2024 attention": _(2.0, f"as for prefill, {_OLD}"),
    "2024 scores": _(3.0, f"as for prefill, {_OLD}"),
}
"""Constants that begin with a year are for measurements of that time, and not used for anything
else."""
