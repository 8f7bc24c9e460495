"""What the training text holds, and above all what it never holds."""

from __future__ import annotations

from itertools import islice

import pytest
from demo_model.corpus import HELD_OUT, Corpus, left_out, normalise, questions
from demo_model.phrases import HERE
from demo_model.tokenizer import Tokenizer, train


@pytest.fixture(scope="module")
def corpus_sample() -> list[list[tuple[str, str]]]:
    """Dialogues of the seed that the shipped model was trained with, and of another."""
    sample: list[list[tuple[str, str]]] = []
    for seed in (1, 1001):
        sample += [[(r, t) for r, t in d] for d in islice(Corpus(seed, left_out()), 6000)]
    return sample


def test_no_held_out_question_is_in_the_training_text(
    corpus_sample: list[list[tuple[str, str]]],
) -> None:
    held_out = {normalise(q["ask"]) for q in questions(HELD_OUT, "heldout")}
    said = {normalise(text) for d in corpus_sample for role, text in d if role == "user"}
    assert len(said) > 5000
    assert not said & held_out
    assert not [(s, h) for s in said for h in held_out if h in s and f" {h} " in f" {s} "]


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda q: f"Hi, {q.rstrip('?')} please!"])
def test_the_generator_refuses_a_held_out_question_in_any_dress(change: object) -> None:
    corpus = Corpus(1, left_out())
    assert callable(change)
    for q in questions(HELD_OUT, "heldout"):
        assert not corpus.allowed(change(q["ask"]))
    assert corpus.allowed("Which command shows the plan?")


def test_held_out_and_tuning_questions_are_different() -> None:
    held_out = {normalise(q["ask"]) for q in questions(HELD_OUT, "heldout")}
    tuning = {normalise(q["ask"]) for q in questions(HERE / "dev.toml", "dev")}
    assert not held_out & tuning


def test_the_same_seed_writes_the_same_text() -> None:
    first, second, other = (list(islice(Corpus(s, []), 50)) for s in (7, 7, 8))
    assert first == second != other


def test_every_dialogue_alternates_and_ends_with_an_answer(
    corpus_sample: list[list[tuple[str, str]]],
) -> None:
    for dialogue in corpus_sample:
        roles = [role for role, _ in dialogue]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns
        assert all(text for role, text in dialogue if role == "assistant")


def test_no_template_mark_survives_in_the_text(
    corpus_sample: list[list[tuple[str, str]]],
) -> None:
    """Braces, slots and the frames' lone capitals are filled in."""
    text = "\n".join(t for d in corpus_sample for role, t in d if role == "user")
    assert "{" not in text
    assert "}" not in text
    assert "$" not in text


def test_sums_in_the_text_are_right(corpus_sample: list[list[tuple[str, str]]]) -> None:
    checked = 0
    for dialogue in corpus_sample:
        for role, text in dialogue:
            left, equals, right = text.rstrip(".").partition(" = ")
            parts = left.split(" ")
            if role == "assistant" and equals and len(parts) == 3 and right.isdigit():
                a, b = int(parts[0]), int(parts[2])
                assert int(right) == {"+": a + b, "-": a - b, "x": a * b}[parts[1]], text
                checked += 1
    assert checked > 500


def test_a_trained_vocabulary_is_the_same_twice_and_keeps_digits_apart() -> None:
    texts = [t for d in islice(Corpus(3, []), 300) for _, t in d]
    one, two = train(texts, 600), train(texts, 600)
    assert one.pieces == two.pieces
    assert len(one.pieces) == 600
    tok = Tokenizer(pieces=one.pieces)
    assert [tok.decode([i]) for i in tok.encode("12 + 345")] == [*"12", " +", " ", *"345"]
