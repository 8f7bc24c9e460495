"""A plan in words: what it is of, whether it fits, where it lies, and who counted its memory."""

from __future__ import annotations

from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Basis, Difference, Plan
from localllm.core.policy import kv_label
from localllm.core.text import printable
from localllm.units import counted, format_bytes, format_count

BASES: dict[Basis, str] = {
    "exact": "llama.cpp's own allocator says so",
    "formula": "our formulas over the file's header",
    "recorded shape": "the model's published shape, without a file",
}
"""What each basis means."""


def summary(plan: Plan) -> str:
    """Return the plan in one line: layers and where they lie, context, KV types."""
    layers = f"{plan.n_gpu_layers} of {plan.n_layer_total} layers"
    if plan.n_gpu_layers:
        holding = [
            printable(row.name) for row in plan.devices if row.kind == "gpu" and row.n_layers
        ]
        where = f"{layers} on {', '.join(holding)}"
    else:
        threads = counted(plan.n_threads, "thread")
        where = f"{counted(plan.n_layer_total, 'layer')} on the CPU, {threads}"
    return f"{where}, context {plan.n_ctx:,}, KV {kv_label(plan.type_k, plan.type_v)}"


def model_facts(model: ModelSpec) -> str:
    """Return quantisation, parameters, size and architecture."""
    facts = [model.quant, f"{format_count(model.n_params)} parameters"]
    facts += [format_bytes(model.file_bytes), model.arch]
    return printable(", ".join(fact for fact in facts if fact))


def planned_for(hardware: Hardware) -> str:
    """Return the sentence that a plan for a machine which is not this one begins with."""
    name, source = printable(hardware.name), printable(hardware.source)
    named = name if source == f"profile {name}" else f"{name} ({source})"
    return f"planned for {named}, not for this machine"


def runs(plan: Plan) -> bool:
    """Whether it fits, and llama.cpp has not refused to run it."""
    return plan.verdict == "fits" and plan.refusal is None


def verdict(plan: Plan) -> str:
    """Return whether it fits, or what stands against running what does."""
    if plan.verdict != "fits":
        return "does not fit"
    return "fits" if plan.refusal is None else "would fit, but llama.cpp refuses to run it"


def basis_sentence(plan: Plan) -> str:
    """Return who counted the memory, and why it was not llama.cpp where it was not."""
    text = BASES[plan.basis]
    if plan.basis == "recorded shape":
        exact = plan.memory_basis == "exact"
        text += f", counted by {'llama.cpp itself' if exact else 'our formulas'}"
    if plan.basis_reason:
        text += f" ({plan.basis_reason})"
    if plan.estimated_terms:
        text += f"; upper estimates: {', '.join(plan.estimated_terms)}"
    return f"{text}."


def difference_sentence(difference: Difference) -> str:
    """Return what a formula counts otherwise than llama.cpp, which stands."""
    return (
        f"{difference.device} {difference.term}: our formula says "
        f"{difference.formula_bytes:,} bytes, llama.cpp {difference.engine_bytes:,}, "
        f"which stands"
    )
