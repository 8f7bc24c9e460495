"""What an engine is asked and what it answers: requests, events, statistics, the protocol.

Events are frozen values. A death of the engine is an event like any other (``Died``), so no shell
needs a second code path for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from localllm.core.buffers import BufferMemory

if TYPE_CHECKING:  # the engine's child imports this file, and no plans
    from localllm.core.plan import Plan

Role = Literal["system", "user", "assistant", "tool"]
Channel = Literal["answer", "reasoning"]
FinishReason = Literal["stop", "stop_string", "length", "context_full", "cancelled"]
"""``stop``: an end-of-generation token; ``length``: ``max_tokens``; ``context_full``: no room."""


SampledOn = Literal["host", "device", "both"]
"""Who drew an answer's tokens; ``both``: they were compared, or changed on the way."""


FailureCode = Literal["cancelled", "out_of_memory", "prompt_too_long", "template"]
"""``cancelled``: before there was an answer (load, bench); ``out_of_memory``: plan with less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    reasoning: str | None = None
    """Reasoning text of an assistant's turn; templates decide whether to keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. ``temperature`` 0 is greedy; the others are then ignored."""

    temperature: float = 0.8
    top_k: int = 40
    """0 keeps every token."""
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    """1 is off."""
    repeat_last_n: int = 64
    seed: int | None = None
    """None draws a fresh seed, which RunStats reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """Continue a conversation, rendered by the model's own chat template."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """None: until the model stops or the context is full."""
    stop: tuple[str, ...] = ()
    template_kwargs: Mapping[str, object] = field(default_factory=dict)
    """Arguments for the template: ``enable_thinking``, ``reasoning_effort`` ..."""
    context_shift: bool = False
    """When the context is full, drop the oldest half and go on, if the model can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """Continue a plain text, without a template."""

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    context_shift: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTest:
    """One test as llama-bench runs it: ``pp`` random prompt tokens, ``tg`` tokens, at a depth."""

    n_prompt: int
    n_gen: int
    n_depth: int = 0
    repetitions: int = 5

    @property
    def label(self) -> str:
        """llama-bench's label: ``pp512``, ``tg128 @ d512``, ``pp512+tg128``."""
        parts = [f"pp{self.n_prompt}"] * (self.n_prompt > 0) + [f"tg{self.n_gen}"] * (
            self.n_gen > 0
        )
        return "+".join(parts) + (f" @ d{self.n_depth}" if self.n_depth else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDevice:
    """A device as the installed llama.cpp enumerates it."""

    name: str
    description: str
    type: Literal["cpu", "gpu", "igpu", "accel"]
    total_bytes: int
    free_bytes: int
    device_id: str | None = None
    """PCI id in lower case where the backend knows one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What the installed llama.cpp is and sees."""

    version: str
    """Of llama-cpp-python."""
    system_info: str
    """``llama_print_system_info``: instruction sets and backends compiled in."""
    devices: tuple[EngineDevice, ...]
    supports_rpc: bool
    library_path: str
    build_commit: str = ""
    """Commit that llama.cpp was built from (``ggml_commit``); empty when it cannot be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """Share of the weights read so far, 0 to 1."""

    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The model is ready."""

    load_s: float
    n_ctx: int
    """As llama.cpp padded it."""
    n_vocab: int
    description: str
    """``llama_model_desc``: architecture, size and type."""
    memory: tuple[BufferMemory, ...]
    """Empty with a ``memory_unknown`` reason when the breakdown cannot be read."""
    rss_bytes: int | None
    """Resident memory of the child after the load."""
    template: Literal["model", "built-in", "none"]
    """Whose chat template is used."""
    can_shift: bool
    warnings: tuple[str, ...] = ()
    memory_unknown: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptProgress:
    """Prompt tokens evaluated so far; ``n_cached`` came from the previous turn."""

    n_done: int
    n_total: int
    n_cached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """New text. ``n_tokens`` is the number generated so far, ``tg_s`` the time they took."""

    text: str
    channel: Channel
    n_tokens: int
    tg_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStats:
    """What one answer took, measured inside the engine."""

    n_prompt: int
    """Tokens of the rendered prompt, cached ones included."""
    n_cached: int
    n_gen: int
    prompt_s: float
    """Time to evaluate the ``n_prompt - n_cached`` new prompt tokens."""
    tg_s: float
    """Time to generate tokens 2 to ``n_gen``; the first falls out of the prompt's evaluation."""
    ttft_s: float
    """From the request to the first token, rendering and tokenizing included."""
    n_ctx: int
    n_ctx_used: int
    seed: int

    @property
    def pp_tok_s(self) -> float | None:
        """Prompt tokens per second, or None where nothing was evaluated."""
        n = self.n_prompt - self.n_cached
        return n / self.prompt_s if n > 0 and self.prompt_s > 0 else None

    @property
    def tg_tok_s(self) -> float | None:
        """Generated tokens per second, or None with fewer than two tokens."""
        return (self.n_gen - 1) / self.tg_s if self.n_gen > 1 and self.tg_s > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the phases of an answer were, by ``time.monotonic``, which all processes share."""

    prompt_began_s: float
    prompt_ended_s: float
    first_token_s: float
    """When the first token was drawn; equal to ``prompt_ended_s`` where there was none."""
    last_token_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer is complete. The engine is ready for the next request."""

    reason: FinishReason
    stats: RunStats
    stop_string: str | None = None
    timeline: Timeline | None = None
    sampled_on: SampledOn = "host"
    sampled_why: str | None = None
    """Why there, as a clause: what was measured, or what stands against the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSample:
    """One repetition of a bench test."""

    test: BenchTest
    repetition: int
    """From 1; 0 is the warm-up, which does not count."""
    ns: int
    """Wall time in nanoseconds."""
    began_s: float = 0.0
    """When it began, by ``time.monotonic``; it ended ``ns`` later. 0: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchDone:
    """All bench tests have run."""

    peak_rss_bytes: int | None = None
    """The most memory that the engine's process ever had; None where it is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadNote:
    """A sentence for the person while a model is loaded: what changed, and why. Not the engine's:
    whoever runs it says so.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """The proof run held: a short prompt, then one that fills the context."""

    n_tokens: int
    """Tokens of the long prompt."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The engine refused a request and lives on: ``error`` is a class of ``localllm.errors``."""

    error: str
    """Name of the class: ``UsageError``, ``EngineError``, ``IntegrityError`` ..."""
    message: str
    hint: str | None = None
    code: FailureCode | None = None
    """For programs: what to do about it depends on this, not on the sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """The engine process ended or was ended. The next ``load`` starts a new one."""

    message: str
    """One sentence for a person: what died and why, the cause from its stderr included."""
    hint: str
    phase: Literal["start", "load", "prompt", "generate", "bench", "idle"]
    signal: str | None
    """``SIGKILL``, ``SIGABRT`` ..., or None when it exited by itself."""
    out_of_memory: bool
    """The cause reads like exhausted memory: planning with less may help."""
    stderr_tail: tuple[str, ...] = ()


Event = (
    LoadProgress
    | Loaded
    | PromptProgress
    | TextDelta
    | Finished
    | BenchSample
    | BenchDone
    | Proved
    | Failed
    | Died
)


class Engine(Protocol):
    """One llama.cpp process with at most one model. Iterators end after a terminal event.

    Terminal events are ``Loaded``, ``Finished``, ``BenchDone``, ``Proved``, ``Failed``, ``Died``.
    Closing an iterator early cancels its request. One request runs at a time.
    """

    @property
    def pid(self) -> int | None:
        """Process id, for meters; None while there is none."""

    def load(self, plan: Plan, paths: tuple[str, ...]) -> Iterator[Event]:
        """Load the model of ``plan`` from the parts of its file; replaces a loaded one."""

    def chat(self, request: ChatRequest) -> Iterator[Event]:
        """Answer a conversation."""

    def complete(self, request: CompletionRequest) -> Iterator[Event]:
        """Continue a plain text."""

    def bench(self, tests: tuple[BenchTest, ...]) -> Iterator[Event]:
        """Run bench tests on the loaded model."""

    def prove(self) -> Iterator[Event]:
        """Fill the context once, with progress, and forget it again."""

    def cancel(self) -> None:
        """Ask the running request to stop; safe from any thread, at any time."""

    def ping(self) -> Died | None:
        """Return the death of a process that answers no more, or whose devices do not."""

    def unload(self) -> None:
        """Let go of a loaded model, its process included: its memory is free afterwards."""

    def close(self) -> None:
        """End the process, within two seconds, whatever it is doing."""
