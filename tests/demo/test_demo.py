"""What the shipped demo model is and says, on llama.cpp itself."""

from __future__ import annotations

import math
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from demo_model.questions import right

from tests.demo.player import Player

QUESTIONS = tomllib.loads((Path(__file__).parent / "questions.toml").read_text("utf-8"))


def test_it_answers_questions_it_never_saw(demo: Player) -> None:
    """At least 40 held-out phrasings, greedy, and at least 90 % of them right."""
    asked = QUESTIONS["heldout"]
    assert len({q["ask"] for q in asked}) == len(asked) >= 40
    said = [(q["ask"], demo.answer(q["ask"])[0], q["needs"]) for q in asked]
    wrong = [f"{ask}\n    {text}" for ask, text, needs in said if not right(text, needs)]
    print(f"{len(asked) - len(wrong)} of {len(asked)} right", *wrong, sep="\n")
    assert len(wrong) <= 0.1 * len(asked), "\n".join(wrong)


def test_it_knows_which_command_shows_the_plan(demo: Player) -> None:
    answer, ended = demo.answer(QUESTIONS["smoke"]["ask"])
    assert ended
    assert right(answer, QUESTIONS["smoke"]["needs"]), answer


@pytest.mark.parametrize(
    ("answer", "needs", "verdict"),
    [
        ("Use `localllm plan MODEL`.", "localllm plan", True),
        ("Use `localllm bench MODEL`.", "localllm plan", False),
        ("Use `localllm plan MODEL` or `localllm bench MODEL`.", "localllm plan", False),
        ("Add `--ctx N`, or `--kv q8_0`.", "--ctx", False),
        ("Type `/exit` (or `/bye`).", "/exit", True),
        ("Type `/save FILE`, later `/load FILE`.", "/save", False),
        ("`localllm chat MODEL -p TEXT` answers once.", "-p", True),
        ("Run `./scripts/test`.", "./scripts/localllm", False),
        ("localllm is free software under the MIT licence.", "MIT", True),
        ("I do not know.", "localllm plan", False),
    ],
)
def test_an_answer_is_right_only_if_it_names_that_command_alone(
    answer: str, needs: str, verdict: bool
) -> None:
    assert right(answer, needs) is verdict


@pytest.mark.parametrize(
    "question",
    [
        "Hello!",
        "What is a token?",
        "How do I start a chat?",
        "Who are you?",
        "What is 3 + 4?",
        "Bye",
    ],
)
def test_an_answer_ends_with_the_end_of_turn_token(demo: Player, question: str) -> None:
    answer, ended = demo.answer(question)
    assert ended
    assert answer.strip()


def test_it_follows_a_conversation(demo: Player) -> None:
    first, _ = demo.answer("My name is Clara.")
    second, ended = demo.answer("My name is Clara.", first, "What is my name?")
    assert ended
    assert "Clara" in second
    assert "Clara" not in demo.answer("What is my name?")[0]


def test_each_turn_of_a_long_conversation_gets_its_own_answer(demo: Player) -> None:
    turns: list[str] = []
    for question, needs in (
        ("How do I measure the speed of a model?", "localllm bench"),
        ("And which command shows the plan?", "localllm plan"),
        ("How do I set the context length?", "--ctx"),
        ("Which command lists my GPUs?", "localllm hardware"),
    ):
        turns.append(question)
        answer, ended = demo.answer(*turns)
        assert ended
        assert right(answer, needs), (question, answer)
        turns.append(answer)


def test_it_takes_a_system_message(demo: Player) -> None:
    assert "Oscar" in demo.answer("What is your name?", system="Your name is Oscar.")[0]
    answer, ended = demo.answer("Which command shows the plan?", system="Be kind and short.")
    assert ended
    assert right(answer, "localllm plan")


def test_it_says_that_it_is_small_when_it_does_not_know(demo: Player) -> None:
    answers = [demo.answer(q)[0] for q in ("Write me a Python program.", "Why is the sky blue?")]
    assert all("larger model" in a for a in answers), answers


def test_its_perplexity_is_real(demo: Player) -> None:
    """Text of its world surprises it little, shuffled words much more."""

    def perplexity(text: str) -> float:
        demo.forget()
        ids = demo.tokens(demo.prompt([]), special=True) + demo.tokens(text)
        nats = 0.0
        for before, after in pairwise(ids):
            logits = demo.feed([before])
            shifted = logits - logits.max()
            nats -= float(shifted[after] - np.log(np.exp(shifted).sum()))
        return math.exp(nats / (len(ids) - 1))

    sense = "Use `localllm bench MODEL`. It measures pp512 and tg128 in tokens per second."
    words = sense.split()
    nonsense = " ".join(words[::-1])
    assert 1.0 < perplexity(sense) < 10.0
    assert perplexity(nonsense) > 10 * perplexity(sense)
