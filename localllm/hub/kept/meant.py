"""Whether what is here is what its name means on the Hub, as far as that is remembered."""

from __future__ import annotations

from collections.abc import Mapping

from localllm.core.kept import KeptModel
from localllm.hub.client.listing_cache import remembered
from localllm.hub.names.reading import DEFAULT_REVISION
from localllm.hub.offers.offers import find_offer, offers_of
from localllm.hub.remote_url import hub_endpoint


def is_still_meant(kept: KeptModel, environ: Mapping[str, str]) -> bool:
    """Whether a kept model is what its quantisation means in its repository, as last listed.

    A repository may have two models in one quantisation, and the one that is here may have been
    asked for by its path. True where nothing is known.
    """
    if kept.repo is None or kept.commit is None:
        return True
    listing = remembered(hub_endpoint(environ).url, kept.repo, DEFAULT_REVISION, environ)
    if listing is None or listing.commit != kept.commit:
        return True
    offer = find_offer(offers_of(listing.files, repo=listing.repo).models, kept.quant)
    if offer is None:
        return True
    at = f"/snapshots/{kept.commit}/{offer.files[0].path}"
    return kept.files[0].path.as_posix().endswith(at)
