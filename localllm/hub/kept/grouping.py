"""Files in a folder -> the models they are, parts together, those with parts missing included.

What is a model, what is a part of one and how its quantisation is read from a name, ``offers/``
decides for a listing of the Hub; a folder here is only told in the same words. It leaves out a
model of which a part is not there; here that part is stood in for, and then named as missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.core.kept import Keeper, KeptFile, KeptModel
from localllm.hub.offers.offers import Offer, find_offer, offer_at, offers_of
from localllm.hub.repo_files import RepoFile

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MAX_PARTS = 1000
"""Of one model; the largest have a few dozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file that may be a model, or a part of one."""

    name: str
    """In its repository or folder, with slashes."""
    path: Path
    status: os.stat_result
    sha256: str | None = None

    @property
    def kept(self) -> KeptFile:
        """The same, for shells."""
        return KeptFile(path=self.path, n_bytes=self.status.st_size, sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One model's files, all or some."""

    quant: str
    files: tuple[FoundFile, ...]
    missing: tuple[Path, ...]
    has_quant_alone: bool
    """Whether its quantisation names it; else only its path does."""

    @property
    def last_used_s(self) -> float:
        """When a file of it was last read or written, as far as the file system knows."""
        return last_used_s(file.status for file in self.files)


def last_used_s(of: Iterable[os.stat_result]) -> float:
    """Return the latest reading or writing of some files, in seconds since 1970."""
    return max((max(each.st_atime, each.st_mtime) for each in of), default=0.0)


def groups_of(
    files: Iterable[FoundFile],
    *,
    repo: str = "",
    quant: str | None = None,
    path: str | None = None,
) -> tuple[Group, ...]:
    """Return the models in ``files``, the largest first.

    With ``path``, the one that the file of that name belongs to, which may be one that no
    quantisation names; else with ``quant``, the one that it names.
    """
    here = [file for file in files if file.status.st_size > 0]
    listed = [RepoFile(path=file.name, n_bytes=file.status.st_size) for file in here]
    offers = offers_of([*listed, *_stand_ins(listed)], repo=repo)
    by_name = {file.name: file for file in here}
    if path is not None:
        found = [offer_at(offers, path)]
    elif quant is not None:
        found = [find_offer(offers.models, quant)]
    else:
        found = [*offers.models, *offers.others]
    return tuple(
        _group(offer, by_name, has_quant_alone=offer in offers.models)
        for offer in found
        if offer is not None
    )


def kept_model(
    group: Group,
    *,
    keeper: Keeper,
    repo: str | None,
    name: str | None = None,
    commit: str | None = None,
    is_current: bool = True,
    note: str | None = None,
) -> KeptModel:
    """Return a group as a model of a keeper; without a name, its first part's path is its name."""
    first = min((*(file.path for file in group.files), *group.missing))
    return KeptModel(
        name=name if name is not None and group.has_quant_alone else str(first),
        keeper=keeper,
        repo=repo,
        commit=commit,
        quant=group.quant,
        files=tuple(file.kept for file in group.files),
        n_parts=len(group.files) + len(group.missing),
        last_used_s=group.last_used_s,
        is_current=is_current,
        missing=group.missing,
        note=note,
    )


def _group(offer: Offer, by_name: Mapping[str, FoundFile], *, has_quant_alone: bool) -> Group:
    here = tuple(by_name[file.path] for file in offer.files if file.path in by_name)
    folder = here[0].path.parent
    return Group(
        quant=offer.quant,
        files=here,
        missing=tuple(
            folder / file.path.rpartition("/")[2]
            for file in offer.files
            if file.path not in by_name
        ),
        has_quant_alone=has_quant_alone,
    )


def _stand_ins(files: Sequence[RepoFile]) -> list[RepoFile]:
    """The parts that are not here, by the names of those that are; as large as the largest."""
    here = {file.path for file in files}
    sizes: dict[tuple[str, int], int] = {}
    for file in files:
        match = _PART.fullmatch(file.path)
        if match and 1 <= int(match["number"]) <= int(match["count"]) <= _MAX_PARTS:
            key = (match["stem"], int(match["count"]))
            sizes[key] = max(sizes.get(key, 1), file.n_bytes)
    names = {
        f"{stem}-{number:05d}-of-{count:05d}.gguf": n_bytes
        for (stem, count), n_bytes in sizes.items()
        for number in range(1, count + 1)
    }
    return [RepoFile(path=name, n_bytes=n) for name, n in names.items() if name not in here]
