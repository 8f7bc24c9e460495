"""What was observed of a load, an answer or a bench test, beside what its plan expected: a record.

Pure: values in, a ``RunRecord`` out. Predictions are made for the very run that was timed: its
tokens, at its depth, and of energy for the scope that was metered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from localllm import __version__
from localllm.core.expected_energy import expected_energy
from localllm.core.fingerprint import machine_key, model_key, plan_placement_key
from localllm.core.generation import BenchTest, Loaded, RunStats
from localllm.core.metered.readings import Energy, Health, Unmeasured
from localllm.core.plan import Plan
from localllm.core.prediction import predicted_test, run_of_plan
from localllm.core.reconcile import compare_memory
from localllm.records.runs import (
    KeptEnergy,
    KeptLoad,
    KeptMachine,
    KeptMemory,
    KeptModel,
    KeptPhase,
    KeptPlan,
    RunKind,
    RunRecord,
)

NOT_READ = Unmeasured(reason="power was not read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What all records of a loaded model have in common, the plan apart."""

    run: str
    """Joins a load and what was asked of the loaded model."""
    now: datetime
    engine: str | None = None
    """Version of llama-cpp-python."""
    content_id: str | None = None


def load_record(plan: Plan, loaded: Loaded, occasion: Occasion) -> RunRecord:
    """Return planned beside allocated memory of a model that has just been loaded."""
    measured = {row.device: row.measured_bytes for row in compare_memory(plan, loaded.memory)}
    return _record(
        "load",
        plan,
        occasion,
        load=KeptLoad(
            load_s=loaded.load_s,
            memory=tuple(
                KeptMemory(
                    device=row.name,
                    planned_bytes=row.self_bytes - row.mapped_bytes,
                    measured_bytes=measured.get(row.name),
                )
                for row in plan.devices
            ),
            memory_unknown=loaded.memory_unknown,
            rss_bytes=loaded.rss_bytes,
        ),
    )


def answer_record(
    plan: Plan,
    stats: RunStats,
    occasion: Occasion,
    *,
    prefill: Energy | Unmeasured = NOT_READ,
    decode: Energy | Unmeasured = NOT_READ,
    health: Sequence[Health] = (),
) -> RunRecord | None:
    """Return an answer's speeds and energies beside their estimates; None where it timed nothing.

    ``prefill``: of the prompt's new tokens; ``decode``: of tokens 2 to ``n_gen``. An answer during
    which the context was shifted had no depth that an estimate could be made for.
    """
    shifted = stats.n_prompt + stats.n_gen > stats.n_ctx
    n_new = stats.n_prompt - stats.n_cached
    phases: list[KeptPhase] = []
    if stats.pp_tok_s is not None:
        phases.append(
            _phase(plan, n_prompt=n_new, depth=stats.n_cached, tok_s=stats.pp_tok_s, energy=prefill)
        )
    if stats.tg_tok_s is not None:
        phases.append(
            _phase(
                plan if not shifted else None,
                n_gen=stats.n_gen - 1,
                depth=stats.n_prompt,
                tok_s=stats.tg_tok_s,
                energy=decode,
            )
        )
    return _record("answer", plan, occasion, phases=phases, health=health) if phases else None


def bench_record(
    plan: Plan,
    test: BenchTest,
    samples_ns: Sequence[int],
    occasion: Occasion,
    *,
    energy: Energy | Unmeasured = NOT_READ,
    energy_tokens: int | None = None,
    health: Sequence[Health] = (),
) -> RunRecord | None:
    """Return a bench test beside its estimate; None where no repetition was timed.

    ``energy`` is that of ``energy_tokens`` tokens; None: of all that the repetitions computed.
    """
    n_tokens = test.n_prompt + test.n_gen
    if not samples_ns or min(samples_ns) <= 0 or not n_tokens:
        return None
    from statistics import fmean, stdev  # 4 ms: this file is read before every first token

    rates = [1e9 * n_tokens / ns for ns in samples_ns]
    phase = _phase(
        plan,
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        depth=test.n_depth,
        tok_s=fmean(rates),
        std_tok_s=stdev(rates) if len(rates) > 1 else None,
        n_repetitions=len(rates),
        energy=energy,
        energy_tokens=n_tokens * len(rates) if energy_tokens is None else energy_tokens,
    )
    return _record("bench", plan, occasion, phases=[phase], health=health)


