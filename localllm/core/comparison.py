"""One model on several machines: what each gets, what it lacks, and the JSON document of it.

Each machine is planned for itself; what is chosen there is decided in ``choice.py``. A machine
that cannot take a wish (layers on a GPU that it has not got) keeps its row, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from localllm.core.choice import Choice, Chooser, Option
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import SpeedEstimate
from localllm.core.policy import Policy
from localllm.core.settings import DEFAULT_N_UBATCH
from localllm.core.solution import Solution
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

COMPARE_SCHEMA = "localllm.compare/1"

ChooserOf = Callable[[Sequence[ModelSpec]], Chooser]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine, and what was measured on it."""

    label: str
    """What its row is called."""
    hardware: Hardware
    calibration: Calibration | None = None
    """What was measured on it; only of this machine anything was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Memory that is missing at one place."""

    place: str
    """A device's name, or ``RAM``."""
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One machine and what was chosen for it."""

    machine: Machine
    choice: Choice | None
    refusal: UsageError | None = None
    """Why there is no choice: a wish that this machine cannot take."""

    @property
    def option(self) -> Option | None:
        """What was taken, whether it fits or not."""
        return self.choice.best if self.choice else None

    @property
    def fits(self) -> bool:
        """Whether the model runs there as chosen."""
        return self.option is not None and self.option.fits

    @property
    def shortages(self) -> tuple[Shortage, ...]:
        """What is missing where it does not fit."""
        return shortages(self.option.solution) if self.option else ()


def compare(
    models: Sequence[ModelSpec],
    machines: Iterable[Machine],
    policy: Policy,
    *,
    chooser: ChooserOf = Chooser,
) -> tuple[Entry, ...]:
    """Choose for each machine, in the order given, among a model's quantisations.

    Raises the first machine's UsageError where every machine refuses the wishes: they are the
    problem then, not the machines.
    """
    asked = chooser(models)
    entries = tuple(_entry(asked, machine, policy) for machine in machines)
    first = next((entry.refusal for entry in entries), None)
    if first is not None and all(entry.refusal for entry in entries):
        raise first
    return entries


def compare_each(
    models: Sequence[ModelSpec],
    machines: Sequence[Machine],
    policy: Policy,
    *,
    chooser: ChooserOf = Chooser,
) -> tuple[tuple[Entry, ...], ...]:
    """Return ``compare`` for every quantisation by itself: one tuple of machines for each model.

    With one KV type and one batch for all, f16 and llama.cpp's own where none was asked for, so
    that cells can be compared.
    """
    alike = replace(policy.with_usual_kv(), n_ubatch=policy.n_ubatch or DEFAULT_N_UBATCH)
    return tuple(compare([model], machines, alike, chooser=chooser) for model in models)


def shortages(solution: Solution) -> tuple[Shortage, ...]:
    """What a placement lacks, place by place; nothing where it fits."""
    return tuple(
        Shortage(place="RAM" if row.kind == "host" else row.name, n_bytes=-(row.spare_bytes or 0))
        for row in solution.rows
        if row.spare_bytes is not None and row.spare_bytes < 0
    )


def comparison_document(
    entries: Iterable[Entry], *, version: str, command: Sequence[str]
) -> dict[str, Any]:
    """Return a comparison as its JSON document; a row's names are those of a plan's document."""
    rows = [entry_document(entry) for entry in entries]
    return {
        "schema": COMPARE_SCHEMA,
        "localllm": version,
        "command": list(command),
        "estimate": True,
        "rows": rows,
    }


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return one machine's row; what was not chosen or is not known is None."""
    hardware, option = entry.machine.hardware, entry.option
    choice = entry.choice
    row: dict[str, Any] = {
        "name": entry.machine.label,
        "hardware": {"name": hardware.name, "source": hardware.source},
        "refusal": entry.refusal.message if entry.refusal else None,
        "short": [{"device": s.place, "bytes": s.n_bytes} for s in entry.shortages],
        "reason": choice.reason if choice else None,
        "unmet": choice.unmet if choice else None,
    }
    return row | (option_document(option) if option else dict.fromkeys(OPTION_FIELDS))


OPTION_FIELDS = (
    "verdict",
    "model",
    "n_ctx",
    "n_ubatch",
    "n_batch",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_layer_total",
    "n_cpu_moe",
    "tensor_split",
    "n_threads",
    "needed_bytes",
    "loss",
    "speed",
    "power",
    "cost",
)
"""Names of what one option adds to a row."""


def option_document(option: Option) -> dict[str, Any]:
    """Return one option by the names of a plan's document, and its quality loss."""
    model, solution = option.model, option.solution
    settings, placement = solution.settings, solution.placement
    shape = settings.shape
    values = (
        solution.verdict,
        {
            "name": model.name,
            "source": model.source,
            "arch": model.arch,
            "quant": model.quant,
            "n_params": model.n_params,
            "file_bytes": model.file_bytes,
        },
        shape.n_ctx,
        shape.n_ubatch,
        settings.n_batch,
        shape.type_k,
        shape.type_v,
        placement.n_gpu_layers,
        model.n_layer_total,
        len(placement.host_expert_layers),
        [float(n) for n in placement.layers_per_device],
        settings.n_threads,
        sum(row.needed_bytes for row in solution.rows),
        asdict(option.loss),
        speed_document(option.speed),
        asdict(option.power) if option.power else None,
        asdict(option.cost) if option.cost else None,
    )
    return dict(zip(OPTION_FIELDS, values, strict=True))


def speed_document(speed: SpeedEstimate | None) -> dict[str, Any] | None:
    """Return a speed estimate without the arithmetic behind it, which ``plan`` shows."""
    if speed is None:
        return None
    document = asdict(replace(speed, decode=None, prefill=None))
    return {key: value for key, value in document.items() if key not in ("decode", "prefill")}


def _entry(chooser: Chooser, machine: Machine, policy: Policy) -> Entry:
    try:
        choice = chooser.choose(
            machine.hardware, policy, alternatives=False, calibration=machine.calibration
        )
    except UsageError as error:
        return Entry(machine=machine, choice=None, refusal=error)
    return Entry(machine=machine, choice=choice)
