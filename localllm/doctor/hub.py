"""What the doctor looks at of the Hub's side: variables, the token's place, the folder of models.

Nobody is asked: no network, whatever the variables say.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from localllm.doctor.facts import HubFacts, LeftoverFile
from localllm.errors import UsageError
from localllm.hub.cache_layout import cache_root
from localllm.hub.download.filesystems import is_networked, kind_of
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.remote_url import DEFAULT_ENDPOINT, hub_endpoint, is_offline
from localllm.hub.tokens import find_token

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LOCALLLM_OFFLINE")


def gather_hub(environ: Mapping[str, str] = os.environ) -> HubFacts:
    """Return what there is to know without a network. Writes one link, and removes it again."""
    root = cache_root(environ)
    endpoint, problem = None, None
    try:
        endpoint = hub_endpoint(environ).url
    except UsageError as error:
        problem = error.message
    token = find_token(environ)
    kind = kind_of(_existing(root))
    leftovers, leftovers_problem = _leftovers(root)
    return HubFacts(
        endpoint=endpoint,
        endpoint_problem=problem,
        is_default=endpoint == DEFAULT_ENDPOINT,
        token_source=None if token is None else token.source,
        token_is_plain=token is None or token.value is not None,
        offline_by=next((n for n in _OFFLINE if is_offline({n: environ.get(n, "")})), None)
        if is_offline(environ)
        else None,
        can_link=_can_link(root),
        file_system=kind if is_networked(kind) else None,
        leftovers=leftovers,
        leftovers_problem=leftovers_problem,
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: where it would be made."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def _can_link(folder: Path) -> bool | None:
    """Whether a link can be made there; None where nothing can be written."""
    try:
        with tempfile.TemporaryDirectory(prefix=".localllm-", dir=folder) as made:
            try:
                os.symlink("to", Path(made) / "link")
            except (OSError, NotImplementedError):
                return False
            return True
    except OSError:
        return None


def _leftovers(root: Path) -> tuple[tuple[LeftoverFile, ...], str | None]:
    try:
        found = find_leftovers(root)
    except OSError as error:
        return (), f"{root} cannot be read: {error.strerror or error}"
    return tuple(
        LeftoverFile(
            kind=each.kind,
            path=str(each.path),
            n_bytes=each.n_bytes,
            repo=each.repo,
            in_use=each.in_use,
        )
        for each in found
    ), None
