"""Decides which small facts, sums and exercises the demo model learns besides localllm."""

from __future__ import annotations

import random

from demo_model.phrases import expand, read

_TEXTS = read("facts.toml")
NAMES: list[str] = _TEXTS["names"]

Turn = tuple[str, str]


def arithmetic(rng: random.Random) -> Turn:
    """A sum, a difference or a product of small numbers."""
    kind = rng.choice("+++--*")
    if kind == "*":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        words, value = ("*", "x", "times", "times"), a * b
    else:
        top = rng.choice((10, 20, 99))
        a, b = rng.randint(0, top), rng.randint(0, top)
        if kind == "-":
            a, b = max(a, b), min(a, b)
            words, value = ("-", "-", "minus", "minus"), a - b
        else:
            words, value = ("+", "+", "plus", "plus"), a + b
    op = rng.choice(words)
    bare = "" if op.isalpha() else "|"  # a sum in signs more often stands alone
    start = f"{{what is|what's|how much is|calculate|compute|{bare}|and}}"
    ask = expand(rng, f"{start} {a} {op} {b}")
    ask += rng.choice(("?", "?", "", " =" if not op.isalpha() else "?"))
    return ask, f"{a} {'x' if kind == '*' else kind} {b} = {value}."


def fact(rng: random.Random) -> Turn:
    """One small fact."""
    return rng.choice(_FACTS)(rng)


def exercise(rng: random.Random) -> Turn:
    """Copying, spelling, counting, comparing."""
    return rng.choice(_EXERCISES)(rng)


def _capital(rng: random.Random) -> Turn:
    land, city = rng.choice(list(_TEXTS["capitals"].items()))
    if rng.random() < 0.25:
        ask = "{{which|what} country is {0} the capital of?|{0} is the capital of which country?}"
        return expand(rng, ask.replace("{0}", city)), f"{city} is the capital of {land}."
    ask = (
        "{what is|what's|tell me|do you know|name} the capital {city |}of LAND{|?}|LAND's capital?|"
        "which city is the capital of LAND?|capital of LAND"
    )
    return expand(rng, rng.choice(split(ask))).replace(
        "LAND", land
    ), f"The capital of {land} is {city}."


def split(text: str) -> list[str]:
    """Split on the bars that stand outside of braces."""
    out, depth = [""], 0
    for c in text:
        depth += (c == "{") - (c == "}")
        if c == "|" and depth == 0:
            out.append("")
        else:
            out[-1] += c
    return out


def _colour(rng: random.Random) -> Turn:
    thing, colour = rng.choice(list(_TEXTS["colours"].items()))
    ask = rng.choice(
        ("what colour is {}?", "which colour has {}?", "what color is {}?", "the colour of {}?")
    )
    verb = f"{thing[0].upper()}{thing[1:]} is"
    return ask.format(thing), f"{verb} {colour}."


def _sound(rng: random.Random) -> Turn:
    animal, sound = rng.choice(list(_TEXTS["sounds"].items()))
    ask = rng.choice(
        (
            "what does a {} do?",
            "what sound does a {} make?",
            "what does a {} say?",
            "how does a {} sound?",
        )
    )
    the = "An" if animal[0] in "aeiou" else "A"
    return ask.format(animal), f"{the} {animal} {sound}."


def _legs(rng: random.Random) -> Turn:
    animal, n = rng.choice(list(_TEXTS["legs"].items()))
    the = "An" if animal[0] in "aeiou" else "A"
    return (
        f"how many legs does {the.lower()} {animal} have?",
        f"{the} {animal} has {n or 'no'} legs.",
    )


def _opposite(rng: random.Random) -> Turn:
    a, b = rng.choice(list(_TEXTS["opposites"].items()))
    ask = rng.choice(
        ("what is the opposite of {}?", "the opposite of {}?", "what's the opposite of {}?")
    )
    return ask.format(a), f"The opposite of {a} is {b}."


def _calendar(rng: random.Random) -> Turn:
    names, what = rng.choice(((_TEXTS["days"], "day"), (_TEXTS["months"], "month")))
    i = rng.randrange(len(names))
    if rng.random() < 0.15:
        if what == "day":
            return "how many days are in a week?", "A week has seven days."
        return "how many months are in a year?", "A year has twelve months."
    if rng.random() < 0.6:
        ask = rng.choice(
            (
                f"what {what} comes after {names[i]}?",
                f"what comes after {names[i]}?",
                f"which {what} follows {names[i]}?",
            )
        )
        return ask, f"After {names[i]} comes {names[(i + 1) % len(names)]}."
    ask = rng.choice((f"what {what} comes before {names[i]}?", f"what comes before {names[i]}?"))
    return ask, f"Before {names[i]} comes {names[i - 1]}."


def _asked(rng: random.Random) -> Turn:
    ask, answer = rng.choice(_TEXTS["asked"])
    return ask, answer


def _repeat(rng: random.Random) -> Turn:
    n = rng.randint(1, 5)
    pool = [*_TEXTS["nouns"], *_TEXTS["adjectives"], *NAMES]
    words = " ".join(rng.choice(pool) for _ in range(n))
    if rng.random() < 0.3:
        words = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))
    ask = rng.choice(
        ("repeat: {}", "say {}", "repeat after me: {}", "please say: {}", "echo {}", "write {}")
    )
    return ask.format(words), words


def _spell(rng: random.Random) -> Turn:
    word = (
        rng.choice([*_TEXTS["nouns"], *_TEXTS["adjectives"]]) if rng.random() < 0.9 else "localllm"
    )
    ask = rng.choice(
        ("spell {}", "how do you spell {}?", "spell the word {}", "how is {} spelled?")
    )
    return ask.format(word), "-".join(word)


def _count(rng: random.Random) -> Turn:
    low = 1 if rng.random() < 0.7 else rng.randint(2, 20)
    high = low + rng.choice((2, 4, 5, 7, 9, 9, 11, 14, 19))
    if low == 1:
        ask = rng.choice(
            (f"count to {high}", f"count from 1 to {high}", f"can you count to {high}?")
        )
    else:
        ask = f"count from {low} to {high}"
    return ask, ", ".join(str(i) for i in range(low, high + 1)) + "."


def _compare(rng: random.Random) -> Turn:
    a, b = rng.sample(range(100), 2)
    if rng.random() < 0.5:
        word = rng.choice(("larger", "bigger", "greater"))
        return f"which is {word}, {a} or {b}?", f"{max(a, b)} is {word} than {min(a, b)}."
    return f"which is smaller, {a} or {b}?", f"{min(a, b)} is smaller than {max(a, b)}."


def _next(rng: random.Random) -> Turn:
    n = rng.randint(0, 98)
    if rng.random() < 0.5:
        return f"what number comes after {n}?", f"After {n} comes {n + 1}."
    return f"is {n} even or odd?", f"{n} is {'odd' if n % 2 else 'even'}."


_FACTS = (_capital, _capital, _colour, _sound, _legs, _opposite, _calendar, _asked)
_EXERCISES = (_repeat, _repeat, _repeat, _spell, _count, _compare, _next)
