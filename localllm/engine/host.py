"""What the child answers to each request. Imports llama.cpp; everything below it may."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localllm.core.buffers import BufferMemory
from localllm.core.generation import (
    ChatRequest,
    CompletionRequest,
    EngineDevice,
    EngineInfo,
    Event,
    Loaded,
    LoadProgress,
)
from localllm.engine.breakdown import Unreadable, memory_breakdown
from localllm.engine.llama import AbortFlag, C, Log, device_props, devices, ggml
from localllm.engine.loading import LoadedModel, load
from localllm.engine.protocol import (
    BenchRequest,
    FaultRequest,
    InfoRequest,
    LoadRequest,
    PingRequest,
    Pong,
    ProveRequest,
    Request,
)
from localllm.engine.readahead import read_ahead
from localllm.engine.talker import Talker
from localllm.engine.templates import Renderer
from localllm.engine.wire import Wire
from localllm.errors import EngineError

if TYPE_CHECKING:
    from localllm.engine.simulated import SimulatedDevice

_DEVICE_TYPES: dict[int, Literal["cpu", "gpu", "igpu", "accel"]] = {
    0: "cpu",
    1: "gpu",
    2: "igpu",
    3: "accel",
}
_PROGRESS_STEP = 0.01


class Host:
    """The state of the child: at most one model."""

    def __init__(self, wire: Wire, simulated: Sequence[Sequence[Any]] = ()) -> None:
        """Initialise llama.cpp's backends, and put simulated devices on its list.

        Raises ``EngineError`` where devices cannot be simulated with this llama.cpp.
        """
        self._wire = wire
        self._flag = AbortFlag()
        self._log = Log()
        wire.stop_with(self._flag)
        C.llama_backend_init()
        self._simulated = _simulate(simulated)
        self._talker: Talker | None = None

    def answer(self, request: Request) -> Event | EngineInfo | Pong:
        """Work on a request and return its terminal event. Raises ``LocalLLMError``."""
        match request:
            case LoadRequest():
                return self._load(request)
            case ChatRequest():
                return self._ready().chat(request)
            case CompletionRequest():
                return self._ready().complete(request)
            case BenchRequest():
                from localllm.engine import bench

                return bench.run(self._ready().engine, request.tests, self._wire)
            case ProveRequest():
                from localllm.engine import prove

                return prove.run(self._ready().engine, self._wire)
            case PingRequest():
                return self._ping()
            case InfoRequest():
                return _info()
            case FaultRequest():
                from localllm.engine import faults

                return faults.inject(request, self._talker, self._wire)

    def _ping(self) -> Pong:
        """Ask the devices in use how much memory is free: a lost one ends the process, or hangs."""
        if self._talker is not None:
            self._wire.trusts_cpu_time = False
            try:
                self._talker.touch_devices()
            finally:
                self._wire.trusts_cpu_time = True
        return Pong()

    def _ready(self) -> Talker:
        if self._talker is None:
            raise EngineError("No model is loaded.", hint="Load a model first.")
        return self._talker

    def _load(self, request: LoadRequest) -> Loaded:
        began = time.perf_counter()
        if self._talker is not None:
            raise EngineError("This engine process has a model already.")
        read_ahead(request.paths)
        renderer = Renderer()  # starts while the weights are read
        try:
            loaded = load(request, self._log, self._flag, _Progress(self._wire))
        except BaseException:
            renderer.close()
            raise
        self._talker = talker = Talker(loaded, renderer, self._wire)
        memory, unknown = _breakdown(loaded)
        return Loaded(
            load_s=time.perf_counter() - began,
            n_ctx=talker.engine.memory.n_ctx,
            n_vocab=talker.engine.vocab.n_tokens,
            description=_description(loaded.model),
            memory=memory,
            memory_unknown=unknown,
            rss_bytes=_rss_bytes(),
            template=talker.template_kind,
            can_shift=talker.engine.memory.can_shift,
            warnings=loaded.warnings,
        )


def warm_up() -> None:
    """Have llama.cpp's backends look for their devices: with a GPU that is most of a second.

    CUDA makes no context for it, so that what is free of the GPU's memory stays what it was.
    """
    C.llama_backend_init()
    ggml.ggml_backend_dev_count()


def _simulate(specs: Sequence[Sequence[Any]]) -> list[SimulatedDevice]:
    if not specs:
        return []
    from localllm.engine import layouts, simulated
    from localllm.engine.devices import SimulatedSpec

    try:
        layouts.check()
    except layouts.UnknownLayout as error:
        raise EngineError(f"Devices cannot be simulated: {error}.") from None
    made = [simulated.SimulatedDevice(SimulatedSpec(*spec)) for spec in specs]
    for device in made:
        device.register()
    return made


class _Progress:
    """Shows how far a load is, in steps of one percent, and answers whether it should go on."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._shown = -1.0

    def __call__(self, fraction: float) -> bool:
        self._wire.mark()
        if fraction - self._shown >= _PROGRESS_STEP or fraction >= 1 > self._shown:
            self._shown = fraction
            self._wire.emit(LoadProgress(fraction=fraction))
        return not self._wire.cancelled


def _breakdown(loaded: LoadedModel) -> tuple[tuple[BufferMemory, ...], str | None]:
    try:
        return memory_breakdown(loaded.model, loaded.context), None
    except Unreadable as error:
        return (), str(error)


def _description(model: int) -> str:
    buffer = ctypes.create_string_buffer(256)
    C.llama_model_desc(model, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _rss_bytes() -> int | None:
    """Return the resident memory of this process; on a Mac its peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        if sys.platform == "darwin":
            import resource

            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return None


def _info() -> EngineInfo:
    from importlib.metadata import PackageNotFoundError, version  # 18 ms that no load need wait for

    try:
        package_version = version("llama-cpp-python")
    except PackageNotFoundError:
        package_version = "unknown"
    return EngineInfo(
        version=package_version,
        system_info=C.llama_print_system_info().decode("utf-8", "replace"),
        devices=tuple(_device(name, device) for name, device in devices().items()),
        supports_rpc=bool(C.llama_supports_rpc()),
        library_path=str(C._lib._name),
        build_commit=ggml.ggml_commit().decode("utf-8", "replace"),
    )


def _device(name: str, device: int) -> EngineDevice:
    props = device_props(device)
    return EngineDevice(
        name=name,
        description=(props.description or b"").decode("utf-8", "replace").strip(),
        type=_DEVICE_TYPES.get(props.type, "accel"),
        total_bytes=props.memory_total,
        free_bytes=props.memory_free,
        device_id=props.device_id.decode().lower() if props.device_id else None,
    )
