"""Renders chat templates: a program of its own, because a template comes with the model file.

A template can loop for ever, ask for terabytes while it is *compiled* (Jinja folds constants), or
hang inside one C call where no signal handler runs. So it is compiled and rendered in this
process, whose memory is limited and which its parent kills at a deadline (``templates``).

One JSON line in, one out: ``{"template", "messages", "variables", ...}`` to ``{"text"}`` or
``{"error", "kind"}``.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

MEMORY_BYTES = 768 * 1024**2
"""Address space of this process; a rendering of a megabyte needs a tenth of it."""


def main() -> None:
    """Answer requests until stdin ends."""
    _limit()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    import jinja2  # noqa: F401  (30 ms: while the parent loads weights, not at the first question)

    answers.write(b"{}\n")  # ready
    answers.flush()
    for line in requests:
        answers.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        answers.flush()


def _limit() -> None:
    """Limit memory, leave no core file, and end with the parent."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from localllm.engine.lifeline import die_with_parent

    die_with_parent(os.getppid())


def _answer(request: dict[str, Any]) -> dict[str, str]:
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError, TemplateSyntaxError

    try:
        try:
            text = render(request["template"], request["variables"])
        except TypeError:  # some templates for tools want a list, or nothing at all: not None
            given = {name: v for name, v in request["variables"].items() if v is not None}
            text = render(request["template"], given)
        limit = request["max_chars"]
        if len(text) > limit:
            return {"kind": "size", "error": f"it wrote {len(text):,} characters"}
        return {"text": text}
    except TemplateRefusal as error:
        return {"kind": "refused", "error": str(error)}
    except SecurityError as error:
        return {"kind": "security", "error": str(error)}
    except TemplateSyntaxError as error:
        return {"kind": "syntax", "error": f"line {error.lineno}: {error.message}"}
    except MemoryError:
        return {"kind": "memory", "error": "it asked for more memory than any prompt needs"}
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        return {"kind": "failed", "error": f"{type(error).__name__}: {error}"[:300]}


class TemplateRefusal(Exception):
    """The template called ``raise_exception``: it does not accept this conversation."""


def render(template: str, variables: dict[str, Any]) -> str:
    """Compile and render a template, without any limit on time or memory.

    The environment is that of transformers and llama-cpp-python: the immutable sandbox, block
    trimming, loop controls, ``{% generation %}`` passed through, and JSON as others write it.
    """
    functions = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return str(_compile(template).render(**variables, **functions))


@functools.lru_cache(maxsize=4)
def _compile(template: str) -> Any:
    """Compile a template: 5 to 50 ms, and a risk of its own, since constants are folded."""
    return _environment().from_string(template)


def _environment() -> Any:
    from jinja2 import BaseLoader, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what is trained on; for inference it is transparent."""

        tags = {"generation"}  # noqa: RUF012  (Jinja declares it as an instance attribute)

        def parse(self, parser: Any) -> list[nodes.Node]:
            """Return the block's content."""
            next(parser.stream)
            body: list[nodes.Node] = parser.parse_statements(
                ("name:endgeneration",), drop_needle=True
            )
            return body

    environment = ImmutableSandboxedEnvironment(
        loader=BaseLoader(),
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, loopcontrols],
    )
    to_json: Callable[..., str] = _to_json
    environment.filters["tojson"] = to_json
    return environment


def _raise_exception(message: object) -> None:
    raise TemplateRefusal(str(message)[:300])


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """``tojson`` without Jinja's HTML escapes, which models have never seen."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


if __name__ == "__main__":
    main()
