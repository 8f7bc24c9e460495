"""Models, placements and contexts drawn at random: shapes that nobody listed.

A model is an architecture with hyperparameters that fit together and no more than that: its tensors
are those that llama.cpp asks for (``virtual.py``), each of a random type. The same seed gives the
same models, cases and contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from localllm.core.ggml import TYPES_BY_NAME
from localllm.core.hardware import Backend, Device
from localllm.core.memory import Placement, RunShape
from localllm.core.model import ModelSpec
from localllm.hub.resolve import resolve
from localllm.units import GiB
from tests.support import families
from tests.support.amx import AMX
from tests.support.differential import Case
from tests.support.gguf_writer import (
    BOOL,
    I32,
    Tensor,
    Value,
    array,
    boolean,
    header_bytes,
    pad,
    u32,
    write_gguf,
)
from tests.support.virtual import answers

DENSE = "dense"
"""Llama without experts; ``llama`` with them is Mixtral."""

NAMES = tuple(
    """
    dense dense dense llama qwen2 qwen3 qwen3moe gemma2 gemma3 gpt-oss deepseek2 deepseek2 phi3
    cohere2 granitehybrid mamba2 lfm2 glm4moe qwen3next nemotron_h falcon-h1 llama4 olmo2 starcoder2
    gemma3n gemma4 granitemoe minimax-m2 jamba exaone4 smollm3 qwen35moe qwen2moe olmoe command-r
    hunyuan-moe mistral3 lfm2moe qwen35 nemotron_h_moe bailingmoe2 ernie4_5-moe dots1 phi2 stablelm
    gemma glm4 mamba
    """.split()  # noqa: SIM905
)

_BACKENDS: tuple[Backend, ...] = ("cuda", "rocm", "metal", "vulkan", "rpc")

_MIXES = (
    ("q4_K", "q6_K"),
    ("q4_0", "q8_0"),
    ("q8_0", "q8_0"),
    ("f16", "f16"),
    ("bf16", "bf16"),
    ("q2_K", "q3_K"),
    ("iq4_xs", "q5_K"),
    ("mxfp4", "q8_0"),
)
"""The types of most matrices and of the finer ones, where rows are whole blocks of them."""

_SQUARE = frozenset(
    """
    bailingmoe2 cohere2 command-r dots1 exaone4 granitehybrid granitemoe hunyuan-moe jamba lfm2
    lfm2moe llama4 olmo2 olmoe phi2 phi3 qwen2 qwen2moe smollm3 stablelm starcoder2
    """.split()  # noqa: SIM905
)
"""Architectures whose heads are as wide together as the model."""
_EVERY_HEAD = frozenset({"dots1", "olmoe"})
_LAYER_NORM = frozenset({"cohere2", "command-r", "phi2", "stablelm", "starcoder2"})
_HALF_ROTATED = frozenset({"glm4moe", "minimax-m2", "phi2", "stablelm"})
_TIED_OR_NOT = frozenset(
    {"llama", "qwen2", "qwen3", "gemma3", "cohere2", "granitehybrid", "mamba2"}
)
_NEEDS_ROTARY = frozenset({"gemma4"})


@dataclass(frozen=True, slots=True)
class Sizes:
    """What every family has some of."""

    n_layer: int
    n_embd: int
    head: int
    n_head: int
    n_head_kv: int
    n_ff: int
    period: int
    """Every how many blocks one differs: attends without a window, or keeps no state."""

    def every(self, n: int) -> list[int]:
        """``n`` for the blocks that differ, 0 for the others."""
        last = self.period - 1
        return [n if i % self.period == last else 0 for i in range(self.n_layer)]


def random_sizes(rng: Random, arch: str) -> Sizes:
    """Odd ratios of heads, narrow and wide networks, few and many blocks."""
    head = rng.choice([64, 64, 80, 96, 128, 128, 192, 256])
    n_head_kv = rng.choice([1, 2, 3, 4, 5, 8])
    ratio = 1 if arch in _EVERY_HEAD else rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12])
    n_head = n_head_kv * min(ratio, max(10_240 // (n_head_kv * head), 1))
    n_embd = rng.choice([512, 768, 896, 1536, 2048, 2560, 3072, 4096, 5120])
    if arch in _SQUARE:
        n_embd = n_head * head
    return Sizes(
        n_layer=rng.choice([3, 5, 6, 8, 12, 17, 24]),
        n_embd=n_embd,
        head=head,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_ff=max(int(n_embd * rng.choice([0.5, 1, 2, 3.5, 6])) // 32 * 32, 256),
        period=rng.choice([2, 3, 4, 6]),
    )


def _latent(rng: Random, _sizes: Sizes) -> dict[str, Value]:
    rank, rotated = rng.choice([256, 512, 512]), rng.choice([32, 64, 64])
    n_groups = rng.choice([1, 4])
    return {
        "attention.head_count": u32(rng.choice([8, 16, 20, 64, 128])),
        "attention.head_count_kv": u32(1),
        "attention.kv_lora_rank": u32(rank),
        "attention.q_lora_rank": u32(rng.choice([96, 512, 1536])),
        "attention.key_length": u32(rank + rotated),
        "attention.value_length": u32(rank),
        "attention.key_length_mla": u32(rng.choice([64, 128, 128]) + rotated),
        "attention.value_length_mla": u32(rng.choice([64, 128, 128])),
        "rope.dimension_count": u32(rotated),
        "expert_group_count": u32(n_groups),
        "expert_group_used_count": u32(rng.randint(1, n_groups)),
    }


def _mamba(rng: Random, sizes: Sizes) -> dict[str, Value]:
    return {
        "ssm.inner_size": u32(sizes.n_embd * rng.choice([1, 2])),
        "ssm.state_size": u32(rng.choice([16, 16, 32])),
        "ssm.time_step_rank": u32(rng.choice([64, 160, 256])),
    }


def _mamba2(rng: Random, sizes: Sizes) -> dict[str, Value]:
    head = rng.choice([64, 128])
    n_head = max(sizes.n_embd * rng.choice([1, 2]) // head, 1)
    return {
        "ssm.inner_size": u32(n_head * head),
        "ssm.state_size": u32(rng.choice([16, 64, 96, 128, 256])),
        "ssm.time_step_rank": u32(n_head),
        "ssm.group_count": u32(rng.choice([1, 2, 8]) if n_head % 8 == 0 else 1),
    }


def _delta_net(rng: Random, sizes: Sizes) -> dict[str, Value]:
    n_v = rng.choice([8, 16, 32])
    return {
        "ssm.inner_size": u32(n_v * 128),
        "ssm.state_size": u32(128),
        "ssm.time_step_rank": u32(n_v),
        "ssm.group_count": u32(n_v // rng.choice([1, 2])),
        "full_attention_interval": u32(sizes.period),
    }


def _some_attend(_rng: Random, sizes: Sizes) -> dict[str, Value]:
    return {"attention.head_count_kv": array(I32, sizes.every(sizes.n_head_kv))}


def _one_part_each(rng: Random, sizes: Sizes) -> dict[str, Value]:
    kinds = [rng.choice("ssan") for _ in range(sizes.n_layer)]
    return {
        "attention.head_count_kv": array(I32, [sizes.n_head_kv * (k == "a") for k in kinds]),
        "feed_forward_length": array(I32, [sizes.n_ff * (k == "n") for k in kinds]),
    }


def _shared_caches(rng: Random, sizes: Sizes) -> dict[str, Value]:
    return {
        "attention.shared_kv_layers": u32(rng.choice([0, sizes.n_layer // 3])),
        "embedding_length_per_layer_input": u32(256),
    }


def _two_head_sizes(_rng: Random, _sizes: Sizes) -> dict[str, Value]:
    keys = {}
    for part, n in (("", 512), ("_swa", 256)):
        for name in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
            keys[name + part] = u32(n)
    return keys


_OWN: Mapping[str, tuple[Callable[[Random, Sizes], dict[str, Value]], ...]] = {
    "deepseek2": (_latent,),
    "falcon-h1": (_mamba2,),
    "gemma3n": (_shared_caches,),
    "gemma4": (_shared_caches, _two_head_sizes),
    "granitehybrid": (_mamba2, _some_attend),
    "jamba": (_mamba, _some_attend),
    "lfm2": (_some_attend,),
    "lfm2moe": (_some_attend,),
    "mamba": (_mamba,),
    "mamba2": (_mamba2,),
    "nemotron_h": (_mamba2, _one_part_each),
    "nemotron_h_moe": (_mamba2, _one_part_each),
    "qwen3next": (_delta_net,),
    "qwen35": (_delta_net,),
    "qwen35moe": (_delta_net,),
}


def random_header(rng: Random, name: str) -> tuple[str, dict[str, Value]]:
    """Architecture and whole header of a random model of a family."""
    arch = "llama" if name == DENSE else name
    sizes = random_sizes(rng, arch)
    with_mtp = arch not in families.NO_MTP_TABLE
    header = families.metadata(arch, mtp=with_mtp, n_layer=sizes.n_layer)
    n_expert = rng.choice([4, 8, 16, 32, 60, 64, 128])
    n_used = 1 if arch == "llama4" else rng.choice([n for n in (1, 2, 3, 4, 6, 8) if n <= n_expert])
    rotated = sizes.head // 2 if arch in _HALF_ROTATED else sizes.head
    keys = {
        "embedding_length": u32(sizes.n_embd),
        "feed_forward_length": u32(sizes.n_ff),
        "attention.head_count": u32(sizes.n_head),
        "attention.head_count_kv": u32(sizes.n_head_kv),
        "attention.key_length": u32(sizes.head),
        "attention.value_length": u32(sizes.head),
        "rope.dimension_count": u32(rotated),
        "rope.dimension_sections": array(I32, [sizes.head // 8] * 4),
        "vocab_size": u32(rng.choice([1000, 32_000, 32_001, 100_352, 128_256, 151_936, 262_144])),
        "attention.sliding_window": u32(rng.choice([128, 512, 1024, 4096])),
        "attention.sliding_window_pattern": array(BOOL, [not n for n in sizes.every(1)]),
        "attention.chunk_size": u32(8192),
        "expert_count": u32(n_expert),
        "expert_used_count": u32(n_used),
        "expert_feed_forward_length": u32(rng.choice([128, 256, 512, 768, 1408, 2048])),
        "expert_shared_feed_forward_length": u32(rng.choice([256, 512, 1024, 5632])),
        "expert_shared_count": u32(rng.choice([1, 1, 2])),
        "expert_weights_norm": boolean(rng.random() < 0.7),
        "leading_dense_block_count": u32(rng.choice([0, 1, 2])),
        "interleave_moe_layer_step": u32(1),
    }
    for own in _OWN.get(arch, ()):
        keys |= own(rng, sizes)
    header |= {f"{arch}.{key}": value for key, value in keys.items()}
    gone = ["attention.layer_norm_rms_epsilon"] if arch in _LAYER_NORM else []
    gone += ["expert_count", "expert_used_count"] if name == DENSE else []
    return arch, {k: v for k, v in header.items() if k.removeprefix(f"{arch}.") not in gone}


def write_models(folder: Path, rng: Random, names: Sequence[str]) -> dict[Path, str]:
    """Write hollow files of random models. Those that llama.cpp does not take are left out."""
    headers: dict[Path, tuple[str, dict[str, Value]]] = {}
    for number, name in enumerate(names):
        path = folder / f"{number:03d}-{name}.gguf"
        headers[path] = arch, keys = random_header(rng, name)
        bare = header_bytes(keys, [Tensor("token_embd.weight", "f32", (1,))])
        path.write_bytes(bare.ljust(pad(len(bare), 32) + 32, b"\0"))
    written = {}
    for answer in answers(list(headers)):
        path = Path(answer["file"])
        arch, keys = headers[path]
        if answer["tensors"] is not None:
            table = {name: tuple(ne) for name, ne in answer["tensors"]}
            write_gguf(path, keys, _typed(rng, arch, table))
            written[path] = arch
    return written


def _typed(rng: Random, arch: str, table: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """Give each tensor a type; some files have no output matrix, or no rotary factors."""
    most, finer = rng.choice(_MIXES)
    without = [name for name in ("output.", "rope_freqs.") if rng.random() < 0.4]
    found = []
    for name, shape in table.items():
        if families.may_be_missing(arch, name):
            continue
        if name.startswith(tuple(without)) and _is_optional(arch, name):
            continue
        wanted = finer if "attn_v" in name or rng.random() < 0.2 else most
        found.append(Tensor(name, _type_for(name, shape, wanted), shape))
    return found


def _is_optional(arch: str, name: str) -> bool:
    return (name == "output.weight" and arch in _TIED_OR_NOT) or (
        name.startswith("rope_freqs") and arch not in _NEEDS_ROTARY
    )


def _type_for(name: str, shape: tuple[int, ...], wanted: str) -> str:
    if families.is_kept_in_f32(name, shape):
        return "f32"
    types = (wanted, "q8_0", "f16")
    return next(t for t in types if shape[0] % TYPES_BY_NAME[t].block == 0)


# -- where it runs -----------------------------------------------------------------------------


def random_cases(rng: Random, path: Path, count: int) -> Iterator[Case]:
    """Placements of a model: the CPU alone, and up to four devices of one backend or of several."""
    spec = resolve(str(path)).spec
    for _ in range(count):
        devices = _random_devices(rng)
        placement = _random_placement(rng, spec, len(devices))
        backends = "+".join(device.backend for device in devices) or "CPU"
        yield Case(
            model=path.stem,
            placement_name=f"{backends} {placement.layers_per_device}/{spec.n_layer_total}",
            path=path,
            spec=spec,
            devices=devices,
            placement=placement,
        )


def _random_devices(rng: Random) -> tuple[Device, ...]:
    n = rng.choice([0, 1, 1, 1, 1, 2, 2, 2, 3, 4])
    one = rng.choice(_BACKENDS)
    several = rng.random() < 0.3
    backends = [rng.choice(_BACKENDS) if several else one for _ in range(n)]
    return tuple(
        Device(
            name=f"{backend.upper()}{index}",
            description="fuzzed",
            kind="gpu",
            backend=backend,
            total_bytes=80 * GiB,
            free_bytes=80 * GiB,
        )
        for index, backend in enumerate(backends)
    )


def _random_placement(rng: Random, spec: ModelSpec, n_devices: int) -> Placement:
    """Draw a split: all layers as often as some, none now and then; experts in RAM or not."""
    total = spec.n_layer_total
    if n_devices == 0:
        return Placement(n_gpu_layers=0, layers_per_device=())
    n_layers = rng.choice([total, total, 0, *(rng.randint(1, total) for _ in range(3))])
    cuts = sorted(rng.randint(0, n_layers) for _ in range(n_devices - 1))
    counts = tuple(b - a for a, b in zip((0, *cuts), (*cuts, n_layers), strict=True))
    experts: list[int] = []
    if spec.n_expert and rng.random() < 0.4:
        on_devices = list(range(total - n_layers, spec.n_layer_main))
        experts = rng.choice(
            [on_devices, on_devices[1::2], on_devices[: len(on_devices) // 2]],
        )
    return Placement(
        n_gpu_layers=n_layers, layers_per_device=counts, host_expert_layers=frozenset(experts)
    )


def random_shape(rng: Random) -> RunShape:
    """Draw a context of any length and cache, attention as it comes, up to four sequences."""
    types = ["f16", "q8_0", "q4_0", "f32", "bf16", "q5_1"]
    type_k = rng.choice(["f16", "f16", "f16", *types])
    type_v = type_k if rng.random() < 0.75 else rng.choice(types)
    flash_attn = rng.random() < 0.75
    n_seq = rng.choice([1, 1, 1, 2, 3, 4])
    n_ubatch = max(rng.choice([1, 8, 31, 32, 64, 128, 256, 512, 512, 1024, 2048, 4096]), n_seq)
    longest = 131_072 if flash_attn else 32_768
    n_ctx = rng.choice([256, 700, 1024, 2048, 4096, 5000, 8192, 16_384, 32_768, 65_536, 131_072])
    n_outputs = rng.choice([1, 1, n_seq, min(n_ubatch, 512), n_ubatch])
    return RunShape(
        n_ctx=min(n_ctx, longest),
        n_ubatch=n_ubatch,
        type_k=type_k,
        type_v=type_v,
        flash_attn=flash_attn,
        n_seq=n_seq,
        n_outputs_max=max(n_outputs, n_seq),
        repack=not AMX,
    )
