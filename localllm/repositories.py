"""What a repository on the Hub has for a name: which of its files are meant, and their headers.

Composition only: files become offers in ``hub/offers``, headers are read by ``hub/headers``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from localllm.core.fetching import name_on_hub
from localllm.core.text import printable
from localllm.errors import NotFoundError
from localllm.hub.client.hub_client import HubClient
from localllm.hub.client.listing_cache import remember, remembered
from localllm.hub.download.last_rate import last_rate
from localllm.hub.headers.remote import Reading, remote_model
from localllm.hub.http_refusals import UnreachableError
from localllm.hub.names.errors import known_instead
from localllm.hub.names.reading import RepoName
from localllm.hub.offers.offers import (
    Offer,
    Offers,
    find_offer,
    no_such_offer,
    offer_at,
)
from localllm.hub.patience import FetchPatience
from localllm.hub.repo_files import RepoListing
from localllm.offering import OnOffer
from localllm.planning import Plannable

_PATIENCE = FetchPatience(n_tries=4)
"""A person waits for the answer before anything is downloaded."""

_TELLING_BYTES = 1 << 20
"""Less is over before a connection has come up to speed."""


def meant_offers(
    listing: RepoListing, offers: Offers, repo: RepoName, quant: str | None
) -> tuple[Offer, ...]:
    """Return what of a repository can be meant. Raises NotFoundError where there is nothing."""
    if repo.path is not None:
        found = offer_at(offers, repo.path)
        if found is None:
            raise NotFoundError(
                f"{listing.repo} has no model in a file {printable(repo.path[:100])}.",
                hint="Its page lists the files under Files and versions.",
            )
        return (found,)
    if not offers.models:
        raise NotFoundError(
            f"{listing.repo} has no model in GGUF files that can be run{_what_instead(offers)}.",
            hint=known_instead(listing.repo) or "Name another repository that has them.",
        )
    if quant is not None:
        found = find_offer(offers.models, quant)
        if found is None:
            raise no_such_offer(offers, quant, listing.repo)
        return (found,)
    return offers.models


def _what_instead(offers: Offers) -> str:
    """What there is where there is no model, in brackets."""
    if offers.incomplete:
        return f" ({offers.incomplete[0].rstrip('.')})"
    kinds = ("a projector", offers.projectors), ("an importance matrix", offers.imatrices)
    found = [words for words, files in kinds if files]
    return f" (only {' and '.join(found)})" if found else ""


def doubles(listing: RepoListing, offers: Offers, taken: Offer) -> str | None:
    """Return a sentence on the other models that a repository has in a quantisation, if any."""
    others = [each for each in offers.others if each.quant == taken.quant]
    if not others:
        return None
    names = (name_on_hub(listing.repo, listing.revision, each.files[0].path) for each in others)
    return (
        f"{listing.repo} has {len(others) + 1} models in {taken.quant}:"
        f" {printable(taken.files[0].path)} is taken, not {printable(', '.join(names))}."
    )


class Repositories:
    """The Hub, or the mirror that ``HF_ENDPOINT`` names."""

    def __init__(
        self,
        *,
        on_reading: Callable[[int, str | None], None],
        on_wait: Callable[[str], None],
        on_note: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        """Ask nothing yet. ``on_reading`` hears of bytes of headers, and why nothing comes;
        ``on_wait`` why a listing is put off.
        """
        self._client = HubClient(environ=environ)
        self._on_reading, self._on_wait = on_reading, on_wait
        self.hurry = False
        """Whether a listing is tried once only: the Hub could not be reached a moment ago."""
        self._on_note, self._environ = on_note, environ

    def listing(self, repo: RepoName, *, to_run: bool) -> RepoListing:
        """Return what a repository has; for a plan what it had, where the Hub cannot be asked.

        Raises what ``HubClient.listing`` does.
        """
        endpoint = self._client.endpoint
        try:
            listing = self._client.listing(
                repo.repo,
                repo.revision,
                patience=FetchPatience(n_tries=1) if self.hurry else _PATIENCE,
                on_wait=lambda reason: self._tell_wait(repo, reason),
            )
        except NotFoundError as refused:
            cannot_ask = self._client.is_offline or isinstance(refused, UnreachableError)
            kept = remembered(endpoint, repo.repo, repo.revision, self._environ)
            if to_run or not cannot_ask or kept is None:
                raise
            self._on_note(f"What {repo.repo} has is as it was when it was last looked at.")
            return kept
        remember(endpoint, listing, self._environ)
        return listing

    def _tell_wait(self, repo: RepoName, reason: str | None) -> None:
        if reason is not None:
            self._on_wait(f"Looking at {repo.repo}, waiting: {reason}.")

    def headers(self, listing: RepoListing) -> Headers:
        """Return what reads the headers of a listing's models."""

        def on_reading(reading: Reading) -> None:
            self._on_reading(reading.n_bytes, reading.waiting_for)

        return Headers(listing, self._client.endpoint, on_reading, self._environ)


class Headers:
    """The headers of one listing's models, by the address of the first part, and how fast they
    came."""

    def __init__(
        self,
        listing: RepoListing,
        endpoint: str,
        on_reading: Callable[[Reading], None],
        environ: Mapping[str, str],
    ) -> None:
        """Read nothing yet. ``on_reading`` hears how each reading goes."""
        self._listing, self._endpoint, self._on_reading = listing, endpoint, on_reading
        self._environ = environ
        self._n_bytes, self._seconds = 0, 0.0

    @property
    def bytes_per_s(self) -> float | None:
        """Of the last download, else of these headers; None where too little was read to tell."""
        last = last_rate(self._endpoint, self._environ)
        if last is not None or self._n_bytes < _TELLING_BYTES:
            return last
        return self._n_bytes / self._seconds

    def read(self, offer: Offer) -> Plannable:
        """Return a model by its header. Raises what ``remote_model`` does."""
        path = quote(offer.files[0].path)
        address = f"{self._endpoint}/{self._listing.repo}/resolve/{self._listing.commit}/{path}"
        began_s = time.monotonic()
        model = remote_model(address, on_reading=self._on_reading, environ=self._environ)
        self._n_bytes += model.n_fetched_bytes
        self._seconds += time.monotonic() - began_s
        return model


def on_offer(listing: RepoListing, offer: Offer, headers: Headers) -> OnOffer:
    """Return one model of a repository as something to choose from."""
    return OnOffer(
        name=name_on_hub(listing.repo, listing.revision, offer.quant),
        quant=offer.quant,
        n_bytes=offer.n_bytes,
        read=lambda: headers.read(offer),
    )
