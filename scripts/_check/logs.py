"""Public load logs as values: one record of ``memory.jsonl`` -> LoggedRun.

People wrote these records down from issues and notebooks, so every field may be missing, a number
may be a string, and a string may be anything. What cannot be read is None, never a guess; what a
runner did by default at the time is filled in by ``settings_of``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Runner = Literal["llama.cpp", "ik_llama.cpp", "ollama", "llama-cpp-python", "other"]
Format = Literal["buffers", "breakdown", "old-2023", "none"]

UNIFIED = "2025-07"
"""llama.cpp#14363 (July 2025): each sequence may have a cache of its own."""

_HOST_BUFFER = re.compile(r"^(CPU|AMX|BLAS|Host|host)|_Host$|_Pinned$", re.IGNORECASE)
_DEVICE = re.compile(r"^(CUDA|ROCm|HIP|Vulkan|Metal|MTL|SYCL|CANN|MUSA|RPC|OpenCL|GPU)", re.I)


@dataclass(slots=True, kw_only=True)
class LoggedDevice:
    """What a log says that one device, or the host, was given; MiB, None where it is silent."""

    name: str
    weights: float | None = None
    kv: float | None = None
    """With recurrent state, where there is any."""
    compute: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """One load of one model, as its log tells it."""

    id: str
    model: str
    arch: str | None
    quant: str | None
    """As people name it: ``Q4_K_M``."""
    hparams: Mapping[str, int]
    """llama.cpp's names; only those that are one number for the whole model."""
    per_layer: frozenset[str]
    """Hyperparameters that the log lists layer by layer."""
    tensor_types: Mapping[str, int]
    """Number of tensors of each type; empty where the log does not count them."""
    file_mib: float | None
    runner: Runner
    build: int | None
    date: str
    """``YYYY-MM-DD`` or less; sorts as text."""
    format: Format
    n_ctx: int | None
    n_batch: int | None
    n_ubatch: int | None
    n_seq: int | None
    type_k: str | None
    type_v: str | None
    flash_attn: bool | None
    offloaded: int | None
    total_layers: int | None
    devices: tuple[LoggedDevice, ...]
    host: LoggedDevice
    host_buffers: Mapping[str, float]
    """The host's weights by buffer, MiB: ``CPU_Mapped``, ``AMX`` ..."""
    kv_total: float | None
    vram_total: float | None
    """What a meter showed for the whole process on all cards, MiB."""
    gpus: tuple[str, ...]
    command: str
    no_kv_offload: bool
    n_cpu_moe: int | None
    swa_full: bool | None
    latent_cache: bool
    """DeepSeek's cache holds one compressed row per token (ik_llama.cpp's ``-mla``)."""
    unified_cache: bool
    """Several sequences share one cache: before July 2025, and llama-server's automatic slots."""
    mtp: bool
    split_mode: str | None
    oom: bool
    quality: str
    notes: str
    gpu_free_mib: Mapping[str, float] = field(default_factory=dict)


