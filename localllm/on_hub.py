"""From a name to a model on the Hub: the first of its repositories that can be read and has it.

Composition only: which quantisation is taken is decided where ``pick`` leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from localllm.choosing import Decided
from localllm.core.policy import Policy
from localllm.core.text import printable
from localllm.errors import AccessError, LocalLLMError, NotFoundError
from localllm.hub.names.reading import PlainName, RepoName

if TYPE_CHECKING:  # most names are here: what asks the Hub is imported when it is asked
    from localllm.core.fetching import ToFetch
    from localllm.hub.offers.offers import Offer
    from localllm.hub.repo_files import RepoListing
    from localllm.offering import OnOffer
    from localllm.repositories import Repositories


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who hears how the search goes; all from the thread that searches."""

    on_reading: Callable[[int, str | None], None] = field(default=lambda n_bytes, waiting: None)
    """Bytes of headers so far and, while nothing comes, why."""
    on_step: Callable[[str], None] = field(default=lambda text: None)
    """What is being asked for, as ``looking at user/repo``."""
    on_note: Callable[[str], None] = field(default=lambda text: None)
    """What a person should know, once: a sentence."""


Pick = Callable[[Sequence["OnOffer"]], tuple[Decided, "OnOffer"]]
"""Chooses among what a repository offers."""


def find_on_hub(
    name: str,
    meant: RepoName | PlainName,
    policy: Policy,
    *,
    pick: Pick,
    watch: Watch,
    environ: Mapping[str, str],
    to_run: bool,
) -> Decided:
    """Return what a name means on the Hub, with what has to be fetched of it.

    Raises NotFoundError (exit 5) where no repository has it, or there is to be no network;
    AccessError (4) where one that could be read after a click would; UnreachableError (5).
    """
    from localllm.hub.names.sources import repo_candidates
    from localllm.hub.remote_url import is_offline

    candidates = repo_candidates(meant, environ)
    if not candidates:
        from localllm.hub.names.errors import not_here

        raise not_here(name, meant, environ)
    if to_run and is_offline(environ):
        shown = printable(name)
        raise NotFoundError(
            f"{shown} is not here, and there is to be no network (--offline or HF_HUB_OFFLINE).",
            hint=f"`localllm list` shows what is here; with a network, localllm pull {shown}.",
        )
    from localllm.hub.http_refusals import UnreachableError
    from localllm.repositories import Repositories

    repositories = Repositories(
        on_reading=watch.on_reading, on_step=watch.on_step, on_note=watch.on_note, environ=environ
    )
    refusals: list[LocalLLMError] = []
    for candidate in candidates:
        watch.on_step(f"looking at {candidate.repo}")
        try:
            return _offered(
                repositories, candidate, policy, pick=pick, environ=environ, to_run=to_run
            )
        except (AccessError, NotFoundError) as refused:
            if isinstance(refused, UnreachableError) or len(candidates) == 1:
                raise
            refusals.append(refused)
    # what can be mended by a click says more than that another repository lacks the model
    raise next((each for each in refusals if isinstance(each, AccessError)), refusals[0])


def _offered(
    repositories: Repositories,
    repo: RepoName,
    policy: Policy,
    *,
    pick: Pick,
    environ: Mapping[str, str],
    to_run: bool,
) -> Decided:
    """What is taken of one repository."""
    from localllm.repositories import meant_offers, on_offer

    listing = repositories.listing(repo, to_run=to_run)
    wanted = meant_offers(listing, repo, policy.quant)
    headers = repositories.headers(listing)
    decided, taken = pick([on_offer(listing, offer, headers) for offer in wanted])
    offer = next(each for each in wanted if each.quant == taken.quant)
    decided = replace(decided, fetch=_to_fetch(listing, offer, headers.bytes_per_s, environ))
    # a name with a quantisation would not find a file that was named by its path
    return decided if repo.path is None else replace(decided, name=None)


def _to_fetch(
    listing: RepoListing, offer: Offer, bytes_per_s: float | None, environ: Mapping[str, str]
) -> ToFetch:
    from localllm.core.fetching import FileToFetch, ToFetch
    from localllm.fetching import room_for

    wanted = ToFetch(
        repo=listing.repo,
        revision=listing.revision,
        commit=listing.commit,
        quant=offer.quant,
        files=tuple(
            FileToFetch(path=file.path, n_bytes=file.n_bytes, sha256=file.sha256)
            for file in offer.files
        ),
        bytes_per_s=bytes_per_s,
        licence=listing.licence,
        is_gated=listing.is_gated,
    )
    return room_for(wanted, environ=environ)
