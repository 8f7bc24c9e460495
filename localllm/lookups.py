"""What a shell may ask without a session: models and machines by name, conversations, the engine.

Each is one door to an adapter, imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.core.hardware import THIS_MACHINE, Device, Hardware
from localllm.errors import UsageError
from localllm.hub.resolve import LocalModel, at_path, resolve
from localllm.planning import Plannable, check_quant

if TYPE_CHECKING:  # a plan needs none of these, and they take longer to define than it does to make
    from localllm.core.bench.cpu_use import CpuSeconds
    from localllm.core.generation import EngineInfo
    from localllm.core.metered.meters import SeenMeters
    from localllm.core.policy import Policy
    from localllm.records.conversations import Conversation, ConversationStore
    from localllm.records.entries import Transcript
    from localllm.records.history import PastRun, Sought
    from localllm.records.past import KeptFile


NameKind = Literal["repository", "address", "path", "tool", "plain"]
"""``plain``: an alias, a known model's name, or nothing that is known."""


def resolve_model(name: str) -> LocalModel:
    """Return the files and the header of a model: a path, a split file's first part, or ``demo``.

    Raises NotFoundError (exit 5) for a name that is neither, GGUFError (7) for a bad file.
    """
    return resolve(name)


def local_file(name: str, policy: Policy) -> LocalModel | None:
    """Return a model given by its path, or ``demo``; None for a name of another kind.

    Raises what ``resolve_model`` does, UsageError (2) for one in another quantisation than asked.
    """
    from localllm.hub.names.reading import PathName, read_name

    meant = read_name(name)
    if not isinstance(meant, PathName):
        return None
    model = at_path(meant.path)
    check_quant(model.spec, policy)
    return model


def resolve_for_plan(
    name: str, *, on_reading: Callable[[int, str | None], None] | None = None
) -> Plannable:
    """Return what is known of a model, for a plan: a file here, one at an address, or a shape.

    ``on_reading`` hears of a remote header's bytes so far and, while nothing comes, why. Raises
    what ``resolve_model`` does, and AccessError (exit 4) or NotFoundError (5) for a server.
    """
    from localllm.hub.resolve import resolve_for_plan as find

    if on_reading is None:
        return find(name)
    return find(name, on_reading=lambda reading: on_reading(reading.n_bytes, reading.waiting_for))


def without_quant(name: str) -> str:
    """Return a model's name without the quantisation that it asks for, if it does.

    Raises UsageError for a name that can mean nothing.
    """
    from localllm.hub.names.reading import read_name

    asks = getattr(read_name(name), "quant", None) is not None
    return name.rpartition(":")[0] if asks else name


def model_names() -> tuple[str, ...]:
    """Return the names of the known models, then the person's own, each sorted."""
    from localllm.hub.known.index import known_names
    from localllm.hub.names.aliases import read_aliases

    return (*known_names(), *sorted(read_aliases().names))


def name_kind(name: str) -> NameKind | None:
    """Return what a name would be looked up as; None for what can be no name.

    Whether there is such a model is not asked.
    """
    from localllm.hub.names.reading import AddressName, PathName, RepoName, ToolName
    from localllm.hub.resolve import meaning_of

    try:
        meant = meaning_of(name)
    except UsageError:
        return None
    kinds: tuple[tuple[type, NameKind], ...] = (
        (RepoName, "repository"),
        (AddressName, "address"),
        (PathName, "path"),
        (ToolName, "tool"),
    )
    return next((kind for form, kind in kinds if isinstance(meant, form)), "plain")


def engine_info() -> EngineInfo:
    """Return what the installed llama.cpp is and which devices it has.

    Raises EngineError where it is missing or does not load.
    """
    from localllm.engine.info import engine_info as ask

    return ask()


def detect_hardware(*, measure_bandwidth: bool = False, wake_gpus: bool = False) -> Hardware:
    """Return this machine, its devices in llama.cpp's order.

    llama.cpp is asked only where the machine shows signs of an accelerator: the question costs a
    child process (about half a second), and wakes a laptop's sleeping GPU, which ``wake_gpus``
    must allow. Without llama.cpp the answer is a note, not an error.
    """
    from localllm.errors import EngineError
    from localllm.probes.machine import accelerators_present, detect, gpu_sleeps

    devices = None
    if accelerators_present() and (wake_gpus or not gpu_sleeps()):
        try:
            devices = engine_info().devices
        except EngineError:
            devices = None
    return detect(devices, measure_bandwidth=measure_bandwidth, wake_gpus=wake_gpus)


def gpu_sleeps() -> bool:
    """Return whether a laptop's GPU is powered down: asking llama.cpp would wake it."""
    from localllm.probes.machine import gpu_sleeps as asleep

    return asleep()