def _phase(
    plan: Plan | None,
    *,
    n_prompt: int = 0,
    n_gen: int = 0,
    depth: int,
    tok_s: float,
    std_tok_s: float | None = None,
    n_repetitions: int = 1,
    energy: Energy | Unmeasured,
    energy_tokens: int | None = None,
) -> KeptPhase:
    """Return what was timed; without a plan there is no estimate beside it."""
    scope = None if isinstance(energy, Unmeasured) else energy.scope
    estimate = expected = None
    if plan is not None:
        estimate = predicted_test(plan, n_prompt=n_prompt, n_gen=n_gen, depth=depth)
        expected = expected_energy(plan, n_prompt=n_prompt, n_gen=n_gen, depth=depth, scope=scope)
    n_tokens = n_prompt + n_gen if energy_tokens is None else energy_tokens
    return KeptPhase(
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=depth,
        n_repetitions=n_repetitions,
        tok_s=tok_s,
        std_tok_s=std_tok_s,
        prediction=estimate,
        energy=None if isinstance(energy, Unmeasured) else KeptEnergy.of(energy, n_tokens=n_tokens),
        unmeasured=energy.reason if isinstance(energy, Unmeasured) else None,
        expected=expected,
    )


def _record(
    kind: RunKind,
    plan: Plan,
    occasion: Occasion,
    *,
    load: KeptLoad | None = None,
    phases: Sequence[KeptPhase] = (),
    health: Sequence[Health] = (),
) -> RunRecord:
    temperatures = [one.temperature_c for one in health if one.temperature_c is not None]
    return RunRecord(
        kind=kind,
        run=occasion.run,
        time=occasion.now.astimezone().isoformat(timespec="seconds"),
        model=_model(plan, occasion.content_id),
        plan=_plan(plan),
        machine=_machine(plan),
        engine=occasion.engine,
        localllm=__version__,
        load=load,
        phases=tuple(phases),
        temperature_c=max(temperatures, default=None),
        throttle=tuple(dict.fromkeys(why for one in health for why in one.throttle)),
    )


def _model(plan: Plan, content_id: str | None) -> KeptModel:
    model = plan.model
    return KeptModel(
        name=model.name,
        arch=model.arch,
        quant=model.quant,
        file_bytes=model.file_bytes,
        content_id=content_id,
        key=model_key(model),
    )


def _plan(plan: Plan) -> KeptPlan:
    return KeptPlan(
        basis=plan.basis,
        memory_basis=plan.memory_basis,
        n_ctx=plan.n_ctx,
        n_batch=plan.n_batch,
        n_ubatch=plan.n_ubatch,
        type_k=plan.type_k,
        type_v=plan.type_v,
        flash_attn=plan.flash_attn,
        n_gpu_layers=plan.n_gpu_layers,
        n_layer_total=plan.n_layer_total,
        n_host_expert_layers=len(run_of_plan(plan).placement.host_expert_layers),
        n_threads=plan.n_threads,
        use_mmap=plan.use_mmap,
        repack=plan.repack,
        placement_key=plan_placement_key(plan),
        power_limit_w=plan.power_limit_w,
    )


def _machine(plan: Plan) -> KeptMachine:
    hardware = plan.hardware
    by_name = {device.name: device for device in hardware.devices}
    used = [by_name[row.name] for row in plan.devices if row.kind == "gpu" and row.n_layers]
    drivers = dict.fromkeys(device.driver for device in used if device.driver is not None)
    return KeptMachine(
        key=machine_key(hardware),
        name=hardware.name,
        cpu=hardware.host.cpu,
        devices=tuple(device.name for device in used),
        products=tuple(device.description for device in used),
        driver=", ".join(drivers) or None,
    )
