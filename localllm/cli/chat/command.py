"""``localllm chat``: talk to a model, or answer once and leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.options import (
    Command,
    Option,
    complete_plannable,
    json_option,
    offline_option,
    planning_options,
    value_option,
    yes_option,
)
from localllm.core.policy import Policy
from localllm.errors import NotFoundError, UsageError
from localllm.talking.settings import SETTINGS, Settings, changed

if TYPE_CHECKING:
    from localllm.session import Conversation, ConversationStore
    from localllm.talking.obtained import Obtained

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
@click.argument("model", required=False, metavar="MODEL", shell_complete=complete_plannable)
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
@yes_option
@offline_option
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
@planning_options
def chat(
    model: str | None,
    policy: Policy,
    prompt: str | None,
    system: str | None,
    resume: str | None,
    raw: bool,
    plain: bool,
    prove: bool,
    yes: bool,
    as_json: bool,
    greedy: bool,
    think: bool | None,
    context_shift: bool,
    stop: tuple[str, ...],
    **sampling: str | None,
) -> None:
    """Talk to MODEL at the terminal, or answer once.

    MODEL is a path to a .gguf file, demo, or a name: llama-3-70b, llama-3-70b:Q5_K_M, user/repo or
    user/repo:Q4_K_M on the Hub. What is not here is downloaded first, in the quantisation that is
    best for this machine where the name leaves it open; more than 10 GB is asked about.

    With -p, or with a text piped in, the answer alone goes to standard output and nothing said is
    kept unless --resume is given. Otherwise it is a conversation, kept as JSON Lines in the state
    folder; --resume goes on with it, with its own model unless another is named.

    \b
    Examples:
      localllm chat demo
      localllm chat demo -p "Which command shows the plan?"
      localllm chat llama-3-70b
      localllm chat bartowski/Llama-3.3-70B-Instruct-GGUF:IQ4_XS
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
        yes=yes,
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
    yes: bool,
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
        from localllm.cli.chat.oneshot import answer_once, question
        from localllm.cli.chat.state import TerminalChat
        from localllm.cli.obtaining import obtain
        from localllm.session import Session, conversation_store

        text = question(prompt) if once else None
        store = conversation_store()
        conversation = None if resume is None else _resumed(store, model, resume, system)
        with Session(engine=engine) as session:
            name = model if model is not None else _model_of(conversation)
            obtained = obtain(session, name, policy, yes=yes)
            if conversation is None:
                conversation = _begun(store, obtained, system, keep=not once)
            chat_ = TerminalChat(
                session=session,
                store=store,
                conversation=conversation,
                obtained=obtained,
                obtain=lambda other: obtain(session, other, policy, yes=yes),
                settings=settings,
                proves=proves,
            )
            try:
                if text is not None:
                    answer_once(chat_, text, as_json=as_json, raw=raw)
                    return
                chat_.load()
                from localllm.cli.chat.repl import Repl

                Repl(chat_).run()
            finally:
                chat_.close()


def _begun(
    store: ConversationStore, obtained: Obtained, system: str | None, *, keep: bool
) -> Conversation:
    """Return a new conversation."""
    from datetime import datetime

    conversation = store.start(
        model=obtained.name,
        content_id=obtained.model.content_id,
        system=system,
        now=datetime.now(),
    )
    if not keep:
        conversation.forget_file()
    return conversation


def _resumed(
    store: ConversationStore, model: str | None, resume: str, system: str | None
) -> Conversation:
    """Return the conversation to go on with."""
    from localllm.talking.chat import now_text

    try:
        conversation = store.open(None if resume == _LAST else resume)
    except NotFoundError as error:
        if model is None and resume != _LAST:
            hint = f"To name a model, write it before: localllm chat {resume} --resume."
            raise NotFoundError(error.message, hint=hint) from error
        raise
    if system is not None:
        conversation.set_system(system, time=now_text())
    return conversation


def _model_of(conversation: Conversation | None) -> str:
    assert conversation is not None, "without a conversation a model was named"
    return conversation.header.model
