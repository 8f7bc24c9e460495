"""What the child answers to each request. Imports llama.cpp; everything below it may."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from localllm.core.generation import (
    BufferMemory,
    ChatRequest,
    CompletionRequest,
    EngineDevice,
    EngineInfo,
    Event,
    Loaded,
    LoadProgress,
)
from localllm.engine import bench, faults, sampling
from localllm.engine.breakdown import Unreadable, memory_breakdown
from localllm.engine.chunks import prompt_chunk
from localllm.engine.llama import AbortFlag, C, Log, device_props, devices, ggml
from localllm.engine.loading import LoadedModel, load, widest_product
from localllm.engine.loop import Engine, Task, check_prompt, generate
from localllm.engine.memory import ContextMemory
from localllm.engine.protocol import (
    BenchRequest,
    FaultRequest,
    InfoRequest,
    LoadRequest,
    Request,
)
from localllm.engine.reasoning import HARMONY_MARKERS, TAG_MARKERS, Plain, is_harmony, separator_for
from localllm.engine.templates import CHATML, CHATML_STOP, ChatTemplate, Renderer
from localllm.engine.vocab import Vocab
from localllm.engine.wire import Wire
from localllm.errors import EngineError, LocalLLMError

_DEVICE_TYPES: dict[int, Literal["cpu", "gpu", "igpu", "accel"]] = {
    0: "cpu",
    1: "gpu",
    2: "igpu",
    3: "accel",
}
_PROGRESS_STEP = 0.01


class Host:
    """The state of the child: at most one model."""

    def __init__(self, wire: Wire) -> None:
        """Initialise llama.cpp's backends."""
        self._wire = wire
        self._flag = AbortFlag()
        self._log = Log()
        wire.stop_with(self._flag)
        C.llama_backend_init()
        self._loaded: LoadedModel | None = None
        self._engine: Engine | None = None
        self._template: ChatTemplate | None = None
        self._renderer: Renderer | None = None
        self._markup = ""

    def answer(self, request: Request) -> Event | EngineInfo:
        """Work on a request and return its terminal event. Raises ``LocalLLMError``."""
        match request:
            case LoadRequest():
                return self._load(request)
            case ChatRequest():
                return self._chat(request)
            case CompletionRequest():
                return self._complete(request)
            case BenchRequest():
                return bench.run(self._ready(), request.tests, self._wire)
            case InfoRequest():
                return _info()
            case FaultRequest():
                return faults.inject(request, self._engine, self._wire)

    def _load(self, request: LoadRequest) -> Loaded:
        began = time.perf_counter()
        if self._loaded is not None:
            raise EngineError("This engine process has a model already.")
        renderer = Renderer()  # starts while the weights are read
        shown = -1.0

        def progress(fraction: float) -> bool:
            nonlocal shown
            self._wire.mark()
            if fraction - shown >= _PROGRESS_STEP or fraction >= 1 > shown:
                shown = fraction
                self._wire.emit(LoadProgress(fraction=fraction))
            return not self._wire.cancelled

        try:
            loaded = load(request, self._log, self._flag, progress)
        except BaseException:
            renderer.close()
            raise
        self._loaded, self._renderer = loaded, renderer
        vocab = Vocab(loaded.model)
        memory = ContextMemory(loaded.model, loaded.context)
        self._engine = Engine(
            context=loaded.context,
            vocab=vocab,
            memory=memory,
            chunk_at=_chunks(loaded),
            on_gpu_only=loaded.on_gpu_only,
        )
        kind = self._find_template(vocab)
        buffers, unknown = _breakdown(loaded)
        return Loaded(
            load_s=time.perf_counter() - began,
            n_ctx=memory.n_ctx,
            n_vocab=vocab.n_tokens,
            description=_description(loaded.model),
            memory=buffers,
            memory_unknown=unknown,
            rss_bytes=_rss_bytes(),
            template=kind,
            can_shift=memory.can_shift,
            warnings=loaded.warnings,
        )

    def _find_template(self, vocab: Vocab) -> Literal["model", "built-in"]:
        assert self._loaded is not None
        source = C.llama_model_chat_template(self._loaded.model, None)
        text = CHATML if source is None else source.decode("utf-8", "replace")
        self._template = ChatTemplate(
            source=text, bos_token=vocab.text(vocab.bos), eos_token=vocab.text(vocab.eos)
        )
        markers = vocab.find(TAG_MARKERS)
        harmony = vocab.find(HARMONY_MARKERS)
        if is_harmony("".join(harmony)):
            markers |= harmony
        vocab.print_always(markers.values())
        self._markup = text + "".join(markers)
        return "built-in" if source is None else "model"

    def _ready(self) -> Engine:
        if self._engine is None:
            raise EngineError("No model is loaded.", hint="Load a model first.")
        return self._engine

    def _chat(self, request: ChatRequest) -> Event:
        began_s = time.perf_counter()
        engine = self._ready()
        assert self._template is not None and self._renderer is not None
        sampling.check(request.sampling)
        template, renderer = self._template, self._renderer
        rendered = renderer.chat(template, request)
        prompt = engine.vocab.tokenize_rendered(rendered)
        check_prompt(prompt, engine.memory.n_ctx)
        stop = request.stop if template.source != CHATML else (*request.stop, CHATML_STOP)
        task = Task(
            prompt=prompt,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            stop=stop,
            separator=separator_for(self._markup, rendered),
            began_s=began_s,
        )
        if request.context_shift:
            task.n_keep = lambda: self._n_system(request, prompt)
        return self._generate(engine, task)

    def _n_system(self, request: ChatRequest, prompt: list[int]) -> int:
        """Return how many tokens at the start of the prompt belong to the system message."""
        assert (
            self._template is not None and self._renderer is not None and self._engine is not None
        )
        n_least = 1 if self._engine.vocab.adds_bos else 0
        system = tuple(message for message in request.messages[:1] if message.role == "system")
        if not system:
            return n_least
        variables = self._template.variables(system, request.template_kwargs, prompt=False)
        try:
            text = self._renderer.render(self._template.source, variables, max_chars=2**22)
        except LocalLLMError:  # a template that wants a question: only BOS is kept
            return n_least
        tokens = self._engine.vocab.tokenize_rendered(text)
        n_common = 0
        for ours, theirs in zip(tokens, prompt, strict=False):
            if ours != theirs:
                break
            n_common += 1
        return max(n_least, min(n_common, self._engine.memory.n_ctx // 2))

    def _complete(self, request: CompletionRequest) -> Event:
        began_s = time.perf_counter()
        engine = self._ready()
        sampling.check(request.sampling)
        prompt = engine.vocab.tokenize(request.prompt, special=False, add_special=True)
        if not prompt and engine.vocab.bos >= 0:
            prompt = [engine.vocab.bos]
        task = Task(
            prompt=prompt,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            stop=request.stop,
            separator=Plain(),
            began_s=began_s,
        )
        if request.context_shift:
            task.n_keep = lambda: 1 if engine.vocab.adds_bos else 0
        return self._generate(engine, task)

    def _generate(self, engine: Engine, task: Task) -> Event:
        self._wire.trusts_cpu_time = not engine.on_gpu_only
        try:
            return generate(engine, task, self._wire)
        finally:
            self._wire.trusts_cpu_time = True


def _chunks(loaded: LoadedModel) -> Callable[[int], int]:
    request = loaded.request
    # Several GPUs work on several micro-batches of one batch at a time.
    n_max = request.n_batch if len(request.device_names) > 1 else request.n_ubatch
    n_embd: int = C.llama_model_n_embd(loaded.model)
    return partial(
        prompt_chunk,
        n_max=n_max,
        n_embd=n_embd,
        n_ff=widest_product(loaded.model) or 4 * n_embd,
        n_threads=None if request.device_names else request.n_threads,
    )


def _breakdown(loaded: LoadedModel) -> tuple[tuple[BufferMemory, ...], str | None]:
    try:
        return memory_breakdown(loaded.model, loaded.context), None
    except Unreadable as error:
        return (), str(error)


def _description(model: int) -> str:
    import ctypes

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
    try:
        package_version = version("llama-cpp-python")
    except PackageNotFoundError:
        package_version = "unknown"
    found = []
    for name, device in devices().items():
        props = device_props(device)
        found.append(
            EngineDevice(
                name=name,
                description=(props.description or b"").decode("utf-8", "replace").strip(),
                type=_DEVICE_TYPES.get(props.type, "accel"),
                total_bytes=props.memory_total,
                free_bytes=props.memory_free,
                device_id=props.device_id.decode().lower() if props.device_id else None,
            )
        )
    return EngineInfo(
        version=package_version,
        system_info=C.llama_print_system_info().decode("utf-8", "replace"),
        devices=tuple(found),
        supports_rpc=bool(C.llama_supports_rpc()),
        library_path=str(C._lib._name),
        build_commit=ggml.ggml_commit().decode(),
    )