def read_run(record: Mapping[str, Any]) -> LoggedRun:
    """Read a record. Never raises for odd contents: what is odd is left out."""
    command = _text(record.get("cmd")) or ""
    hparams, per_layer = _hparams(record)
    devices, host, buffers = _buffers(record)
    kind: Format = "buffers"
    if _number(record.get("vram_used_model_mib")) is not None:
        kind = "old-2023"
        devices = [LoggedDevice(name="VRAM", weights=_number(record["vram_used_model_mib"]))]
        host.weights = _number(record.get("mem_required_host_mib"))
    elif _mapping(record.get("breakdown_mib")) or _mapping(record.get("breakdown_exit_mib")):
        kind = "breakdown"
    elif not devices and host == LoggedDevice(name="host"):
        kind = "none"
    return LoggedRun(
        id=_text(record.get("id")) or "?",
        model=_text(record.get("model")) or "",
        arch=_arch(record.get("arch")),
        quant=quant_name(_text(record.get("quant")) or ""),
        hparams=hparams,
        per_layer=per_layer,
        tensor_types={
            str(name): int(count)
            for name, count in _mapping(record.get("tensor_types")).items()
            if _number(count) is not None
        },
        file_mib=_times(record.get("gguf_size_gib"), 1024),
        runner=_runner(_text(record.get("runner")) or ""),
        build=_build(record),
        date=_text(record.get("date")) or "",
        format=kind,
        n_ctx=_positive(record.get("n_ctx")),
        n_batch=_positive(record.get("n_batch")) or _option(command, "-b", "--batch-size"),
        n_ubatch=_positive(record.get("n_ubatch")) or _option(command, "-ub", "--ubatch-size"),
        n_seq=_inner_whole(record.get("n_seq_max")),
        type_k=_type(record.get("type_k")),
        type_v=_type(record.get("type_v")),
        flash_attn=_flag(record.get("flash_attn")),
        offloaded=_whole(record.get("offloaded_layers")),
        total_layers=_whole(record.get("total_layers")),
        devices=tuple(devices),
        host=host,
        host_buffers=buffers,
        kv_total=_number(record.get("kv_self_mib")),
        vram_total=_vram_total(record),
        gpus=tuple(each for each in _list(record.get("gpus")) if isinstance(each, str)),
        command=command,
        no_kv_offload=bool(record.get("no_kv_offload")) or _has(command, "-nkvo"),
        n_cpu_moe=_whole(record.get("n_cpu_moe")) or _option(command, "-ncmoe", "--n-cpu-moe"),
        swa_full=_flag(record.get("swa_full")),
        latent_cache=bool(record.get("mla_cache")) or bool(_whole(record.get("mla_attn"))),
        unified_cache="auto" in str(record.get("n_seq_max"))
        or (_text(record.get("date")) or "") < UNIFIED,
        mtp=bool(record.get("mtp")),
        split_mode=_text(record.get("split_mode")),
        oom=bool(record.get("oom")),
        quality=_text(record.get("quality")) or "",
        notes=_text(record.get("notes")) or "",
        gpu_free_mib={
            str(key): value
            for key, each in _mapping(record.get("gpu_free_mib")).items()
            if (value := _number(each)) is not None
        },
    )


_QUANT = re.compile(r"\b((?:UD-)?(?:I?Q\d|TQ\d|F16|BF16|F32|MXFP4)[A-Za-z0-9_]*)", re.IGNORECASE)
_WORDS = {"small": "S", "medium": "M", "large": "L"}


def quant_name(text: str) -> str | None:
    """Return a quantisation as people name it: ``Q4_K - Medium`` is ``Q4_K_M``; None if none."""
    found = _QUANT.search(text)
    if found is None:
        return None
    name = found[1].upper()
    if name.startswith("UD-"):
        return name
    size = re.match(r"\s*-\s*(Small|Medium|Large)\b", text[found.end() :], re.IGNORECASE)
    sized = f"{name}_{_WORDS[size[1].lower()]}" if size else name
    return "Q2_K" if sized == "Q2_K_M" else sized


_LARGEST = {"n_layer": 512, "n_head": 4096, "n_head_kv": 4096, "n_expert": 4096}
"""Beyond these a number in a record is a slip of its writer's."""


def _hparams(record: Mapping[str, Any]) -> tuple[dict[str, int], frozenset[str]]:
    hparams: dict[str, int] = {}
    per_layer: set[str] = set()
    names = ("n_layer", "n_embd", "n_ff", "n_head", "n_head_kv", "n_vocab", "n_expert")
    for name in (*names, "n_expert_used", "n_swa"):
        value = record.get(name)
        if isinstance(value, (list, str)) and str(value).lstrip().startswith("["):
            per_layer.add(name)
        elif (number := _whole(value)) is not None and 0 <= number <= _LARGEST.get(name, 1 << 24):
            hparams[name] = number
    return hparams, frozenset(per_layer)


