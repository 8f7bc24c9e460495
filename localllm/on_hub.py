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
    on_wait: Callable[[str], None] = field(default=lambda text: None)
    """Why the next try is put off, once for each wait."""
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
    here: Callable[[], Sequence[str]] = tuple,
) -> Decided:
    """Return what a name means on the Hub, with what has to be fetched of it.

    ``here``: the quantisations of the same name that are here and are not meant. Raises
    NotFoundError (exit 5) where no repository has it, or there is to be no network; AccessError (4)
    where one that could be read after a click would; UnreachableError (5).
    """
    from localllm.hub.names.sources import repo_candidates
    from localllm.hub.remote_url import is_offline

    candidates = repo_candidates(meant, environ)
    if not candidates:
        from localllm.hub.names.errors import not_here

        raise not_here(name, meant, environ)
    if to_run and is_offline(environ):
        raise _not_offline(name, meant, policy, here())
    from localllm.hub.client.refusals import TokenError
    from localllm.hub.http_refusals import UnreachableError
    from localllm.repositories import Repositories

    repositories = Repositories(
        on_reading=watch.on_reading, on_wait=watch.on_wait, on_note=watch.on_note, environ=environ
    )
    refusals: list[LocalLLMError] = []
    for candidate in candidates:
        watch.on_step(f"looking at {candidate.repo}")
        try:
            return _offered(
                repositories,
                candidate,
                policy,
                pick=pick,
                watch=watch,
                environ=environ,
                to_run=to_run,
            )
        except TokenError:
            raise  # the next one would refuse it, too
        except (AccessError, NotFoundError) as refused:
            refusals.append(refused)
            repositories.hurry = isinstance(refused, UnreachableError)
    raise _told_of_all(refusals, name, candidates, policy)


def _told_of_all(
    refusals: Sequence[LocalLLMError], name: str, candidates: Sequence[RepoName], policy: Policy
) -> LocalLLMError:
    """One error for what all repositories answered.

    What can be mended by a click says more than that another repository lacks the model, and a Hub
    that cannot be reached more than one that could.
    """
    from localllm.hub.http_refusals import UnreachableError

    if len(refusals) == 1:
        return refusals[0]
    for kind in (AccessError, UnreachableError):
        for refused in refusals:
            if isinstance(refused, kind):
                return refused
    what = printable(name) + (f" in {policy.quant}" if policy.quant else "")
    return NotFoundError(
        f"{what} is in none of the {len(candidates)} repositories that are known for it:"
        f" {', '.join(each.repo for each in candidates)}.",
        hint=next((each.hint for each in refusals if "offer" in (each.hint or "")), None)
        or "Name another one, as user/repo:Q4_K_M.",
    )


def _not_offline(
    name: str, meant: RepoName | PlainName, policy: Policy, here: Sequence[str]
) -> NotFoundError:
    """The error for what is not here where nobody may be asked."""
    shown = printable(name)
    wanted = f" --quant {policy.quant}" if policy.quant and meant.quant is None else ""
    but = f" ({', '.join(here)} {'is' if len(here) == 1 else 'are'})" if here else ""
    return NotFoundError(
        f"{shown}{f' in {policy.quant}' if wanted else ''} is not here{but}, and there is to be no"
        " network (--offline or HF_HUB_OFFLINE).",
        hint=f"`localllm list` shows what is here; with a network, localllm pull {shown}{wanted}.",
    )


def _offered(
    repositories: Repositories,
    repo: RepoName,
    policy: Policy,
    *,
    pick: Pick,
    watch: Watch,
    environ: Mapping[str, str],
    to_run: bool,
) -> Decided:
    """What is taken of one repository."""
    from localllm.hub.offers.offers import offers_of
    from localllm.repositories import doubles, meant_offers, on_offer

    listing = repositories.listing(repo, to_run=to_run)
    offers = offers_of(listing.files, repo=listing.repo)
    wanted = meant_offers(listing, offers, repo, policy.quant)
    headers = repositories.headers(listing)
    decided, taken = pick([on_offer(listing, offer, headers) for offer in wanted])
    offer = next(each for each in wanted if each.quant == taken.quant)
    if repo.path is None and (others := doubles(listing, offers, offer)):
        watch.on_note(others)
    fetch = _to_fetch(listing, offer, repo.path, headers.bytes_per_s, environ)
    # a name with a quantisation would not find a file that was named by its path
    return replace(decided, fetch=fetch, name=fetch.name)


def _to_fetch(
    listing: RepoListing,
    offer: Offer,
    path: str | None,
    bytes_per_s: float | None,
    environ: Mapping[str, str],
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
        path=path,
        bytes_per_s=bytes_per_s,
        licence=listing.licence,
        is_gated=listing.is_gated,
    )
    return room_for(wanted, environ=environ)
