"""Vocabularies made in code: real enough for llama.cpp to load, tokenize and detokenize with.

A byte-level BPE vocabulary holds the 256 bytes, runs of spaces and dashes, halves of UTF-8
characters, common English words, and then syllables up to the size asked for, each with the merges
that lead to it. A SentencePiece vocabulary holds byte tokens and the same words. No file from
outside is needed, and every size and every set of special tokens can be had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from tests.support.gguf_writer import (
    F32,
    I32,
    Value,
    array,
    boolean,
    string,
    strings,
    u32,
)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_COMMON_WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do "
    "how their if will up other about out many then them these so some her would make like him "
    "into time has look two more write go see number no way could people my than first water been "
    "call who oil its now find long down day did get come made may part over new sound take only "
    "little work know place year live me back give most very after thing our just name good "
    "sentence man think say great where help through much before line right too mean old any same "
    "tell boy follow came want show also around form three small set put end does another well "
    "large must big even such because turn here why ask went men read need land different home us "
    "move try kind hand picture again change off play spell air away animal house point page "
    "letter mother answer found study still learn should world model token memory power layer "
    "context prompt plan fast slow speed bytes Hello hello What which command shows print return "
    "def class import "
)
WORDS = _COMMON_WORDS.split()


@dataclass(frozen=True, slots=True)
class Style:
    """How a family of models marks its turns."""

    model: str
    """``tokenizer.ggml.model``: ``gpt2`` (BPE) or ``llama`` (SentencePiece)."""
    pre: str
    control: tuple[str, ...]
    """Control tokens, BOS first."""
    eos: str
    user_defined: tuple[str, ...] = ()
    add_bos: bool = False
    template: str = ""


STYLES = {
    "llama-3": Style(
        model="gpt2",
        pre="llama-bpe",
        control=(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|reserved_special_token_0|>",
            "<|reserved_special_token_1|>",
            "<|finetune_right_pad_id|>",
            "<|reserved_special_token_2|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
        ),
        eos="<|eot_id|>",
        add_bos=True,
        template=(
            "{{ bos_token }}{% for message in messages %}"
            "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
            "{{ message.content | trim }}<|eot_id|>{% endfor %}"
            "{% if add_generation_prompt %}"
            "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
        ),
    ),
    "chatml": Style(
        model="gpt2",
        pre="qwen2",
        control=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        user_defined=("<think>", "</think>", "<tool_call>", "</tool_call>"),
        template=(
            "{% for message in messages %}<|im_start|>{{ message.role }}\n"
            "{{ message.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n"
            "{% if enable_thinking is defined and not enable_thinking %}"
            "<think>\n\n</think>\n\n{% endif %}{% endif %}"
        ),
    ),
    "harmony": Style(
        model="gpt2",
        pre="gpt-4o",
        control=(
            "<|startoftext|>",
            "<|endoftext|>",
            "<|return|>",
            "<|constrain|>",
            "<|channel|>",
            "<|start|>",
            "<|end|>",
            "<|message|>",
            "<|call|>",
        ),
        eos="<|return|>",
        template=(
            "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}"
            "<|end|>{% for message in messages %}"
            "<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
        ),
    ),
    "gemma": Style(
        model="llama",
        pre="default",
        control=("<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
        add_bos=True,
        template=(
            "{{ bos_token }}{% for message in messages %}<start_of_turn>"
            "{{ 'model' if message.role == 'assistant' else 'user' }}\n"
            "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
            "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
        ),
    ),
    "spm": Style(
        model="llama",
        pre="default",
        control=("<s>", "</s>"),
        eos="</s>",
        add_bos=True,
        template=(
            "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}"
            "{{ message.content }}{{ eos_token }}{% else %}[INST] {{ message.content }} [/INST]"
            "{% endif %}{% endfor %}"
        ),
    ),
}


@cache
def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a byte-level BPE (GPT-2's table)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(stand_ins)) for byte in range(256))


def vocabulary(style_name: str, n_tokens: int) -> dict[str, Value]:
    """The ``tokenizer.*`` keys of a vocabulary of exactly ``n_tokens``.

    ``style_name`` is a key of ``STYLES``, or ``none`` for a model without a vocabulary.
    """
    if style_name == "none":
        return {"tokenizer.ggml.model": string("no_vocab")}
    return dict(_vocabulary(style_name, n_tokens))


@cache
def _vocabulary(style_name: str, n_tokens: int) -> dict[str, Value]:
    style = STYLES[style_name]
    n_reserved = 256 if n_tokens > 32_000 else len(style.control) + len(style.user_defined) + 1
    if style.model == "gpt2":
        tokens, merges = _bpe(n_tokens - n_reserved)
        types = [NORMAL] * len(tokens)
    else:
        tokens, types = _sentence_pieces(n_tokens - n_reserved)
        merges = []
    specials = [*style.control, *style.user_defined]
    first_special = len(tokens)
    tokens += specials
    types += [CONTROL] * len(style.control) + [USER_DEFINED] * len(style.user_defined)
    n_left = n_tokens - len(tokens)
    tokens += [f"<|spare_{i}|>" for i in range(n_left)]
    types += [CONTROL] * n_left
    keys = {
        "tokenizer.ggml.model": string(style.model),
        "tokenizer.ggml.pre": string(style.pre),
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.token_type": array(I32, types),
    }
    if style.model == "gpt2":
        keys["tokenizer.ggml.merges"] = strings(merges)
    else:
        keys["tokenizer.ggml.scores"] = array(F32, [-float(i) for i in range(n_tokens)])
        keys["tokenizer.ggml.unknown_token_id"] = u32(0)
        keys["tokenizer.ggml.add_space_prefix"] = boolean(style_name == "spm")
    keys |= {
        "tokenizer.ggml.bos_token_id": u32(first_special),
        "tokenizer.ggml.eos_token_id": u32(first_special + specials.index(style.eos)),
        "tokenizer.ggml.add_bos_token": boolean(style.add_bos),
        "tokenizer.chat_template": string(style.template),
    }
    return keys


def _bpe(n_tokens: int) -> tuple[list[str], list[str]]:
    """Tokens and merges; about 2.2 merges a token, as Llama 3's vocabulary has."""
    if n_tokens < 256:
        raise ValueError("a byte-level vocabulary needs 256 tokens and its special tokens")
    # in GPT-2's order, printable bytes first: a hollow model, whose logits are all zero, says "!!!"
    tokens = dict.fromkeys(sorted(byte_characters()))
    merges: list[str] = []
    for left, right in _bpe_steps(n_tokens):
        if len(tokens) == n_tokens:
            break
        token = left + right
        if token not in tokens and left in tokens and right in tokens:
            tokens[token] = None
            merges.append(f"{left} {right}")
    known = dict.fromkeys(merges)
    n_merges = max(len(merges), int(n_tokens * 280_147 / 128_000)) if n_tokens > 32_000 else 0
    for token in (token for token in tokens if len(token) <= 16):
        if len(known) >= n_merges:
            break
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in tokens and right in tokens:
                known.setdefault(f"{left} {right}")
    return list(tokens), list(known)[:n_merges] if n_merges else merges


