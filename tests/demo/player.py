"""The demo model on llama.cpp itself, greedy, through the low-level API only.

It stands apart from the engine on purpose: what it says about the model holds whatever the engine
does.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import jinja2
import llama_cpp
import numpy as np

N_CTX = 1024


# Kept here because llama.cpp keeps a bare pointer to it.
_quiet = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


class Player:
    """One loaded model: text to tokens and back, chat template, greedy answers, logits."""

    def __init__(self, path: Path) -> None:
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model)
        assert self._model, f"llama.cpp refuses {path}"
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context.n_batch = N_CTX
        context.n_threads = context.n_threads_batch = 1
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        source = llama_cpp.llama_model_chat_template(self._model, None).decode()
        self._template = environment.from_string(source)

    def close(self) -> None:
        """Free what llama.cpp holds."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def meta(self, key: str) -> str:
        """A metadata value, as llama.cpp prints it."""
        buffer = ctypes.create_string_buffer(4096)
        n = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        assert n >= 0, f"no {key}"
        return buffer.value.decode()

    def pieces(self) -> list[str]:
        """The text of every token of the vocabulary."""
        return [llama_cpp.llama_vocab_get_text(self.vocab, i).decode() for i in range(self.n_vocab)]

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text; `special` reads control tokens written in it."""
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 8))()
        n = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), False, special)
        assert n >= 0
        return list(ids[:n])

    def raw_bytes(self, ids: list[int]) -> bytes:
        """The bytes of tokens; control tokens have none."""
        out = b""
        buffer = ctypes.create_string_buffer(128)
        for i in ids:
            n = llama_cpp.llama_token_to_piece(self.vocab, i, buffer, len(buffer), 0, False)
            assert n >= 0
            out += buffer.raw[:n]
        return out

    def prompt(self, messages: list[dict[str, str]]) -> str:
        """The chat template's text of a conversation that waits for an answer."""

        def refuse(why: str) -> None:
            raise ValueError(why)

        bos = llama_cpp.llama_vocab_get_text(self.vocab, llama_cpp.llama_vocab_bos(self.vocab))
        return self._template.render(
            messages=messages,
            bos_token=bos.decode(),
            add_generation_prompt=True,
            raise_exception=refuse,
        )

    def ends(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def forget(self) -> None:
        """Start a new text."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def feed(self, ids: list[int]) -> Any:
        """Logits (n_vocab) after the last of `ids`, which go on the text so far."""
        tokens = (llama_cpp.llama_token * len(ids))(*ids)  # the batch only points to it
        batch = llama_cpp.llama_batch_get_one(tokens, len(ids))
        assert llama_cpp.llama_decode(self._context, batch) == 0
        logits = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (self.n_vocab,)).copy()

    def answer(self, *turns: str, system: str | None = None, limit: int = 160) -> tuple[str, bool]:
        """The greedy answer to alternating turns, user first, and whether it ended by itself."""
        messages = [{"role": "system", "content": system}] if system else []
        roles = ("user", "assistant")
        messages += [{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)]
        self.forget()
        ids = self.tokens(self.prompt(messages), special=True)
        said: list[int] = []
        while len(said) < limit:
            best = int(self.feed(ids).argmax())
            if self.ends(best):
                return self.raw_bytes(said).decode(), True
            said.append(best)
            ids = [best]
        return self.raw_bytes(said).decode("utf-8", "replace"), False
