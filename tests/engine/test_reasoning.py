from __future__ import annotations

import pytest

from localllm.engine.reasoning import Separator, separator_for

HARMONY = "{{ '<|start|>' }}{{ '<|channel|>' }}{{ '<|message|>' }}"
MAGISTRAL = "[SYSTEM_PROMPT]...[THINK]...[/THINK]"
GEMMA4 = "<|channel>thought\n...<channel|>"


def separate(separator: Separator, text: str, size: int) -> tuple[str, str]:
    """Feed a text in pieces; return reasoning and answer."""
    segments = []
    for at in range(0, len(text), size):
        segments += separator.feed(text[at : at + size])
    segments += separator.finish()
    reasoning = "".join(part for channel, part in segments if channel == "reasoning")
    answer = "".join(part for channel, part in segments if channel == "answer")
    return reasoning, answer


CASES = [
    # template, prompt, output, reasoning, answer
    ("", "user:", "Hello.", "", "Hello."),
    ("", "", "<think>hm</think>Yes.", "hm", "Yes."),
    ("", "", "\n<think>\nhm\n</think>\n\nYes.\n", "\nhm\n", "Yes.\n"),
    ("", "<|im_start|>assistant\n<think>\n", "hm\n</think>\n\nYes.", "hm\n", "Yes."),
    ("", "", "<think></think>\n\nYes.", "", "Yes."),
    ("", "", "<think>cut short by max_tokens", "cut short by max_tokens", ""),
    ("", "", "<think>a < b </thin", "a < b </thin", ""),
    ("", "", "<thi", "", "<thi"),
    ("", "", "<thinking about it", "", "<thinking about it"),
    (
        "",
        "",
        "The tag <think> opens, </think> closes.",
        "",
        "The tag <think> opens, </think> closes.",
    ),
    ("", "", "   indented", "", "   indented"),
    ("", "", "[THINK]not this model[/THINK]", "", "[THINK]not this model[/THINK]"),
    (MAGISTRAL, "", "[THINK]hm[/THINK]Oui.", "hm", "Oui."),
    (GEMMA4, "", "<|channel>thought\nhm<channel|>Ja.", "\nhm", "Ja."),
    (
        HARMONY,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        "hm",
        "Yes.",
    ),
    (
        HARMONY,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        "<|channel|>final<|message|>a < b <| c<|return|>",
        "",
        "a < b <| c",
    ),
    (
        HARMONY,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "{}",
        "",
    ),
    (
        HARMONY,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        "<|channel|>commentary<|message|>Let me look.<|end|>",
        "",
        "Let me look.",
    ),
    (HARMONY, "<|start|>assistant<|channel|>final<|message|>", "Yes.", "", "Yes."),
    (HARMONY, "<|start|>assistant<|channel|>analysis<|message|>", "hm<|end|>", "hm", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2][:30])
def test_reasoning_and_answer_are_told_apart_however_the_text_is_cut(
    case: tuple[str, str, str, str, str], size: int
) -> None:
    template, prompt, output, reasoning, answer = case
    assert separate(separator_for(template, prompt), output, size) == (reasoning, answer)


def test_an_answer_without_markup_is_shown_at_once() -> None:
    separator = separator_for("", "")
    assert separator.feed("H") == [("answer", "H")]
    assert separator.feed("i <think>") == [("answer", "i <think>")]


def test_reasoning_is_shown_while_it_comes() -> None:
    separator = separator_for("", "<think>")
    assert separator.feed("one two") == [("reasoning", "one two")]
