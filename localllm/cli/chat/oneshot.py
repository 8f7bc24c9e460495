"""One answer on standard output, for pipes and scripts; whatever else there is to say on stderr."""

from __future__ import annotations

import dataclasses
import sys

from localllm.cli.chat.state import TerminalChat
from localllm.cli.output import LiveLine, emit_json, note
from localllm.core.generation import CompletionRequest, Event, PromptProgress, TextDelta
from localllm.core.text import safe
from localllm.errors import EngineError, UsageError
from localllm.talking.turn import Answer
from localllm.words.failures import failure

SCHEMA = "localllm.answer/1"


class OnceView:
    """Writes the answer as it comes, and shows on stderr that something is going on before."""

    def __init__(self, *, silent: bool) -> None:
        """Write to standard output, or nothing at all with ``silent``."""
        self._silent = silent
        self._terminal = sys.stdout.isatty()
        self._line = LiveLine()
        self._started = False
        self._broken = False
        self._ends_line = True

    def show(self, event: Event) -> None:
        """Write new text of the answer."""
        if isinstance(event, PromptProgress) and event.n_total > event.n_done:
            self._line.draw(f"reading the prompt {event.n_done:,}/{event.n_total:,}")
        elif isinstance(event, TextDelta) and event.channel == "reasoning":
            self._line.draw(f"thinking: {event.n_tokens:,} tokens")
        elif isinstance(event, TextDelta):
            self._line.wipe()
            text = event.text if self._started else event.text.lstrip("\n")
            if text and not self._silent:
                self._write(text)

    def tick(self) -> None:
        """Nothing moves."""

    def start_below(self) -> None:
        """Nothing is repainted."""

    def end(self) -> None:
        """End the last line."""
        self._line.wipe()
        if self._started and not self._ends_line and not self._broken:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._started = True
        self._ends_line = text.endswith("\n")
        try:
            sys.stdout.write(safe(text) if self._terminal else text)
            sys.stdout.flush()
        except OSError:
            self._broken = True
            raise


def answer_once(chat: TerminalChat, text: str, *, as_json: bool, raw: bool) -> None:
    """Answer ``text`` within the conversation, or continue it if ``raw``, and print the answer.

    Raises what the engine failed with (EngineError keeps the partial answer), KeyboardInterrupt
    after Ctrl-C, BrokenPipeError when the reader has left.
    """
    loaded = chat.load()
    watched = sys.stderr.isatty()
    for warning in loaded.warnings if watched else ():
        note(warning)
    request = None
    if not raw:
        chat.say(text)
    else:
        settings = chat.settings
        request = CompletionRequest(
            prompt=text,
            sampling=settings.sampling,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            context_shift=settings.context_shift,
        )
    answer = chat.answer(OnceView(silent=as_json), completion=request)
    if as_json and (answer.fault is None or answer.content):
        emit_json(_document(chat, answer))
    if answer.fault is not None:
        error = failure(answer.fault)
        if isinstance(error, EngineError):
            error.partial = answer.content
        raise error
    if chat.interrupts.stopped:
        raise KeyboardInterrupt
    if watched:
        from localllm.cli.chat import report

        remarks = [report.ending(answer, chat), report.footer(answer, chat.session.plan)]
        note(" · ".join(remark for remark in remarks if remark))
    problem = chat.write_error()
    if problem is not None:
        note(f"This conversation could not be kept: {problem}.")
    unmeasured = chat.session.measuring.problem()
    if unmeasured is not None:
        note(unmeasured)


def question(prompt: str | None) -> str:
    """Return what is asked: ``-p``, then what was piped in. Raises UsageError for nothing."""
    piped = ""
    if sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty():
        piped = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    text = "\n\n".join(part for part in ((prompt or "").strip(), piped) if part)
    if not text:
        raise UsageError(
            "There is no question.",
            hint='Ask with -p "...", or pipe a text in. At a terminal, leave both out to talk.',
        )
    return text


def _document(chat: TerminalChat, answer: Answer) -> dict[str, object]:
    from localllm.core.metered.document import answer_energy_document

    session, stats = chat.session, answer.stats
    loaded, plan, model = session.loaded, session.plan, session.model
    document: dict[str, object] = {
        "schema": SCHEMA,
        "model": chat.model_name,
        "model_name": model.spec.name if model is not None else None,
        "quant": model.spec.quant if model is not None else None,
        "content": answer.content,
        "reasoning": answer.reasoning,
        "thought_s": answer.thought_s,
        "finish_reason": answer.finish_reason,
        "stop_string": answer.stop_string,
        "n_ctx": loaded.n_ctx if loaded is not None else plan.n_ctx if plan is not None else None,
        "template": loaded.template if loaded is not None else None,
        "stats": None,
        "energy": None if answer.energy is None else answer_energy_document(answer.energy),
        "memory": [dataclasses.asdict(row) for row in session.memory_comparison()],
        "warnings": list(loaded.warnings) if loaded is not None else [],
    }
    if stats is not None:
        rates: dict[str, object] = {"tg_tok_s": stats.tg_tok_s, "pp_tok_s": stats.pp_tok_s}
        document["stats"] = {**dataclasses.asdict(stats), **rates}
    if answer.fault is not None:
        document["error"] = {"message": answer.fault.message, "hint": answer.fault.hint}
    return document