def _buffers(
    record: Mapping[str, Any],
) -> tuple[list[LoggedDevice], LoggedDevice, dict[str, float]]:
    """Sort every buffer of a log to its device; several of one kind on one device are added."""
    found: dict[str, LoggedDevice] = {}
    host = LoggedDevice(name="host")
    host_buffers: dict[str, float] = {}

    def device(name: str) -> LoggedDevice | None:
        if _HOST_BUFFER.search(name):
            return host
        if _DEVICE.match(name) or name == "VRAM":
            return found.setdefault(name, LoggedDevice(name=name))
        return None  # "CUDA_Split" is below; "Meta()", "VRAM scratch" and the like are not devices

    for key, term in (
        ("model_buffers_mib", "weights"),
        ("kv_buffers_mib", "kv"),
        ("rs_buffers_mib", "kv"),
        ("compute_buffers_mib", "compute"),
    ):
        for name, value in _mapping(record.get(key)).items():
            mib, place = _number(value), device(str(name))
            if mib is None or place is None:
                continue
            if place is host and term == "weights":
                host_buffers[str(name)] = mib
            setattr(place, term, (getattr(place, term) or 0.0) + mib)
    for key in ("breakdown_mib", "breakdown_exit_mib"):
        for name, row in _mapping(record.get(key)).items():
            place = device(str(name))
            if place is not None:
                for term, column in (("weights", "model"), ("kv", "context")):
                    setattr(place, term, _number(_mapping(row).get(column)))
                place.compute = _number(_mapping(row).get("compute"))
    # some logs print a row of zeros for a card that is not used
    devices = [each for each in found.values() if each.weights or each.kv or each.compute]
    return sorted(devices, key=lambda each: _natural(each.name)), host, host_buffers


def _natural(name: str) -> tuple[int, str, int]:
    digits = re.search(r"(\d+)$", name)
    # llama.cpp puts RPC devices first
    return (not name.startswith("RPC"), name.rstrip("0123456789"), int(digits[1]) if digits else 0)


def _runner(text: str) -> Runner:
    lowered = text.lower()
    if "ik_llama" in lowered:
        return "ik_llama.cpp"
    if "ollama" in lowered:
        return "ollama"
    if "llama-cpp-python" in lowered:
        return "llama-cpp-python"
    if "moe-cache" in lowered:
        return "other"
    return "llama.cpp" if "llama.cpp" in lowered else "other"


def _arch(value: Any) -> str | None:
    text = (_text(value) or "").split(" ")[0].lower()
    return {"gptoss": "gpt-oss", "": None, "llama/qwen2": None}.get(text, text)


def _build(record: Mapping[str, Any]) -> int | None:
    for key in ("build", "runner"):
        found = re.search(r"\bb?(\d{3,5})\b", _text(record.get(key)) or "")
        if found and (key == "build" or found[0].startswith("b")):
            return int(found[1])
    return None


def _vram_total(record: Mapping[str, Any]) -> float | None:
    """Return what a meter showed; of "with" and "without" the plain one."""
    number = _number(record.get("vram_used_total_mib"))
    if number is not None:
        return number
    values = _mapping(record.get("vram_used_total_gb_or_mib"))
    found = re.fullmatch(r"([\d.]+)\s*(MiB|GiB|GB)", _text(values.get("baseline")) or "")
    if found is not None:
        return float(found[1]) * {"MiB": 1.0, "GiB": 1024.0, "GB": 1e9 / 2**20}[found[2]]
    meter = _mapping(record.get("nvidia_smi_mib"))
    before, after = _number(meter.get("before")), _number(meter.get("loaded"))
    return after - before if before is not None and after is not None else None


def _option(command: str, *names: str) -> int | None:
    for name in names:
        found = re.search(rf"(?<!\S){re.escape(name)}[ =](\d+)(?!\S)", command)
        if found:
            return int(found[1])
    return None


def _has(command: str, option: str) -> bool:
    return option in command.split()


def _type(value: Any) -> str | None:
    text = (_text(value) or "").strip().lower()
    return text or None


def _flag(value: Any) -> bool | None:
    text = str(value).strip().lower()
    return {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}.get(text)


def _whole(value: Any) -> int | None:
    """Return a whole number that is the whole value; "~90K" is none."""
    if isinstance(value, (int, float)):
        number = _number(value)
        return None if number is None or number != int(number) else int(number)
    text = _text(value) or ""
    return int(text) if re.fullmatch(r"-?\d{1,12}", text.strip()) else None


def _positive(value: Any) -> int | None:
    number = _whole(value)
    return number if number is not None and 0 < number < 1 << 31 else None


def _inner_whole(value: Any) -> int | None:
    """Return the number in "auto(4)" and the like."""
    found = re.search(r"\d{1,4}", value if isinstance(value, str) else str(_whole(value) or ""))
    return int(found[0]) or None if found else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number and abs(number) < 1e12 else None


def _times(value: Any, factor: float) -> float | None:
    number = _number(value)
    return None if number is None else number * factor


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}
