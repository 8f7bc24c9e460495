"""Names that are nothing: what is said of them, with the nearest ones that are something."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from localllm.core.text import printable
from localllm.errors import NotFoundError
from localllm.hub.names.reading import DEMO, AddressName, ModelName, PlainName

_MAX_LISTED = 2000


def not_here(name: str, meant: ModelName, environ: Mapping[str, str]) -> NotFoundError:
    """Return the error for a name that nothing here has: one to be fetched, or no name at all."""
    from localllm.hub.names.sources import repo_candidates

    shown = printable(name[:200])
    if isinstance(meant, AddressName):
        from localllm.hub.remote_url import remote_file

        return NotFoundError(
            f"{remote_file(meant.address).shown} is not on the Hub, so nothing says what its"
            " content should be: it is not downloaded.",
            hint="Download it and pass its path. `localllm plan` needs its address only.",
        )
    if isinstance(meant, PlainName) and not repo_candidates(meant, environ):
        return _without_repository(shown, meant) or unknown(name, environ)
    return NotFoundError(f"{shown} is not here.", hint=f"`localllm pull {shown}` downloads it.")


def known_instead(repo: str) -> str | None:
    """Return a hint with the known models that a repository without GGUF files may be of."""
    from localllm.hub.known.index import find_known
    from localllm.hub.names.sources import names_like

    name = _last_part(repo)
    found = find_known(name)
    near = (
        [found.variant or found.model]
        if found is not None and not found.words - {"tuned"}
        else names_like(name)
    )
    return f"Did you mean {listed(near)}?" if near else None


def _without_repository(shown: str, meant: PlainName) -> NotFoundError | None:
    """The error for a model whose shape is known, and no repository; None for any other name."""
    from localllm.hub.names.sources import repositories_of

    if repositories_of(meant.name) is None:
        return None
    return NotFoundError(
        f"{shown} is known, but no repository with its GGUF files is.",
        hint="Name one, as user/repo:Q4_K_M. `localllm plan` needs no file.",
    )


def unknown(name: str, environ: Mapping[str, str] = os.environ) -> NotFoundError:
    """Return the error for a name that nothing has, with the nearest ones that something has."""
    from localllm.hub.names.sources import names_like

    shown = printable(name[:200])
    near = _nearest(name.lower(), [DEMO], cutoff=0.5)
    others = (
        _similar(name, ".")
        or names_like(shown, environ=environ)
        or names_like(_last_part(shown), environ=environ)
    )
    if near:
        hint = f"Did you mean `{DEMO}`?"
    elif others:
        hint = f"Did you mean {listed(others)}?"
    else:
        hint = f"Pass the path of a .gguf file, a repository as user/repo, or `{DEMO}`."
    return NotFoundError(f'"{shown}" is neither a file nor a known name.', hint=hint)


def _last_part(name: str) -> str:
    """Of ``user/Some-Model-GGUF:Q4_K_M`` the model."""
    return name.rpartition("/")[2].partition(":")[0].lower().removesuffix("-gguf")


def near_files(path: Path) -> str | None:
    """Return a hint with the names in the folder that are most like a path that does not exist."""
    folder = path.parent
    if not os.path.isdir(folder):
        return f"There is no folder {printable(str(folder))}."
    files = _similar(path.name, str(folder))
    if not files:
        return None
    return f"Did you mean {listed([str(folder / file) for file in files])}?"


def _similar(name: str, folder: str) -> list[str]:
    """Up to three ``.gguf`` files of the folder whose names are most like ``name``."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in islice(entries, _MAX_LISTED) if e.name.endswith(".gguf")]
    except OSError:
        return []
    by_key = {each.lower().removesuffix(".gguf"): each for each in sorted(names)}
    wanted = name.lower().removesuffix(".gguf")
    return [by_key[key] for key in _nearest(wanted, list(by_key), cutoff=0.6)]


def _nearest(wanted: str, names: list[str], *, cutoff: float) -> list[str]:
    import difflib

    return difflib.get_close_matches(wanted, names, n=3, cutoff=cutoff)


def listed(names: Sequence[str]) -> str:
    """Return names as a choice: ``one or two``."""
    return " or ".join(printable(name) for name in names)
