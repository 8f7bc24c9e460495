"""The figures of a real answer: the demo over the real engine, looked at while it comes."""

from __future__ import annotations

import time

from localllm.core.generation import (
    ChatRequest,
    Finished,
    Loaded,
    Message,
    PromptProgress,
    Sampling,
    TextDelta,
)
from localllm.core.policy import Policy
from localllm.session import Session, resolve_model
from localllm.talking.turn import Answer
from localllm.tui.chat.side.course import Course
from localllm.tui.chat.side.figures import RunFigures
from localllm.tui.chat.side.looking import figures_of
from localllm.tui.chat.side.strip import strip_rows

QUESTION = ChatRequest(
    messages=(Message(role="user", content="hello"),),
    sampling=Sampling(temperature=0),
    max_tokens=24,
)


def looked(session: Session, course: Course) -> RunFigures:
    figures = figures_of(session, course)
    assert figures is not None
    return figures


def test_the_figures_follow_a_real_answer_from_its_load_to_its_end() -> None:
    with Session(basis="formula") as session:
        course, model, policy = Course(), resolve_model("demo"), Policy(n_ctx=256, n_threads=1)
        assert figures_of(session, course) is None
        plan = session.make_plan(model, policy)
        *_, end = session.load(model, plan, policy)
        assert isinstance(end, Loaded)

        before = looked(session, course)
        (ram,) = before.memory.places
        assert ram.allocated is not None and ram.allocated.measured == ram.allocated.predicted
        assert ram.used_bytes is not None and ram.used_bytes > (ram.allocated.measured or 0)
        assert (before.context.n_used, before.context.n_ctx) == (None, 256)
        assert before.speed.answer.measured is None

        seen: dict[str, RunFigures] = {}
        course.asked(time.monotonic())
        seen["asked"] = looked(session, course)
        answer = Answer()
        for event in session.chat(QUESTION):
            course.take(event, time.monotonic())
            answer.take(event)
            if isinstance(event, PromptProgress | TextDelta | Finished):
                seen[course.phase] = looked(session, course)
        assert answer.finished is not None
        answer.energy = session.measuring.keep_answer(answer.finished)
        course.ended(answer)

        assert seen["prompt"].speed.prompt is not None
        during, after = seen["answering"], looked(session, course)
        assert during.speed.n_gen > 1 and during.context.n_used is not None
        stats = answer.finished.stats
        assert after.speed.answer.measured == stats.tg_tok_s
        assert after.context.n_used == stats.n_ctx_used
        assert after.speed.ttft_s == stats.ttft_s
        assert after.power.last is not None
        assert (after.power.watts.measured is None) == (after.power.watts.unmeasured is not None)
        shown = "\n".join(row.plain for row in strip_rows(after, 120))
        assert f"context {stats.n_ctx_used}/256" in shown
    assert figures_of(session, course) is None, "an engine that was closed holds no model"