def _bpe_steps(n_tokens: int) -> Iterator[tuple[str, str]]:
    """Merges in order of priority, without end for all practical purposes."""
    char = byte_characters()
    space = char[0x20]
    for word in WORDS:
        for text in (space + word, word):
            for cut in range(1, len(text)):
                yield text[:cut], text[cut]
    if n_tokens > 8_192:
        for byte in b" \n-=\t#":
            for length in range(1, 128):
                yield char[byte] * length, char[byte]
        # UTF-8 comes apart between tokens: the first two bytes of Chinese characters and of emoji
        trail = range(0x80, 0xC0)
        for byte_1, byte_2 in product(range(0xE4, 0xEA), trail):
            yield char[byte_1], char[byte_2]
        yield char[0xF0], char[0x9F]
        for byte_3 in trail:
            yield char[0xF0] + char[0x9F], char[byte_3]
        for byte_2, byte_3 in product(range(0x80, 0xA0), trail):
            yield char[0xE4] + char[byte_2], char[byte_3]
    syllables = [c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"]
    for syllable in syllables:
        yield syllable[0], syllable[1]
        yield space, syllable
    for first, second in product(syllables, syllables):
        yield first, second
        yield space + first, second
    for first, second, third in product(syllables, syllables, syllables):
        yield first + second, third
        yield space + first + second, third


def _sentence_pieces(n_tokens: int) -> tuple[list[str], list[int]]:
    tokens = dict.fromkeys(["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))])
    types = [UNKNOWN] + [BYTE] * 256
    characters = [chr(i) for i in range(33, 127)]
    pieces: list[str] = ["▁", *characters, *("▁" + c for c in characters)]
    for word in WORDS:
        for cut in range(2, len(word) + 1):
            pieces += ["▁" + word[:cut], word[:cut]]
    for left, right in _bpe_steps(1):
        if len(tokens) >= n_tokens:
            break
        if pieces:
            for piece in pieces:
                if len(tokens) < n_tokens:
                    tokens.setdefault(piece)
            pieces = []
        if left.isascii() and right.isascii() and len(tokens) < n_tokens:
            tokens.setdefault(left + right)
            if len(tokens) < n_tokens:
                tokens.setdefault("▁" + left + right)
    return list(tokens), types + [NORMAL] * (len(tokens) - len(types))
