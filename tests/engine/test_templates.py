"""Templates are rendered as elsewhere, and a hostile one costs two seconds, not the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from localllm.core.generation import ChatRequest, Message
from localllm.engine.refusals import TemplateFailed
from localllm.engine.templates import CHATML, MAX_TEMPLATE_BYTES, ChatTemplate, Renderer
from localllm.errors import UsageError

TURNS = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hi\n"),
    Message(role="assistant", content="Hello", reasoning="hm"),
    Message(role="user", content="Grüße <b>"),
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer(deadline_s=1.0)
    yield renderer
    renderer.close()


def render(renderer: Renderer, source: str, **arguments: object) -> str:
    template = ChatTemplate(source=source, bos_token="<s>", eos_token="</s>")
    return renderer.chat(template, ChatRequest(messages=TURNS, template_kwargs=arguments))


def test_chatml(renderer: Renderer) -> None:
    assert render(renderer, CHATML) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi\n<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nGrüße <b><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}", "<s>|</s>|True"),
        ("  {% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
        ("{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}x{% endfor %}", "x"),
        ("a{% generation %}b{% endgeneration %}c", "abc"),
        ("{{ messages[3] | tojson }}", '{"role": "user", "content": "Grüße <b>"}'),
        ("{{ messages[2].reasoning_content }}{{ messages[2].thinking }}", "hmhm"),
        ("{{ messages[0].reasoning_content is defined }}", "False"),
        ("{{ tools is none }}{{ enable_thinking is defined }}", "TrueFalse"),
        ("{% for tool in tools %}{{ tool }}{% endfor %}no tools", "no tools"),
        ("{{ strftime_now('%Y') | int > 2000 }}", "True"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
            "{% endfor %}{{ ns.n }}",
            "4",
        ),
    ],
)
def test_what_templates_rely_on(renderer: Renderer, source: str, text: str) -> None:
    assert render(renderer, source) == text


def test_template_arguments_arrive(renderer: Renderer) -> None:
    source = "{{ enable_thinking }} {{ reasoning_effort }} {{ messages | length }}"
    arguments = {"enable_thinking": False, "reasoning_effort": "high", "messages": []}
    assert render(renderer, source, **arguments) == "False high 4"


def test_a_refusal_is_the_templates_own_sentence(renderer: Renderer) -> None:
    with pytest.raises(UsageError, match="System role not supported") as caught:
        render(renderer, "{{ raise_exception('System role not supported') }}")
    assert caught.value.hint


HOSTILE = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "one endless operation": "{% set n = messages | length %}{{ (n + 6) ** (10 ** 8) }}",
    "one endless operation at compile time": "{{ 10 ** (10 ** 8) }}",
    "constants folded into gigabytes": "{{ 'a' * 4000000000 }}",
    "gigabytes while rendering": "{% set n = messages | length %}{{ 'a' * (n * 1000000000) }}",
    "a very long answer": "{{ 'a' * 5000000 }}",
    "a way out of the sandbox": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attributes by name": "{{ messages | map(attribute='__class__.__init__.__globals__') | list }}",
    "changing the messages": "{{ messages.append(1) }}",
    "deep recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "deep nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "broken syntax": "{% if %}",
    "an unknown filter": "{{ 1 | no_such_filter }}",
    "a missing name": "{{ nothing.at.all }}",
    "division by zero": "{{ 1 / 0 }}",
    "another file": "{% include '/etc/passwd' %}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_or_broken_template_is_an_error_and_the_next_one_is_rendered(
    renderer: Renderer, source: str
) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateFailed) as caught:
        render(renderer, source)
    assert time.monotonic() - began < 10
    assert caught.value.hint and caught.value.message.endswith(".")
    assert render(renderer, "fine") == "fine"


def test_a_template_of_more_than_256_kib_is_not_even_tried(renderer: Renderer) -> None:
    with pytest.raises(TemplateFailed, match="256 KiB"):
        render(renderer, "a" * (MAX_TEMPLATE_BYTES + 1))


def test_long_conversations_pass_both_ways(renderer: Renderer) -> None:
    long = Message(role="user", content="ä" * 2_000_000)
    template = ChatTemplate(source=CHATML, bos_token="", eos_token="")
    assert len(renderer.chat(template, ChatRequest(messages=(long,)))) > 2_000_000


def test_an_argument_that_cannot_be_passed_on_is_a_usage_error(renderer: Renderer) -> None:
    with pytest.raises(UsageError):
        render(renderer, CHATML, x=object())
