"""``localllm chat``: talk to a model, or answer once and leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.chat.settings import SETTINGS, Settings, changed
from localllm.cli.options import (
    CHOICE_FLAGS,
    Command,
    Option,
    complete_model,
    json_option,
    planning_options_without,
    value_option,
)
from localllm.core.policy import Policy
from localllm.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from localllm.session import Conversation, ConversationStore, LocalModel

_LAST = "last"
_SAMPLING = "Answer options"


def _setting_option(name: str, *declarations: str, metavar: str) -> Callable[[Any], Any]:
    """Declare an option that sets what ``/set`` of the same name sets."""
    setting = SETTINGS[name]

    def parse(text: str) -> str:
        setting.read(text)
        return text

    return value_option(
        *declarations,
        name,
        parse=parse,
        metavar=metavar,
        words=setting.words,
        help=setting.help[0].upper() + setting.help[1:] + ".",
        group=_SAMPLING,
    )


_SETTING_OPTIONS = (
    _setting_option("temp", "--temp", "--temperature", metavar="T"),
    _setting_option("top_k", "--top-k", metavar="K"),
    _setting_option("top_p", "--top-p", metavar="P"),
    _setting_option("min_p", "--min-p", metavar="P"),
    _setting_option("repeat_penalty", "--repeat-penalty", metavar="X"),
    _setting_option("repeat_last_n", "--repeat-last-n", metavar="N"),
    _setting_option("seed", "-s", "--seed", metavar="N"),
    _setting_option("max_tokens", "-n", "--max-tokens", "--predict", metavar="N"),
    _setting_option("reasoning_effort", "--reasoning-effort", metavar="LEVEL"),
)


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SETTING_OPTIONS):
        function = option(function)
    return function


@click.command(cls=Command)
@click.argument("model", required=False, metavar="MODEL", shell_complete=complete_model)
@click.option("-p", "--prompt", cls=Option, metavar="TEXT", help="Answer once; then leave.")
@click.option("--system", cls=Option, metavar="TEXT", help="System prompt.")
@click.option(
    "--resume",
    cls=Option,
    is_flag=False,
    flag_value=_LAST,
    metavar="[ID]",
    help="Go on with the last conversation, or with the one whose ID begins so.",
)
@click.option("--raw", is_flag=True, cls=Option, help="Continue the text itself: no chat template.")
@click.option("--plain", is_flag=True, cls=Option, help="Show Markdown as it is written.")
@click.option(
    "--prove",
    is_flag=True,
    cls=Option,
    help="Fill the context once before the first question: what fits then holds.",
)
@json_option
@_setting_options
@click.option(
    "--greedy",
    is_flag=True,
    cls=Option,
    group=_SAMPLING,
    help="Take the likeliest token: --temp 0.",
)
@click.option(
    "--think/--no-think",
    default=None,
    cls=Option,
    group=_SAMPLING,
    envvar="LOCALLLM_THINK",
    help="Reason before the answer, where the model can switch it.",
)
@click.option(
    "--context-shift/--no-context-shift",
    default=False,
    cls=Option,
    group=_SAMPLING,
    envvar="LOCALLLM_CONTEXT_SHIFT",
    help="When the context is full, drop its oldest half and go on.",
)
@click.option(
    "--stop", multiple=True, cls=Option, group=_SAMPLING, metavar="TEXT", help="Stop at this text."
)
@planning_options_without(*CHOICE_FLAGS)
def chat(
    model: str | None,
    policy: Policy,
    prompt: str | None,
    system: str | None,
    resume: str | None,
    raw: bool,
    plain: bool,
    prove: bool,
    as_json: bool,
    greedy: bool,
    think: bool | None,
    context_shift: bool,
    stop: tuple[str, ...],
    **sampling: str | None,
) -> None:
    """Talk to MODEL at the terminal, or answer once.

    With -p, or with a text piped in, the answer alone goes to standard output and nothing said is
    kept unless --resume is given. Otherwise it is a conversation, kept as JSON Lines in the state
    folder; --resume goes on with it, with its own model unless another is named.

    \b
    Examples:
      localllm chat demo
      localllm chat demo -p "Which command shows the plan?"
      git diff | localllm chat model.gguf -p "Describe this change." --greedy
      localllm chat --resume
    """
    import sys

    settings = Settings(stop=stop, think=think, context_shift=context_shift, markdown=not plain)
    if greedy:
        sampling = {**sampling, "temp": "0"}
    for name, text in sampling.items():
        if text is not None:
            settings = changed(settings, name, text)
    once = prompt is not None or as_json or raw or not sys.stdin.isatty()
    if not once and not sys.stdout.isatty():
        raise UsageError(
            "A conversation needs a terminal, and standard output is none.",
            hint='Ask once with -p "...".',
        )
    if raw and (system or resume):
        raise UsageError("--raw continues a text: it takes neither --system nor --resume.")
    _run(
        model,
        policy,
        settings,
        prompt,
        system,
        resume,
        once=once,
        raw=raw,
        proves=prove,
        as_json=as_json,
    )


def _run(
    model: str | None,
    policy: Policy,
    settings: Settings,
    prompt: str | None,
    system: str | None,
    resume: str | None,
    *,
    once: bool,
    raw: bool,
    proves: bool,
    as_json: bool,
) -> None:
    from localllm.cli.signals import ended_by_signals
    from localllm.starting import start_engine

    if model is None and resume is None:
        raise UsageError(
            "MODEL is missing.",
            hint="localllm chat demo talks to the small model that comes with localllm.",
        )
    # Its process gets ready while everything else is imported and the plan is made.
    with ended_by_signals(), start_engine() as engine:
        from localllm.cli.chat.names import reference
        from localllm.cli.chat.oneshot import answer_once, question
        from localllm.cli.chat.state import Chat
        from localllm.session import Session, conversation_store, resolve_model

        text = question(prompt) if once else None
        local = resolve_model(model) if model is not None else None
        store = conversation_store()
        keep = not once or resume is not None
        with Session(engine=engine) as session:
            conversation = _conversation(store, model, local, resume, system, keep=keep)
            chat_ = Chat(
                session=session,
                store=store,
                conversation=conversation,
                model_name=reference(model) if model is not None else conversation.header.model,
                policy=policy,
                settings=settings,
                proves=proves,
            )
            try:
                if text is not None:
                    answer_once(chat_, text, local, as_json=as_json, raw=raw)
                    return
                chat_.load(local)
                from localllm.cli.chat.repl import Repl

                Repl(chat_).run()
            finally:
                chat_.close()


def _conversation(
    store: ConversationStore,
    model: str | None,
    local: LocalModel | None,
    resume: str | None,
    system: str | None,
    *,
    keep: bool,
) -> Conversation:
    """Return the conversation to go on with, or a new one."""
    from datetime import datetime

    from localllm.cli.chat.names import now_text, reference

    if resume is None:
        assert model is not None and local is not None
        conversation = store.start(
            model=reference(model), content_id=local.content_id, system=system, now=datetime.now()
        )
        if not keep:
            conversation.forget_file()
        return conversation
    try:
        conversation = store.open(None if resume == _LAST else resume)
    except NotFoundError as error:
        if local is None and resume != _LAST:
            hint = f"To name a model, write it before: localllm chat {resume} --resume."
            raise NotFoundError(error.message, hint=hint) from error
        raise
    if system is not None:
        conversation.set_system(system, time=now_text())
    return conversation
