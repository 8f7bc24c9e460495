"""A loaded model that answers: requests become token prompts, and ``loop`` does the rest."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from localllm.core.generation import ChatRequest, CompletionRequest, Finished
from localllm.engine import sampling
from localllm.engine.chunks import prompt_chunk
from localllm.engine.drawing import Drawing
from localllm.engine.llama import C, device_props, devices
from localllm.engine.loading import LoadedModel, widest_product
from localllm.engine.loop import Engine, Task, check_prompt, generate
from localllm.engine.memory import ContextMemory
from localllm.engine.reasoning import (
    HARMONY_MARKERS,
    TAG_MARKERS,
    Plain,
    Separator,
    is_harmony,
    separator_for,
)
from localllm.engine.templates import CHATML, CHATML_STOP, ChatTemplate, Renderer
from localllm.engine.vocab import Vocab
from localllm.engine.wire import Wire
from localllm.errors import LocalLLMError

_MAX_SYSTEM_CHARS = 2**22


class Talker:
    """Chats and completions on one model."""

    def __init__(self, loaded: LoadedModel, renderer: Renderer, wire: Wire) -> None:
        """Find the chat template and the reasoning markup; keep everything C points at."""
        self._loaded, self._renderer, self._wire = loaded, renderer, wire
        vocab = Vocab(loaded.model)
        self.engine = Engine(
            context=loaded.context,
            vocab=vocab,
            memory=ContextMemory(loaded.model, loaded.context),
            chunk_at=_chunks(loaded),
            on_gpu_only=loaded.on_gpu_only,
            drawing=_drawing(loaded, vocab),
        )
        source = C.llama_model_chat_template(loaded.model, None)
        self.template_kind: Literal["model", "built-in"] = "model" if source else "built-in"
        text = source.decode("utf-8", "replace") if source else CHATML
        self._template = ChatTemplate(
            source=text, bos_token=vocab.text(vocab.bos), eos_token=vocab.text(vocab.eos)
        )
        markers = vocab.find(TAG_MARKERS)
        harmony = vocab.find(HARMONY_MARKERS)
        if is_harmony("".join(harmony)):
            markers |= harmony
        vocab.print_always(markers.values())
        self._markup = text + "".join(markers)

    def touch_devices(self) -> None:
        """Ask every device in use something that its driver has to answer."""
        known = devices()
        for name in self._loaded.request.device_names:
            device_props(known[name])

    def separator(self, prompt: str) -> Separator:
        """Return what keeps reasoning and answer apart, after a rendered prompt."""
        return separator_for(self._markup, prompt)

    def chat(self, request: ChatRequest) -> Finished:
        """Answer a conversation. Raises ``LocalLLMError``."""
        began_s = time.monotonic()
        sampling.check(request.sampling)
        rendered = self._renderer.chat(self._template, request)
        prompt = self.engine.vocab.tokenize_rendered(rendered)
        ends_in_chatml = self.template_kind == "built-in" and CHATML_STOP not in request.stop
        task = Task(
            prompt=prompt,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            stop=(*request.stop, CHATML_STOP) if ends_in_chatml else request.stop,
            separator=self.separator(rendered),
            began_s=began_s,
            n_keep=partial(self._n_system, request, prompt) if request.context_shift else None,
        )
        end = self._generate(task)
        if ends_in_chatml and end.stop_string == CHATML_STOP:
            return dataclasses.replace(end, reason="stop", stop_string=None)
        return end

    def complete(self, request: CompletionRequest) -> Finished:
        """Continue a text, in which markup is read as such. Raises ``LocalLLMError``."""
        began_s = time.monotonic()
        sampling.check(request.sampling)
        vocab = self.engine.vocab
        prompt = vocab.tokenize(request.prompt, special=True, add_special=True)
        if not prompt and vocab.bos >= 0:
            prompt = [vocab.bos]
        task = Task(
            prompt=prompt,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            stop=request.stop,
            separator=Plain(),
            began_s=began_s,
            n_keep=(lambda: int(vocab.adds_bos)) if request.context_shift else None,
        )
        return self._generate(task)

    def _generate(self, task: Task) -> Finished:
        check_prompt(task.prompt, self.engine.memory.n_ctx)
        self._wire.trusts_cpu_time = not self.engine.on_gpu_only
        try:
            return generate(self.engine, task, self._wire)
        finally:
            self._wire.trusts_cpu_time = True

    def _n_system(self, request: ChatRequest, prompt: list[int]) -> int:
        """Return how many tokens at the start of the prompt belong to the system message."""
        n_least = int(self.engine.vocab.adds_bos)
        system = tuple(message for message in request.messages[:1] if message.role == "system")
        if not system:
            return n_least
        variables = self._template.variables(system, request.template_kwargs, prompt=False)
        try:
            text = self._renderer.render(
                self._template.source, variables, max_chars=_MAX_SYSTEM_CHARS
            )
        except LocalLLMError:  # a template that wants a question: only BOS is kept
            return n_least
        n_common = 0
        for ours, theirs in zip(self.engine.vocab.tokenize_rendered(text), prompt, strict=False):
            if ours != theirs:
                break
            n_common += 1
        return max(n_least, min(n_common, self.engine.memory.n_ctx // 2))


def _drawing(loaded: LoadedModel, vocab: Vocab) -> Drawing:
    """Return who draws the tokens of a model."""
    request = loaded.request
    why_not = None
    if not loaded.on_gpu_only:
        why_not = "not all of the model is on GPUs"
    elif not request.device_sampling:
        why_not = "an engine died while answering before"
    elif request.n_seq > 1 or not hasattr(C, "llama_set_sampler"):
        why_not = "llama.cpp cannot draw on the device here"

    def free_bytes() -> int | None:
        known = devices()
        free = [device_props(known[name]).memory_free for name in request.device_names]
        return min(free, default=None)

    return Drawing(loaded.context, vocab.n_tokens, why_not=why_not, free_bytes=free_bytes)


def _chunks(loaded: LoadedModel) -> Callable[[int], int]:
    """Return the size of the prompt's next chunk as a function of its position."""
    request, context = loaded.request, loaded.context
    n_embd: int = C.llama_model_n_embd(loaded.model)
    return partial(
        prompt_chunk,
        # Several GPUs work on several micro-batches of one batch at a time.
        n_max=(C.llama_n_batch if len(request.device_names) > 1 else C.llama_n_ubatch)(context),
        n_embd=n_embd,
        n_ff=widest_product(loaded.model) or 4 * n_embd,
        n_threads=None if request.device_names else request.n_threads,
    )
