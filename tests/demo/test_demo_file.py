"""What stands in the shipped demo file, and that its tokenizer is the trainer's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from demo_model.corpus import Corpus
from demo_model.tokenizer import BOS, END, SPACE, Tokenizer

from tests.demo.player import Player


def test_it_is_small_enough_for_the_repository(demo_path: Path) -> None:
    assert 1_000_000 < demo_path.stat().st_size <= 5_000_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.architecture", "llama"),
        ("general.name", "localllm demo"),
        ("general.license", "MIT"),
        ("general.file_type", "7"),  # MOSTLY_Q8_0
        ("llama.context_length", "1024"),
        ("llama.block_count", "4"),
        ("llama.embedding_length", "256"),
        ("llama.attention.head_count", "4"),
        ("llama.attention.head_count_kv", "2"),
        ("tokenizer.ggml.add_space_prefix", "false"),
        ("tokenizer.ggml.bos_token_id", str(BOS)),
        ("tokenizer.ggml.eos_token_id", str(END)),
        ("tokenizer.ggml.eot_token_id", str(END)),
    ],
)
def test_its_metadata_says_what_it_is(demo: Player, key: str, value: str) -> None:
    assert demo.meta(key) == value


def test_its_description_is_honest(demo: Player) -> None:
    assert "it knows nothing else" in demo.meta("general.description")


def test_only_the_end_token_ends_an_answer(demo: Player) -> None:
    assert [i for i in range(demo.n_vocab) if demo.ends(i)] == [END]


def test_its_template_writes_turns_as_it_was_trained(demo: Player) -> None:
    text = demo.prompt(
        [
            {"role": "system", "content": " Be kind. "},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Bye"},
        ]
    )
    assert text == (
        "<|bos|><|system|>Be kind.<|end|><|user|>Hello<|end|>"
        "<|assistant|>Hi!<|end|><|user|>Bye<|end|><|assistant|>"
    )
    with pytest.raises(ValueError, match="roles"):
        demo.prompt([{"role": "tool", "content": "x"}])


def _texts() -> list[str]:
    """Questions and answers of the corpus, then random strings of awkward characters."""
    corpus, rng = Corpus(seed=77, leave_out=[]), random.Random(3)
    texts = [text for _ in range(400) for _, text in corpus.dialogue()]
    awkward = "abAB 019-`/.,é€中🙂\n\t\r\0<|>\u200d\u0301'\"\\  "
    texts += ["".join(rng.choices(awkward, k=rng.randint(0, 30))) for _ in range(1500)]
    return [*texts, "<|end|>", "<0x41>", " leading", "trailing ", "  two  spaces  ", "\n\n"]


def test_llama_cpp_cuts_text_as_the_trainer_did(demo: Player) -> None:
    trainer = Tokenizer(pieces=demo.pieces())
    different = [t for t in _texts() if trainer.encode(t) != demo.tokens(t)]
    assert different == []


def test_any_text_comes_back_from_its_tokens(demo: Player) -> None:
    trainer = Tokenizer(pieces=demo.pieces())
    rng = random.Random(5)
    points = [
        rng.choice((rng.randrange(1, 0xD800), rng.randrange(0xE000, 0x110000))) for _ in range(4000)
    ]
    texts = [*_texts(), "".join(chr(p) for p in points if chr(p) != SPACE)]
    for text in texts:
        assert demo.raw_bytes(demo.tokens(text)) == text.encode()
        assert trainer.decode(trainer.encode(text)) == text


def test_control_tokens_in_plain_text_stay_text(demo: Player) -> None:
    assert END not in demo.tokens("type <|end|> here")
    assert demo.tokens("<|end|>", special=True) == [END]
