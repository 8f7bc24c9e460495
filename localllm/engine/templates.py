"""Chat templates under a deadline: the child's side of the ``render`` process.

A model without a template is addressed in ChatML, and the client is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localllm.core.generation import ChatRequest, Message
from localllm.engine.refusals import TemplateFailed
from localllm.errors import LocalLLMError, UsageError
from localllm.units import KiB

DEADLINE_S = 2.0
_START_S = 20.0
MAX_TEMPLATE_BYTES = 256 * KiB
_MAX_PLAIN_CHARS = 2**20
_FROM_ELSEWHERE = "The template comes with the model file: take the model from another source."
_RESERVED = frozenset({"messages", "add_generation_prompt", "raise_exception", "strftime_now"})

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The built-in format, named as llama.cpp names it."""
CHATML_STOP = "<|im_end|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A template and the texts that it may refer to."""

    source: str
    bos_token: str
    eos_token: str

    def variables(
        self, messages: tuple[Message, ...], arguments: Mapping[str, object], *, prompt: bool
    ) -> dict[str, Any]:
        """Return what the template is given. ``prompt``: end with the start of an answer."""
        return {
            "tools": None,
            "functions": None,
            "tool_choice": None,
            "documents": None,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            **{name: value for name, value in arguments.items() if name not in _RESERVED},
            "messages": [message_variables(message) for message in messages],
            "add_generation_prompt": prompt,
        }


def message_variables(message: Message) -> dict[str, str]:
    """Return a message as templates know it; reasoning under both names that are in use."""
    variables = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        variables |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    return variables


class Renderer:
    """A ``render`` process, started early and replaced when a template has cost its life."""

    def __init__(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Start the process; it is ready long before a model is."""
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._start()

    def chat(self, template: ChatTemplate, request: ChatRequest) -> str:
        """Render a conversation up to the start of the answer. Raises ``LocalLLMError``."""
        return self.render(
            template.source,
            template.variables(request.messages, request.template_kwargs, prompt=True),
            max_chars=_MAX_PLAIN_CHARS + 4 * sum(len(m.content) for m in request.messages),
        )

    def render(self, source: str, variables: dict[str, Any], *, max_chars: int) -> str:
        """Render any template under the limits. Raises ``TemplateFailed`` and ``UsageError``."""
        if len(source.encode("utf-8", "replace")) > MAX_TEMPLATE_BYTES:
            raise TemplateFailed(
                f"The model's chat template is longer than {MAX_TEMPLATE_BYTES // KiB} KiB.",
                hint=_FROM_ELSEWHERE,
            )
        request = {"template": source, "variables": variables, "max_chars": max_chars}
        try:
            line = json.dumps(request).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise UsageError(f"A template argument cannot be passed on: {error}.") from None
        answer = self._ask(line)
        if "text" in answer:
            return answer["text"]
        raise _error(answer)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        """Return a process that lives."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "localllm.engine.render"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
            self._ready = False
        return self._process

    def _ask(self, line: bytes) -> dict[str, str]:
        """Return the answer, or an error of kind ``time`` or ``died``."""
        process = self._start()
        try:
            if not self._ready:  # its own start is not the template's fault
                self._ready = self._exchange(process, b"", _START_S) is not None
            answer = self._exchange(process, line, self._deadline_s) if self._ready else None
        except BrokenPipeError:
            self.close()
            return {"kind": "died", "error": "it ended the process that rendered it"}
        if answer is None:
            self.close()
            return {"kind": "time", "error": f"it took longer than {self._deadline_s:g} s"}
        decoded: dict[str, str] = json.loads(answer)
        return decoded

    def _exchange(
        self, process: subprocess.Popen[bytes], line: bytes, timeout_s: float
    ) -> bytes | None:
        """Write a line and return the next one, or None when the time is over."""
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + timeout_s
        received, rest = b"", memoryview(line)
        while not received.endswith(b"\n"):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            readable, writable, _ = select.select(
                [process.stdout], [process.stdin] if rest else [], [], remaining_s
            )
            if writable:
                rest = rest[os.write(process.stdin.fileno(), rest) :]
            if readable:
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise BrokenPipeError
                received += chunk
        return received


def _error(answer: dict[str, str]) -> LocalLLMError:
    """Return the typed error for what went wrong in the ``render`` process."""
    kind, text = answer["kind"], answer["error"]
    if kind == "refused":
        return UsageError(
            f"The model's chat template does not accept this conversation: {text.rstrip('.')}.",
            hint="Some models take no system message, or want user and assistant to alternate.",
        )
    if kind == "security":
        return TemplateFailed(
            f"The model's chat template tried something forbidden: {text.rstrip('.')}.",
            hint=_FROM_ELSEWHERE,
        )
    return TemplateFailed(
        f"The model's chat template could not be rendered: {text}.", hint=_FROM_ELSEWHERE
    )