def power_meters(hardware: Hardware) -> SeenMeters:
    """Return the power meters of this machine, and why others are missing; no GPU is woken."""
    from localllm.power.meter import Wanted
    from localllm.power.seen import see_meters

    pci_ids = (device.pci_id for device in hardware.devices)
    return see_meters(Wanted(pci_ids=tuple(pci_id for pci_id in pci_ids if pci_id is not None)))


def fresh_memory(hardware: Hardware, names: Collection[str]) -> Hardware:
    """Return this machine with what is free now of its RAM and of the devices with these names.

    A moment's work beside a detection. A machine that is not this one stays as it is.
    """
    if hardware.source != THIS_MACHINE:
        return hardware
    from localllm.probes.fresh import fresh_memory as read

    return read(hardware, names)


def memory_holders(device: Device | None) -> str | None:
    """Return who holds most of a GPU's memory, or of RAM (None): ``python (pid 4242) 3.10 GiB``."""
    from localllm.probes.fresh import who_holds

    return who_holds(device)


def hardware_named(*names: str) -> Hardware:
    """Return a machine by profile name (``rtx-4090``, ``2x rtx-4090``) or saved JSON file.

    Several names make one machine, as does ``+`` in one: ``rtx-4090+epyc-9654``. Raises UsageError
    with the nearest names for an unknown profile.
    """
    from localllm.probes.named import named_hardware

    return named_hardware([part for name in names for part in _parts(name)])


def hardware_sources(*names: str) -> tuple[tuple[str, str], ...]:
    """Return where the figures of a machine by name come from: each profile's name and sources.

    Nothing of a saved JSON file: its figures were read on the machine itself. Raises UsageError for
    an unknown name.
    """
    from localllm.probes.profiles import load_profile

    parts = [part for name in names for part in _parts(name)]
    profiles = [load_profile(part) for part in parts if not _is_file(part)]
    return tuple(dict.fromkeys((profile.name, profile.source) for profile in profiles))


def _is_file(name: str) -> bool:
    return name.lower().endswith(".json") or Path(name).is_file()


def _parts(name: str) -> tuple[str, ...]:
    if _is_file(name):
        return (name,)
    parts = tuple(part.strip() for part in name.split("+"))
    if not all(parts):
        raise UsageError(f'"{name[:60]}" names no machine.', hint="As in rtx-4090+epyc-9654.")
    return parts


def hardware_names() -> tuple[str, ...]:
    """Return the names of all hardware profiles, sorted."""
    from localllm.probes.profiles import profile_names

    return profile_names()


def conversation_store() -> ConversationStore:
    """Return the conversations kept in the state folder; nothing is made before one is kept."""
    from localllm.records.conversations import ConversationStore
    from localllm.records.state import state_dir

    return ConversationStore(state_dir() / "conversations")


def read_conversation(path: Path) -> Transcript:
    """Return a conversation that was saved to a file. Raises what ``records.export.read`` does."""
    from localllm.records.export import read

    return read(path)


def save_conversation(conversation: Conversation, path: Path) -> None:
    """Write a conversation to a file, as Markdown or JSON Lines by its ending."""
    from localllm.records.export import save

    save(conversation, path)


def cpu_seconds() -> CpuSeconds | None:
    """Return how long everybody and we have kept the processors busy; None where nobody tells."""
    from localllm.probes.busy import cpu_seconds as look

    return look()


def resident_bytes(pid: int) -> int | None:
    """Return the memory that a process holds now; None where nobody tells."""
    from localllm.probes.resident import resident_bytes as look

    return look(pid)


def bench_folder() -> Path:
    """Return where benchmarks are saved if nobody says otherwise; it may not exist yet."""
    from localllm.records.state import state_dir

    return state_dir() / "bench"


def past_runs(sought: Sought) -> tuple[PastRun, ...]:
    """Return the runs that were kept, the one used last first; none where nothing was.

    Raises LocalLLMError (exit 1) for a history that cannot be read.
    """
    from localllm.records.past import past_runs as find

    return find(sought)


def kept_files() -> tuple[KeptFile, ...]:
    """Return the files that hold what was measured. Raises LocalLLMError (exit 1)."""
    from localllm.records.past import kept_files as find

    return find()


def forget(files: Sequence[KeptFile]) -> None:
    """Delete what was measured. Raises LocalLLMError (exit 1) where that is not allowed."""
    from localllm.records.past import forget as delete

    delete(files)


def input_history_path() -> Path | None:
    """Return the file of typed lines, private to the person; None where it cannot be kept."""
    from localllm.records.state import private_file, state_dir

    try:
        return private_file(state_dir() / "chat-history")
    except OSError:
        return None
