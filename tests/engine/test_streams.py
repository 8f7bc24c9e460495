"""From token to text: nothing is lost, nothing stalls, reasoning is kept apart."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from localllm.engine.client import EngineClient
from localllm.engine.protocol import FaultRequest
from tests.engine.support import (
    ask,
    finish,
    load,
    long_answer,
    numbers_of,
    strings_of,
    text_of,
    token_ids,
)
from tests.support import shapes
from tests.support.gguf_maker import make_model
from tests.support.gguf_vocab import byte_characters, vocabulary
from tests.support.gguf_writer import I32, array


class TestText:
    def test_bytes_that_never_form_a_character_do_not_stall_the_stream(
        self, engine: EngineClient
    ) -> None:
        request = long_answer(engine, 600)
        times = [time.monotonic()]
        events = []
        for event in engine.complete(request):
            times.append(time.monotonic())
            events.append(event)
        assert finish(events).stats.n_gen == 600
        assert "\ufffd" in text_of(events)
        assert max(b - a for a, b in itertools.pairwise(times)) < 1

    def test_no_token_of_a_128k_vocabulary_is_lost(self, toy_128k_model: Path) -> None:
        keys = vocabulary("llama-3", 128_256)
        tokens = strings_of(keys["tokenizer.ggml.tokens"])
        types = numbers_of(keys["tokenizer.ggml.token_type"])
        byte_of = {character: byte for byte, character in enumerate(byte_characters())}
        expected = b"".join(
            bytes(byte_of[character] for character in token)
            for token, kind in zip(tokens, types, strict=True)
            if kind == 1
        )
        with EngineClient() as engine:
            assert load(engine, toy_128k_model).n_vocab == len(tokens) == 128_256
            echo = FaultRequest(fault="echo", tokens=tuple(range(128_256)))
            text = text_of(engine.inject_fault(echo))
        assert text == expected.decode("utf-8", "replace")

    def test_a_token_costs_at_the_end_of_a_long_answer_what_it_cost_at_its_start(
        self, endless: EngineClient
    ) -> None:
        """40,000 tokens on their way from the vocabulary to the consumer, without llama.cpp's part.

        Anything that looks at the whole answer for each token is 40 times slower at the end.
        """
        echo = FaultRequest(fault="echo", tokens=(300,) * 40_000)
        times = [time.monotonic() for _ in endless.inject_fault(echo)]
        quarter = len(times) // 4
        first, last = times[quarter] - times[0], times[-1] - times[-quarter]
        assert last < 4 * first

    def test_control_tokens_are_not_printed(self, engine: EngineClient) -> None:
        n_control = 40  # at the end of the toy's vocabulary
        echo = FaultRequest(fault="echo", tokens=tuple(range(1024 - n_control, 1024)))
        assert "<|" not in text_of(engine.inject_fault(echo))


class TestReasoning:
    def test_template_arguments_reach_the_template(self, toy_qwen3_model: Path) -> None:
        with EngineClient() as engine:
            load(engine, toy_qwen3_model)
            off = ask("Hello", template_kwargs={"enable_thinking": False}, max_tokens=1)
            n_without = finish(engine.chat(ask("Hello", max_tokens=1))).stats.n_prompt
            assert finish(engine.chat(off)).stats.n_prompt > n_without  # <think>\n\n</think>

    def test_think_tokens_keep_reasoning_apart(self, toy_qwen3_model: Path) -> None:
        ids = token_ids("chatml", 1024, "<think>", "hm", "</think>", "Yes", "<|im_start|>", "!")
        with EngineClient() as engine:
            load(engine, toy_qwen3_model)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
        assert text_of(events, "reasoning") == "hm"
        assert text_of(events, "answer") == "Yes!"  # other control tokens have no text

    def test_think_tokens_of_control_type_are_seen_too(self, tmp_path: Path) -> None:
        keys = vocabulary("chatml", 1024)
        types = numbers_of(keys["tokenizer.ggml.token_type"])
        tokens = strings_of(keys["tokenizer.ggml.tokens"])
        for marker in ("<think>", "</think>"):
            types[tokens.index(marker)] = 3
        path = make_model(
            tmp_path / "control.gguf",
            shapes.TOY_QWEN3,
            quant="F16",
            sparse=False,
            extra={"tokenizer.ggml.token_type": array(I32, types)},
        )
        ids = token_ids("chatml", 1024, "<think>", "hm", "</think>", "Yes")
        with EngineClient() as engine:
            load(engine, path)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
        assert (text_of(events, "reasoning"), text_of(events, "answer")) == ("hm", "Yes")

    def test_channels_of_gpt_oss(self, toy_gpt_oss_model: Path) -> None:
        parts = (
            *("<|channel|>", "analysis", "<|message|>", "hm", "<|end|>"),
            *("<|start|>", "assistant", "<|channel|>", "final", "<|message|>", "Yes"),
        )
        ids = token_ids("harmony", 1024, *parts)
        with EngineClient() as engine:
            load(engine, toy_gpt_oss_model)
            events = list(engine.inject_fault(FaultRequest(fault="echo", tokens=ids)))
            assert (text_of(events, "reasoning"), text_of(events, "answer")) == ("hm", "Yes")
            finish(engine.chat(ask("Hello")))
