"""From a name on a command line to a model whose files are here: found, chosen, fetched.

The person sees what is looked at, one line of what was chosen and why, and what it costs before it
is downloaded. Nothing is decided here.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from localllm.core.policy import Policy
from localllm.talking.obtained import Obtained, obtained_at, obtained_of

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.cli.output import LiveLine
    from localllm.core.fetching import ToFetch
    from localllm.finding import Watch
    from localllm.session import LocalModel, Session


def obtain(
    session: Session, name: str, policy: Policy, *, yes: bool, command: str = "chat"
) -> Obtained:
    """Return a model by its name, downloaded first where it is not here.

    ``yes``: ask nothing; ``command``: what continues a download that was stopped. Raises what
    ``Session.find`` and ``Session.fetch`` do, DoesNotFitError (exit 3) before anything is
    downloaded that would not fit, and KeyboardInterrupt.
    """
    obtained = obtained_at(name, policy)
    if obtained is not None:
        return obtained
    decided = look(session, name, policy)
    tell_choice(decided)
    model = None
    if decided.fetch is not None:
        check_plan(session, decided)
        model = download(session, decided.fetch, yes=yes, command=again(command, name, decided))
    return obtained_of(decided, name, model)


def look(
    session: Session, name: str, policy: Policy, *, fresh: bool = False, mends: bool = False
) -> Decided:
    """Find what a name means to be run, with progress on standard error.

    ``mends``: what is here and damaged is fetched anew.
    """
    from localllm.cli.output import LiveLine

    with LiveLine() as line:
        return session.find(name, policy, fresh=fresh, mends=mends, watch=watch_on(line))


def watch_on(line: LiveLine) -> Watch:
    """Return what draws a search on a live line, and says its notes."""
    from localllm.cli.output import note
    from localllm.finding import Watch
    from localllm.words.fetching import reading_words

    def on_reading(n_bytes: int, waiting_for: str | None) -> None:
        line.draw(reading_words(n_bytes, waiting_for))

    def on_note(text: str) -> None:
        line.wipe()
        note(text)

    def on_wait(text: str) -> None:
        if line.live:
            line.draw(text)
        else:
            note(text)

    return Watch(on_reading=on_reading, on_step=line.draw, on_wait=on_wait, on_note=on_note)


def tell_choice(decided: Decided) -> None:
    """Say in one line what was chosen, why, and what comes next to it."""
    from localllm.words.choosing import choice_line

    words = choice_line(decided)
    if words is not None:
        from localllm.cli.output import note

        note(words)


def check_plan(session: Session, decided: Decided) -> None:
    """Raise DoesNotFitError or EngineError for what would be downloaded in vain."""
    from localllm.cli.output import LiveLine
    from localllm.words.failures import does_not_fit, engine_refuses

    with LiveLine() as line:
        line.draw("planning")
        plan = session.plan_decided(decided)
    if plan.verdict != "fits":
        error = does_not_fit(plan)
        if error.hint is not None and decided.fetch is not None:
            error.hint += f" (Of another quantisation: where {decided.fetch.repo} has it.)"
        raise error
    if plan.refusal is not None:
        raise engine_refuses(plan)


def again(command: str, name: str, decided: Decided) -> str:
    """Return the command that goes on with a download: for what was chosen, not for a new choice.

    ``name``: as the person gave it, where nothing else finds the same file.
    """
    from localllm.words.flags import command_line

    return command_line(("localllm", command, decided.name or name))


def download(session: Session, wanted: ToFetch, *, yes: bool, command: str) -> LocalModel:
    """Ask first where it is much, then download and verify.

    Raises what ``Session.fetch`` does, LocalLLMError (exit 1) where the person said no, and
    KeyboardInterrupt where they stopped it: what came is kept, and ``command`` continues.
    """
    from localllm.cli.fetch_question import agrees_to_fetch
    from localllm.cli.fetch_view import FetchView
    from localllm.cli.output import note
    from localllm.errors import LocalLLMError
    from localllm.fetching import Fetched, check_room
    from localllm.words.fetching import before_line

    check_room(wanted)
    note(before_line(wanted))
    if not agrees_to_fetch(wanted.left_bytes, sure=yes):
        raise LocalLLMError("Nothing was downloaded.", hint=f"Another time: {command}.")
    with FetchView(wanted.name) as view:
        try:
            with closing(session.fetch(wanted)) as events:
                for event in events:
                    if isinstance(event, Fetched):
                        view.end()
                        return event.model
                    view.show(event)
        except KeyboardInterrupt:
            view.interrupted(command)
            raise
    raise AssertionError("a download ends with its model, or with an error")
