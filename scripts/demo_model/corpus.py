"""Decides what the demo model reads: dialogues written by this generator, from the texts beside it.

`Corpus(seed, leave_out)` gives the same dialogues for the same seed on every machine. A question
in `leave_out` never appears in a user's turn, whatever its case or punctuation, nor inside a longer
one.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from demo_model import facts
from demo_model.phrases import HERE, expand, fill, mangle, read, vary

HELD_OUT = HERE.parent.parent / "tests" / "demo" / "questions.toml"

Role = Literal["system", "user", "assistant"]
Dialogue = list[tuple[Role, str]]
Topic = dict[str, Any]

_LETTER = {"do": "X", "shows": "S", "noun": "N", "about": "A"}


def normalise(text: str) -> str:
    """Letters and digits in lower case with single spaces, so that phrasings can be compared."""
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def questions(path: Path, table: str) -> list[dict[str, str]]:
    """The questions of one table: each with `ask` and `needs`."""
    found: list[dict[str, str]] = tomllib.loads(path.read_text("utf-8"))[table]
    return found


def left_out() -> list[str]:
    """Every question that training must never see: the held-out ones and those for tuning."""
    both = questions(HELD_OUT, "heldout") + questions(HERE / "dev.toml", "dev")
    return [q["ask"] for q in both]


class Corpus:
    """An endless source of dialogues."""

    def __init__(self, seed: int, leave_out: Iterable[str]) -> None:
        self.rng = random.Random(seed)
        self.leave_out = [f" {normalise(q)} " for q in leave_out]
        self.texts = read("frames.toml")
        self.intents: list[Topic] = read("localllm.toml")["intent"]
        self.terms: list[Topic] = read("terms.toml")["topic"]
        self.talk: list[Topic] = read("talk.toml")["topic"]

    def __iter__(self) -> Iterator[Dialogue]:
        """Dialogues without end."""
        while True:
            yield self.dialogue()

    def allowed(self, text: str) -> bool:
        """Whether a user's turn holds none of the questions that are left out."""
        said = f" {normalise(text)} "
        return not any(q in said for q in self.leave_out)

    def dialogue(self) -> Dialogue:
        """One conversation: perhaps a system message, then one to many turns."""
        rng = self.rng
        out: Dialogue = []
        name = None
        if rng.random() < 0.12:
            if rng.random() < 0.3:
                name = rng.choice(facts.NAMES)
                out.append(("system", rng.choice((f"Your name is {name}.", f"You are {name}."))))
            else:
                out.append(("system", rng.choice(self.texts["dialogue"]["system"])))
        turns = rng.choices((1, 2, 3, 5, 9, 16), (50, 18, 14, 11, 5, 2))[0]
        user: str | None = None
        last: tuple[str, str] = ("", "")
        while turns > 0:
            roll = rng.random()
            if name and roll < 0.5:
                ask = rng.choice(
                    ("who are you?", "what is your name?", "what are you called?", "your name?")
                )
                turn, last = (ask, f"My name is {name}."), ("", "")
            elif user is None and roll < 0.05:
                user = rng.choice(facts.NAMES)
                ask = rng.choice(
                    ("my name is {}", "I am {}", "I'm {}", "hello, I am {}", "hi, my name is {}")
                )
                turn, last = (ask.format(user), f"Nice to meet you, {user}!"), ("", "")
            elif roll < 0.10 and (user or out):
                ask = rng.choice(
                    ("what is my name?", "do you know my name?", "who am I?", "what's my name?")
                )
                answer = f"Your name is {user}." if user else "You have not told me your name."
                turn, last = (ask, answer), ("", "")
            elif roll < 0.22 and last[0]:
                turn = self.follow_up(*last)
            else:
                key, *pair = self.turn()
                turn, last = (pair[0], pair[1]), (key, pair[1])
            ask = turn[0] if last[0] == "exact" else mangle(rng, turn[0])
            if not self.allowed(ask):
                continue
            out += [("user", ask), ("assistant", turn[1])]
            turns -= 1
        return out

    def follow_up(self, key: str, answer: str) -> facts.Turn:
        """A turn that needs the one before it."""
        rng = self.rng
        asks, examples = self.texts["follow_up"], self.texts["examples"]
        choices = [(asks["again"][0], answer)]
        if key in examples:
            choices += [(rng.choice(asks["example"]), examples[key])] * 3
        ask, answer = rng.choice(choices)
        return expand(rng, ask), answer

    def turn(self) -> tuple[str, str, str]:
        """One question with its answer, and the name of what it is about."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.55:
            # The commands are asked about in more ways than an option is.
            weights = [2 if t["what"] == "command" else 1 for t in self.intents]
            topic = rng.choices(self.intents, weights)[0]
            return str(topic["name"]), *self._about_command(topic)
        if roll < 0.67:
            topic = rng.choice(self.terms)
            ask = rng.choice(topic["ask"])
            if topic["thing"] and rng.random() < 0.6:
                frame = rng.choice(self.texts["frames"]["thing"])
                ask = fill(rng, frame, "A", expand(rng, rng.choice(topic["thing"])))
            return str(topic["name"]), expand(rng, ask), rng.choice(topic["answers"])
        if roll < 0.78:
            weights = [6 if t["name"] == "unknown" else 1 for t in self.talk]
            topic = rng.choices(self.talk, weights)[0]
            return "", expand(rng, rng.choice(topic["ask"])), rng.choice(topic["answers"])
        if roll < 0.90:
            return "", *facts.arithmetic(rng)
        if roll < 0.96:
            return "", *facts.fact(rng)
        return "exact", *facts.exercise(rng)

    def _about_command(self, topic: Topic) -> facts.Turn:
        rng = self.rng
        word = rng.choice(self.texts["words"][topic["what"]])
        forms = ["do", "do", "shows", "noun", "ask", "ask", "about"]
        form = rng.choice([f for f in forms if topic[f]])
        text = expand(rng, rng.choice(topic[form]))
        if form == "ask":
            return vary(rng, text), rng.choice(topic["answers"])
        frame = rng.choice(self.texts["frames"][form])
        ask = fill(rng, frame, _LETTER[form], text, word)
        if form == "about":
            return ask, rng.choice(topic["explain"])
        return vary(rng, ask), rng.choice(topic["answers"])
