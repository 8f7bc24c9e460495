"""Model specifications and machines made by hand, for the pure core: no file is read or written."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from localllm.core.ggml import row_bytes
from localllm.core.hardware import Device, Hardware, Host
from localllm.core.model import LayerHparams, ModelSpec, TensorInfo
from localllm.units import GiB


def more_bits(layer: int, n_layer: int) -> bool:
    """Whether Q4_K_M gives a layer's V and down projections Q6_K (llama.cpp's use_more_bits)."""
    eighth = n_layer // 8
    return layer < eighth or layer >= 7 * n_layer // 8 or (layer - eighth) % 3 == 2


@cache
def llama(
    *,
    name: str = "llama",
    n_layer: int = 32,
    n_embd: int = 4096,
    n_head: int = 32,
    n_head_kv: int = 8,
    n_ff: int = 14336,
    n_vocab: int = 128256,
    n_ctx_train: int = 131072,
    quant: str = "Q4_K_M",
    tied: bool = False,
    n_expert: int = 0,
    n_expert_used: int = 0,
) -> ModelSpec:
    """A Llama-shaped model with llama.cpp's own mix of types for Q4_K_M, or one type throughout."""
    head = n_embd // n_head
    base = {"Q4_K_M": "q4_K", "F16": "f16", "Q8_0": "q8_0"}[quant]
    rich = "q6_K" if quant == "Q4_K_M" else base
    tensors: list[TensorInfo] = []

    def add(tensor_name: str, type_: str, *shape: int) -> None:
        n_rows = 1
        for n in shape[1:]:
            n_rows *= n
        size = row_bytes(type_, shape[0]) * n_rows
        tensors.append(
            TensorInfo(name=tensor_name, type=type_, shape=shape, n_bytes=size, offset=0)
        )

    add("token_embd.weight", rich if tied else base, n_embd, n_vocab)
    add("output_norm.weight", "f32", n_embd)
    if not tied:
        add("output.weight", rich, n_embd, n_vocab)
    for i in range(n_layer):
        wide = rich if more_bits(i, n_layer) else base
        add(f"blk.{i}.attn_norm.weight", "f32", n_embd)
        add(f"blk.{i}.attn_q.weight", base, n_embd, n_embd)
        add(f"blk.{i}.attn_k.weight", base, n_embd, n_head_kv * head)
        add(f"blk.{i}.attn_v.weight", wide, n_embd, n_head_kv * head)
        add(f"blk.{i}.attn_output.weight", base, n_embd, n_embd)
        add(f"blk.{i}.ffn_norm.weight", "f32", n_embd)
        if n_expert:
            add(f"blk.{i}.ffn_gate_inp.weight", "f32", n_embd, n_expert)
            add(f"blk.{i}.ffn_gate_exps.weight", base, n_embd, n_ff, n_expert)
            add(f"blk.{i}.ffn_up_exps.weight", base, n_embd, n_ff, n_expert)
            add(f"blk.{i}.ffn_down_exps.weight", wide, n_ff, n_embd, n_expert)
        else:
            add(f"blk.{i}.ffn_gate.weight", base, n_embd, n_ff)
            add(f"blk.{i}.ffn_up.weight", base, n_embd, n_ff)
            add(f"blk.{i}.ffn_down.weight", wide, n_ff, n_embd)
    hparams = LayerHparams(n_head=n_head, n_head_kv=n_head_kv, n_ff=0 if n_expert else n_ff)
    return ModelSpec(
        name=name,
        source=f"/models/{name}.gguf",
        arch="llama",
        quant=quant,
        n_params=sum(t.n_elements for t in tensors),
        file_bytes=sum(t.n_bytes for t in tensors) + 8 * 1024 * 1024,
        n_ctx_train=n_ctx_train,
        n_embd=n_embd,
        n_vocab=n_vocab,
        n_embd_head_k=head,
        n_embd_head_v=head,
        n_rot=head,
        layers=(hparams,) * n_layer,
        tensors=tuple(tensors),
        n_expert=n_expert,
        n_expert_used=n_expert_used,
        n_ff_exp=n_ff if n_expert else 0,
        has_chat_template=True,
    )


@cache
def llama_3_8b(*, quant: str = "Q4_K_M") -> ModelSpec:
    """Llama 3.1 8B."""
    return llama(name="llama-3-8b", quant=quant)


@cache
def llama_3_70b() -> ModelSpec:
    """Llama 3 70B at Q4_K_M, except that V is Q4_K and Q6_K and not Q5_K in some layers."""
    return llama(name="llama-3-70b", n_layer=80, n_embd=8192, n_head=64, n_ff=28672)


@cache
def llama_3_2_1b() -> ModelSpec:
    """Llama 3.2 1B: tied embeddings, heads of 64."""
    return llama(
        name="llama-3.2-1b", n_layer=16, n_embd=2048, n_head=32, n_head_kv=8, n_ff=8192, tied=True
    )


@cache
def mixtral() -> ModelSpec:
    """A mixture of experts: Mixtral 8x7B."""
    return llama(name="mixtral", n_vocab=32000, n_ctx_train=32768, n_expert=8, n_expert_used=2)


def host(*, available: int = 60 * GiB, isa: tuple[str, ...] = ("avx2",)) -> Host:
    """A desktop with 64 GiB."""
    return Host(
        cpu="Test CPU",
        os="linux",
        machine="x86_64",
        total_bytes=64 * GiB,
        available_bytes=available,
        n_cores_physical=8,
        n_cores_performance=8,
        n_threads_logical=16,
        isa=isa,
        memory_bandwidth_gb_s=40.0,
        memory_bandwidth_basis="profile",
    )


def gpu(name: str = "CUDA0", *, free: int = 23 * GiB, bandwidth_gb_s: float = 1008.0) -> Device:
    """A CUDA card."""
    return Device(
        name=name,
        description="Test GPU",
        kind="gpu",
        backend="cuda",
        total_bytes=free + GiB,
        free_bytes=free,
        memory_bandwidth_gb_s=bandwidth_gb_s,
        fp32_tflops=0.05 * bandwidth_gb_s,
        compute_capability=(8, 9),
        pcie_gen=3,
        pcie_width=16,
    )


def machine(*devices: Device, ram: int = 60 * GiB) -> Hardware:
    """A machine with these GPUs."""
    return Hardware(name="test", source="test", host=host(available=ram), devices=devices)


def slow_ram(*devices: Device, ram: int = 30 * GiB, bandwidth_gb_s: float = 12.0) -> Hardware:
    """A machine with these GPUs whose memory is slow."""
    base = machine(*devices, ram=ram)
    return replace(base, host=replace(base.host, memory_bandwidth_gb_s=bandwidth_gb_s))
