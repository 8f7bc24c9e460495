"""Whether what is here is what its name means on the Hub, as far as that is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localllm.core.kept import KeptModel
from localllm.hub.client.listing_cache import remembered
from localllm.hub.names.reading import DEFAULT_REVISION
from localllm.hub.offers.offers import Offers, find_offer, offers_of
from localllm.hub.remote_url import hub_endpoint


def still_meant(kept: Sequence[KeptModel], environ: Mapping[str, str]) -> tuple[KeptModel, ...]:
    """Return those of one repository's models that their quantisations mean, as last listed.

    A repository may have two models in one quantisation, and the one that is here may have been
    asked for by its path. All of them where nothing is known.
    """
    repo = kept[0].repo
    listing = (
        None
        if repo is None
        else remembered(hub_endpoint(environ).url, repo, DEFAULT_REVISION, environ)
    )
    if listing is None:
        return tuple(kept)
    offers = offers_of(listing.files, repo=listing.repo)
    return tuple(each for each in kept if each.commit != listing.commit or _is_in(each, offers))


def _is_in(kept: KeptModel, offers: Offers) -> bool:
    offer = find_offer(offers.models, kept.quant)
    if offer is None:
        return True
    at = f"/snapshots/{kept.commit}/{offer.files[0].path}"
    return kept.files[0].path.as_posix().endswith(at)
