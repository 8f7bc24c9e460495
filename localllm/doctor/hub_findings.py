"""What the doctor finds of the Hub and of the folder that models are kept in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localllm.core.kept import LeftoverKind
from localllm.doctor.facts import Facts, HubFacts, LeftoverFile
from localllm.doctor.finding import Finding
from localllm.units import format_bytes

_NAMED = 3
"""Repositories in one line."""
_WORDS: dict[LeftoverKind, tuple[str, str]] = {
    "partial": ("unfinished download", "unfinished downloads"),
    "corrupt": ("damaged file", "damaged files"),
    "orphan": ("file that no model needs", "files that no model needs"),
    "dangling": ("link to nothing", "links to nothing"),
    "temporary": ("half-made link", "half-made links"),
}
"""In the order in which they are told."""


def hub_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what there is to say of the endpoint, the token, the folder and its leftovers."""
    hub = facts.hub
    yield _endpoint(hub)
    if hub.token_source is not None and not hub.token_is_plain:
        yield Finding(
            level="warn",
            topic="token",
            text=f"what {hub.token_source} holds cannot be a token of the Hub; it is not sent",
            fix="hf auth login",
        )
    yield from _folder(hub)
    yield from _leftovers(hub)


def _endpoint(hub: HubFacts) -> Finding:
    if hub.endpoint is None:
        text = hub.endpoint_problem or "HF_ENDPOINT is no address"
        return Finding(level="warn", topic="Hub", text=text, fix="unset HF_ENDPOINT")
    text = hub.endpoint if hub.is_default else f"{hub.endpoint}, by HF_ENDPOINT"
    if hub.token_source is None:
        text += "; no token: gated and private models need one"
    elif hub.token_is_plain:
        text += f"; token from {hub.token_source}"
    if hub.offline_by is not None:
        text += f"; not asked: {hub.offline_by} forbids the network"
    return Finding(level="ok", topic="Hub", text=text)


def _folder(hub: HubFacts) -> Iterator[Finding]:
    if hub.can_link is False:
        yield Finding(
            level="warn",
            topic="models",
            text="their folder cannot hold links: what two revisions share takes its room twice",
            fix=_ANOTHER_FOLDER,
        )
    if hub.file_system is not None:
        yield Finding(
            level="warn",
            topic="models",
            text=f"their folder lies on {hub.file_system}, where other machines may write, too:"
            " locks may not hold there, so a download that breaks off begins again",
            fix=_ANOTHER_FOLDER,
        )


_ANOTHER_FOLDER = "export HF_HOME=/a/folder/on/a/disk/of/this/machine"


def _leftovers(hub: HubFacts) -> Iterator[Finding]:
    if hub.leftovers_problem is not None:
        yield Finding(level="warn", topic="leftovers", text=hub.leftovers_problem)
    idle = [file for file in hub.leftovers if not file.in_use]
    if not idle:
        return
    told = [
        _told(words, [file for file in idle if file.kind == kind])
        for kind, words in _WORDS.items()
        if any(file.kind == kind for file in idle)
    ]
    text = "; ".join(told)
    if all(file.kind == "partial" for file in idle):
        more = "the same download again goes on where it was, localllm prune deletes it"
        yield Finding(level="ok", topic="leftovers", text=f"{text}; {more}")
    else:
        yield Finding(level="warn", topic="leftovers", text=text, fix="localllm prune")


def _told(words: tuple[str, str], files: Sequence[LeftoverFile]) -> str:
    n_bytes = sum(file.n_bytes for file in files)
    repos = list(dict.fromkeys(file.repo for file in files if file.repo is not None))
    named = ", ".join(repos[:_NAMED]) + (", ..." if len(repos) > _NAMED else "")
    size = f", {format_bytes(n_bytes)}" if n_bytes else ""
    return f"{len(files)} {words[len(files) > 1]}{size}" + (f" ({named})" if named else "")
