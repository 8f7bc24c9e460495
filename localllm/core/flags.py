"""A plan as flags of llama.cpp's own programs, so that it can be run without localllm."""

from __future__ import annotations

from localllm.core.hardware import Hardware
from localllm.core.memory import Placement
from localllm.core.model import RECORDED, ModelSpec
from localllm.core.plan import TensorOverride
from localllm.core.settings import maps_by_default
from localllm.core.solution import Solution


def llama_args(
    model: ModelSpec,
    hardware: Hardware,
    solution: Solution,
    overrides: tuple[TensorOverride, ...],
) -> tuple[str, ...]:
    """Return the plan as flags of llama.cpp's programs (``llama-cli``, ``llama-server``).

    ``-np`` because the server makes room for four conversations where nobody says how many;
    ``-dev none`` because a GPU that holds no layer would still compute, and take memory for it.
    """
    settings, placement, shape = solution.settings, solution.placement, solution.settings.shape
    args = [*_file(model), "-c", str(shape.n_ctx), "-b", str(settings.n_batch)]
    args += ["-ub", str(shape.n_ubatch), "-t", str(settings.n_threads)]
    args += ["-fa", settings.flash_attn, "-ctk", shape.type_k, "-ctv", shape.type_v]
    args += ["-ngl", str(placement.n_gpu_layers)]
    args += ["-np", str(shape.n_seq)]
    if hardware.usable_devices:
        names = ",".join(device.name for device in solution.devices)
        args += ["-dev", names or "none"]
    if len(solution.devices) > 1:
        args += ["-ts", ",".join(str(n) for n in placement.layers_per_device)]
    args += _expert_flags(placement, overrides)
    if not settings.use_mmap or not maps_by_default(hardware):
        args += ["-lm", "mmap" if settings.use_mmap else "none"]
    if not shape.repack:
        args.append("--no-repack")
    return tuple(args)


def _expert_flags(placement: Placement, overrides: tuple[TensorOverride, ...]) -> list[str]:
    """The short flag where the first blocks' experts stay in RAM, as it is with most mixtures."""
    n = len(placement.host_expert_layers)
    if placement.host_expert_layers == frozenset(range(n)):
        return ["-ncmoe", str(n)] if n else []
    return [word for o in overrides for word in ("-ot", f"{o.pattern}={o.buffer_type}")]


def _file(model: ModelSpec) -> tuple[str, str]:
    """The flag that names the file: a path, an address, or what a known model's would be called."""
    if model.source.startswith(("http://", "https://")):
        return "-mu", model.source
    if model.source.startswith(RECORDED):
        return "-m", f"{model.source.removeprefix(RECORDED)}-{model.quant}.gguf"
    return "-m", model.source
