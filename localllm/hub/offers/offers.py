"""A repository's files -> the models on offer in it: quantisations, parts together, the rest apart.

Pure: names and sizes in, values out. The quantisation is read from the file's name
(``offers/quant_label.py``), or from its folder's where the name has none.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localllm.core.text import printable
from localllm.errors import NotFoundError
from localllm.hub.offers.files import ModelFiles, tell_apart
from localllm.hub.offers.quant_label import (
    UNKNOWN_QUANT,
    canonical_quant,
    spelling,
    why_unreadable,
)
from localllm.hub.repo_files import RepoFile

_WORD = re.compile(r"[a-z]+|[0-9]+")
_SAYS_NOTHING = frozenset({"gguf", "i", "imat", "imatrix", "ggml", "model"})
_BARE = re.compile(r"Q[2-8]")
_BPW = re.compile(r"_[0-9]_[0-9]{1,2}BPW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model file, or all parts of one, in one quantisation."""

    quant: str
    """As the publisher names it, in capitals: ``Q4_K_M``, ``UD-Q4_K_XL``, ``Q4_K_L``."""
    files: tuple[RepoFile, ...]
    """The parts, in order."""

    @property
    def n_bytes(self) -> int:
        """Of all parts."""
        return sum(file.n_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a repository has for us."""

    models: tuple[Offer, ...]
    """Largest first; one for each quantisation."""
    others: tuple[Offer, ...] = ()
    """To be had by their path only: a quantisation's second files, drafts for speculative decoding,
    and what llama.cpp does not read."""
    projectors: tuple[RepoFile, ...] = ()
    """``mmproj`` files: eyes and ears of a model, no model."""
    imatrices: tuple[RepoFile, ...] = ()
    """Importance matrices, made for quantising."""
    incomplete: tuple[str, ...] = ()
    """Quantisations of which a part is missing, and other things left out, as sentences."""


def offers_of(files: Iterable[RepoFile], *, repo: str = "") -> Offers:
    """Return what the files of one revision are; those that are no GGUF files are left away.

    ``repo`` (``user/name``, or a model's name) tells which of several models in it is meant where
    two have the same quantisation; without it, the one with the most quantisations is.
    """
    told = tell_apart(files)
    left_out = list(told.left_out)
    unreadable = [model for model in told.models if why_unreadable(model.quant)]
    readable = [model for model in told.models if not why_unreadable(model.quant)]
    left_out += [
        f"{quant} {why_unreadable(quant)}."
        for quant in dict.fromkeys(model.quant for model in unreadable)
    ]
    taken, doubles = _one_each(readable, repo.rpartition("/")[2], left_out)
    return Offers(
        models=_offers(taken),
        others=_offers([*doubles, *told.drafts, *unreadable]),
        projectors=tuple(told.projectors),
        imatrices=tuple(told.imatrices),
        incomplete=tuple(left_out),
    )


def find_offer(models: Sequence[Offer], quant: str) -> Offer | None:
    """Return what is on offer under a quantisation's name, if anything of ``Offers.models`` is.

    Case, dashes and dots do not matter (``q4-k-m``), nor a prefix that nobody else here has
    (``Q4_K_XL`` is UD-Q4_K_XL); second names are understood (``FP16``, ``Q4_K``), and ``Q4`` where
    it can mean one thing only.
    """
    wanted = spelling(quant)
    by_spelling = {spelling(offer.quant): offer for offer in reversed(models)}
    for prefix in ("", "I1_", "UD_", "I1_UD_"):
        if found := by_spelling.get(prefix + wanted):
            return found
    canonical = canonical_quant(quant)
    for offer in models:
        if canonical and canonical_quant(offer.quant.removeprefix("UD-")) == canonical:
            return offer
    fitting = [
        offer
        for key, offer in by_spelling.items()
        if (_BARE.fullmatch(wanted) and _without_prefix(key).startswith(f"{wanted}_"))
        or (key.startswith(wanted) and _BPW.fullmatch(key[len(wanted) :]))
    ]
    return fitting[0] if len(fitting) == 1 else None


def same_quant(one: str, other: str) -> bool:
    """Whether two names mean the same quantisation, however they are spelt."""
    if spelling(one) == spelling(other):
        return True
    canonical = canonical_quant(one)
    return canonical is not None and canonical == canonical_quant(other)


def offer_at(offers: Offers, path: str) -> Offer | None:
    """Return the model that a file belongs to, by the path of any of its parts."""
    for offer in (*offers.models, *offers.others):
        if any(file.path == path for file in offer.files):
            return offer
    return None


def no_such_offer(offers: Offers, quant: str, repo: str) -> NotFoundError:
    """Return the error for a quantisation that ``find_offer`` does not find, with the nearest."""
    import difflib  # not needed as long as names are right

    wanted = spelling(quant)
    message = f"{repo} has no {printable(quant[:40])}"
    apart = [each for each in offers.others if spelling(each.quant) == wanted]
    if apart and (why := why_unreadable(apart[0].quant)):
        message += f" that can be run: it {why}"
    by_spelling = {spelling(offer.quant): offer.quant for offer in offers.models}
    by_spelling.pop(spelling(UNKNOWN_QUANT), None)
    near = difflib.get_close_matches(wanted, list(by_spelling), n=3, cutoff=0.6)
    if not by_spelling:
        hint = "Ask for it without a quantisation, or for another repository."
    elif near and len(near) < len(by_spelling):
        hint = f"Nearest are {_listed(by_spelling[key] for key in near)}; on offer are"
        hint += f" {_listed(by_spelling.values())}."
    else:
        hint = f"On offer: {_listed(by_spelling.values())}."
    return NotFoundError(f"{message}.", hint=hint)


def _offers(models: Iterable[ModelFiles]) -> tuple[Offer, ...]:
    made = [Offer(quant=model.quant, files=model.files) for model in models]
    return tuple(sorted(made, key=lambda offer: (-offer.n_bytes, offer.quant)))


def _one_each(
    models: Sequence[ModelFiles], repo_name: str, left_out: list[str]
) -> tuple[list[ModelFiles], list[ModelFiles]]:
    """One model for each quantisation, and the others."""
    n_quants = Counter(model.stem for model in models)
    by_quant: dict[str, list[ModelFiles]] = defaultdict(list)
    for model in models:
        by_quant[model.quant].append(model)

    def order(model: ModelFiles) -> tuple[object, ...]:
        return (
            _distance(repo_name, model.stem) if repo_name else 0,
            -n_quants[model.stem],
            len(model.files),
            model.path.count("/"),
            len(model.path),
            model.path,
        )

    taken: list[ModelFiles] = []
    doubles: list[ModelFiles] = []
    for quant, same in by_quant.items():
        first, *others = sorted(same, key=order)
        taken.append(first)
        doubles += others
        if others:
            what = f"{quant} is there" if quant != UNKNOWN_QUANT else "Without a quantisation are"
            several = "twice" if len(others) == 1 else f"{len(same)} times"
            left_out.append(
                f"{what} {several}: {printable(first.path[:200])} is taken, and by its path"
                f" {printable(others[0].path[:200])}{' or another' if others[1:] else ''}."
            )
    return taken, doubles


def _distance(repo_name: str, stem: str) -> int:
    """How many words and numbers one of two names has that the other has not."""
    ours, theirs = _words(repo_name), _words(stem)
    return ((ours - theirs) + (theirs - ours)).total()


def _words(name: str) -> Counter[str]:
    words = _WORD.findall(name.lower())
    return Counter(word for word in words if word not in _SAYS_NOTHING)


def _without_prefix(key: str) -> str:
    return key.removeprefix("I1_").removeprefix("UD_")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
