"""A model whose files are here, and what finds it again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.core.policy import Policy

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.session import LocalModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A model that can be loaded."""

    model: LocalModel
    name: str
    """What finds it again from anywhere."""
    policy: Policy
    """To plan it with: what was chosen is fixed in it."""
    asked: Policy


def obtained_at(name: str, policy: Policy) -> Obtained | None:
    """Return a model given by its path, or ``demo``, where nothing is left to be chosen.

    None for a name of another kind. Raises what ``session.local_file`` does.
    """
    from localllm.session import local_file

    model = local_file(name, policy)
    if model is None or policy.states_a_wish:
        return None
    return Obtained(model=model, name=reference(name), policy=policy, asked=policy)


def obtained_of(decided: Decided, name: str, model: LocalModel | None = None) -> Obtained:
    """Return what was decided on as a model that can be loaded.

    ``name``: as the person gave it; ``model``: what was fetched, where something was missing.
    """
    from localllm.session import LocalModel

    if model is None:
        assert isinstance(decided.model, LocalModel), "what needs no download is here"
        model = decided.model
    return Obtained(
        model=model,
        name=decided.name or reference(name),
        policy=decided.policy,
        asked=decided.asked,
    )


def reread(obtained: Obtained) -> Obtained:
    """Return the same with what its files say now. Raises what ``resolve_model`` does."""
    from localllm.session import local_file, resolve_model

    model = local_file(obtained.name, obtained.policy) or resolve_model(
        str(obtained.model.paths[0])
    )
    return replace(obtained, model=model)


def reference(name: str) -> str:
    """Return a model's name so that it finds the same model from any folder."""
    path = Path(os.path.expanduser(name))
    return str(path.absolute()) if name != "demo" and path.is_file() else name
